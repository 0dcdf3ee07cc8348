"""LeRobotDataset v3.0, written and read without lerobot."""

from sanawm_env.data.formats.lerobot.checks import check
from sanawm_env.data.formats.lerobot.native import index
from sanawm_env.data.formats.lerobot.reader import detect, read
from sanawm_env.data.formats.lerobot.writer import write

__all__ = ["check", "detect", "index", "read", "write"]
