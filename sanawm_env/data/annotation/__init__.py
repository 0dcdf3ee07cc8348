"""Metric camera poses for videos: `sanawm annotate`."""
