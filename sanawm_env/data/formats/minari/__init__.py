"""Minari: offline reinforcement learning's datasets, with the layout of `DataCollector(env, record_infos=True)`.

Observations are `image` and `pose` before and after each step, as in our environments; infos hold the frames between
(`frames`, T + 1 rows of k frames, the first of which repeats frame 0), their poses (`frame_c2w`) and `intrinsics`, so
that nothing is lost. `episodes.json` beside Minari's `data` folder has the recipes, the words and the measures.

The folder's name is the dataset's: `MINARI_DATASETS_PATH=parent` and `minari.load_dataset("name-v0")` find it.
"""

from sanawm_env.data.formats.minari.environment import env_spec
from sanawm_env.data.formats.minari.layout import detect
from sanawm_env.data.formats.minari.reader import check, read
from sanawm_env.data.formats.minari.writer import write

__all__ = ["check", "detect", "env_spec", "read", "write"]
