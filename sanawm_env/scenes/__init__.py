"""Procedural 3-D scenes: first frames, training clips, ground truth."""
