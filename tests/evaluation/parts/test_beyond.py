"""Beyond the first view: what is stored of a scene, and summed up."""

import json

import numpy as np

from sanawm_env.envs.sensors.anchored_depth import AnchoredDepth
from sanawm_env.evaluation.parts import Setting, beyond
from sanawm_env.evaluation.report.beyond import summarize_beyond
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel


def test_a_world_that_takes_a_wall_for_the_sky_can_be_stored(monkeypatch):
    """JSON has no infinity, and a reflected or a guessed sky may stand where the truth has a wall."""
    world = WorldModel.untrained(small_config(anchored=True))
    shape = (1, world.config.height, world.config.width)
    monkeypatch.setattr(AnchoredDepth, "depth", lambda *_: np.full(shape, np.inf, np.float32))
    row = beyond(world, 20_000_003, Setting(long_s=1.0))
    json.dumps(row, allow_nan=False)
    found = summarize_beyond([row])["beyond"]
    json.dumps(found, allow_nan=False)
    known = [band for band in found["depth_bands"] if band["pixels"]]
    assert found["looks"] == 1 and known and all(band["bias"] > 0 for band in known)
