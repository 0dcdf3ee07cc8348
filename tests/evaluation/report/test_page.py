"""The report says every goal with its number, and holds a plot for each metric."""

import json

import numpy as np
import pytest

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")

from sanawm_env.evaluation.curves import metric_curves
from sanawm_env.evaluation.parts import Setting
from sanawm_env.evaluation.report.beyond import summarize_beyond
from sanawm_env.evaluation.report.page import write_clips, write_report
from sanawm_env.world.model import WorldModel

ABOUT = {
    "checkpoint": "a<b", "checkpoint_hash": "0123", "suite": "full", "first_seed": 20_000_000, "sigmas": [1.0, 0.0],
    "chunk_frames": 3, "device": "cpu", "pose_estimator": "someone",
}  # fmt: skip


def summary():
    rng = np.random.default_rng(0)
    values = rng.random((4, 3)) * 10
    curves = metric_curves("psnr", values, {"frozen": values - 1}, ["maze", "room", "maze", "room"], [1, 2, 3])
    windows = {key: [3.0, 2.0] for key in ("sharpness", "contrast", "saturation")}
    return {
        "about": ABOUT,
        "goals": [
            {"name": "gain", "value": 7.125, "bar": 6.0, "at_least": True, "met": True},
            {"name": "error", "value": 9.0, "bar": 3.0, "at_least": False, "met": False},
            {"name": "unknown", "value": None, "bar": 1.0, "at_least": True, "met": None},
        ],
        "curves": {"psnr": curves.to_dict()},
        "drift": {"windows": {"generated": windows, "true": windows}},
        "camera": {"paths_failed": 1, "paths": 4, "rot_err_deg": 2.0},
        "camera_of_true_renders": {"paths_failed": 0, "paths": 4, "rot_err_deg": 0.25},
    }


def test_beyond_the_first_view_has_a_plot_also_of_a_world_without_depth(tmp_path):
    look = {
        "seconds": 5.0, "share": 0.9, "energy": 2.0, "true_energy": 4.0, "psnr": 12.0, "frozen_psnr": 11.0,
        "ssim": 0.5, "frozen_ssim": 0.4, "features": [0.0], "true_features": [1.0],
    }  # fmt: skip
    with_depth = look | {"depth": [[1.5, 1.0], [3.0, 2.0]]}
    for one in (look, with_depth):
        rows = [{"looks": [one, one | {"seconds": 15.0, "self_psnr": 40.0}], "glances": [one | {"seconds": 1.5}]}]
        found = summary() | summarize_beyond(rows)
        assert found["beyond"]["sharpness_unseen"] == {"5": 0.5, "15": 0.5}
        assert found["beyond"]["seen"]["psnr_gain_db"] == 1.0
        assert found["beyond"]["seen"]["depth_median_error"] == (0.5 if "depth" in one else None)
        assert write_report(found, tmp_path, []).read_text().count("<svg") == 3


def test_the_page_shows_goals_plots_and_the_estimators_own_error(tmp_path):
    page = write_report(summary(), tmp_path, ["clip_1.mp4"]).read_text()
    assert "7.12" in page and "reached" in page and "missed" in page and "not measured" in page
    assert page.count("<svg") == 2
    assert "0.25 degrees off" in " ".join(page.split()) and "clip_1.mp4" in page
    assert "a&lt;b" in page and "a<b" not in page, "names are escaped"
    assert json.loads((tmp_path / "summary.json").read_text())["about"] == ABOUT


def test_clips_are_written_beside_each_other(tmp_path):
    world = WorldModel.untrained()
    names = write_clips(world, [20_000_000], Setting(), tmp_path)
    assert names == ["clip_20000000.mp4"] and (tmp_path / names[0]).stat().st_size > 1000
    assert (tmp_path / "clips.png").exists()
