"""Datasets: episodes, the recipes that make them again, and the field's formats for both."""

from sanawm_env.data.episode import Episode, VideoFile
from sanawm_env.data.recipe import EpisodeRecipe

__all__ = ["Episode", "EpisodeRecipe", "VideoFile"]
