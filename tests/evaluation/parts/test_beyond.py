"""Beyond the first view: what is stored of a scene, and summed up."""

import json
import sys

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
    assert found["looks"] == 1 and found["seen"]["glances"] == 1
    assert known and all(band["bias"] > 0 for band in known)


def test_a_perfect_world_has_no_error_seen_or_unseen(monkeypatch):
    """Were the truth shown, and its depth known, every number would say so, and the frozen frame lose to it."""
    world, setting, seed = WorldModel.untrained(small_config(anchored=True)), Setting(long_s=1.0), 20_000_004
    module = sys.modules[beyond.__module__]  # the package gives the function of the same name
    scene, depth = module._scene(world, seed, 6.0, [24, 80])
    monkeypatch.setattr(module, "_made_views", lambda *_: (scene.truth[1:], depth.astype(np.float32)))
    found = summarize_beyond([beyond(world, seed, setting)])["beyond"]
    for of, sharpness, gain in (
        (found, "sharpness_unseen", "psnr_gain_db_unseen"),
        (found["seen"], "sharpness", "psnr_gain_db"),
    ):
        biases = [abs(band["bias"]) for band in of["depth_bands"] if band["pixels"]]
        assert of["depth_median_error"] < 1e-3 and max(biases) < 1e-3, "pairs are kept to a tenth of a millimetre"
        assert list(of[sharpness].values()) == [1.0] and of[gain] > 50
    assert list(found["sharpness_unseen"]) == ["5"] and list(found["seen"]["sharpness"]) == ["1.5"]
    assert found["ssim_gain_unseen"] > 0.1 and found["seen"]["ssim_gain"] > 0.1
