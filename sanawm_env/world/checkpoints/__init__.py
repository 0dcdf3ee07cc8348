"""Checkpoints: the built-in ones, folders, and the published releases."""
