"""Whole clips at once: the bidirectional model, the refiner, and files of a rollout."""
