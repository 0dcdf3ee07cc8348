"""`sanawm replay`: make the frames of a recipe again, and say whether and where they differ from the first time."""

from sanawm_env.data.replay.compare import Comparison, Difference, compare
from sanawm_env.data.replay.reasons import reasons
from sanawm_env.data.replay.render import rerender, rerender_rollout
from sanawm_env.data.replay.sources import NothingToReplay, Source, find_sources, read_source
from sanawm_env.data.replay.worlds import Worlds

__all__ = [
    "Comparison",
    "Difference",
    "NothingToReplay",
    "Source",
    "Worlds",
    "compare",
    "find_sources",
    "read_source",
    "reasons",
    "rerender",
    "rerender_rollout",
]
