"""SANA-WM-Bench: its folder layout, and a small bench of our own in that layout."""

from sanawm_env.evaluation.bench.layout import SPLITS, BenchError, BenchScene, read_bench, write_scene, write_split
from sanawm_env.evaluation.bench.make import make_bench, true_frames
from sanawm_env.evaluation.bench.results import RESULT_FILES, ResultFolder

__all__ = [
    "RESULT_FILES",
    "SPLITS",
    "BenchError",
    "BenchScene",
    "ResultFolder",
    "make_bench",
    "read_bench",
    "true_frames",
    "write_scene",
    "write_split",
]
