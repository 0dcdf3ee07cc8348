"""Camera errors: what they must not depend on, and values worked out by hand."""

import sys
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sanawm_env.evaluation.metrics.camera_error import (
    CameraError,
    align_w2c,
    camera_error,
    mean_camera_error,
    translation_where_followed,
)

pytest.importorskip("evo", reason="needs the extra 'eval'")
seeds = st.integers(0, 2**32 - 1)


def wander(seed, n=8):
    """A path that bends in all directions, metres."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, :3] = Rotation.from_rotvec(np.cumsum(rng.normal(0, 0.1, (n, 3)), 0)).as_matrix()
    poses[:, :3, 3] = np.cumsum(rng.normal(0, 0.3, (n, 3)), 0)
    return poses


def straight(length, n=6):
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, 2, 3] = np.linspace(0, length, n)
    return poses


def turning(degrees, n=6):
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3, :3] = Rotation.from_euler("y", np.linspace(0, degrees, n)[:, None], degrees=True).as_matrix()
    return poses


def rigid(seed):
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = Rotation.random(rng=rng).as_matrix(), rng.normal(0, 3, 3)
    return pose


@settings(max_examples=25, deadline=None)
@given(seeds, seeds)
def test_the_world_frame_does_not_count(path, frame):
    true = wander(path)
    error = camera_error(rigid(frame) @ true, rigid(frame + 1) @ true)
    for name in ("rot_err_deg", "trans_err", "cam_mc", "ape_se3_m", "rpe_m", "end_translation_m"):
        assert getattr(error, name) == pytest.approx(0, abs=1e-5), name
    assert error.scale == pytest.approx(1) and error.failure == ""


@settings(max_examples=25, deadline=None)
@given(seeds, st.floats(0.2, 5.0))
def test_a_wrong_scale_shows_only_where_it_should(path, scale):
    true = wander(path)
    scaled = true.copy()
    scaled[:, :3, 3] *= scale
    error = camera_error(scaled, true)
    assert error.rot_err_deg == pytest.approx(0, abs=1e-5) and error.trans_err == pytest.approx(0, abs=1e-6)
    assert error.ape_sim3_m == pytest.approx(0, abs=1e-6) and error.scale == pytest.approx(1 / scale)
    gone = np.linalg.norm(true[-1, :3, 3] - true[0, :3, 3])
    assert error.end_translation_m == pytest.approx(abs(scale - 1) * gone, abs=1e-9)
    blind = camera_error(scaled, true, metric=False)
    assert blind.end_translation_m == pytest.approx(0, abs=1e-9)
    assert blind.ape_se3_m is None and blind.rpe_m is None


@settings(max_examples=25, deadline=None)
@given(seeds, seeds, st.floats(0.3, 3.0))
def test_alignment_undoes_any_similarity_of_the_world(path, frame, scale):
    true = np.linalg.inv(wander(path))
    moved = true @ rigid(frame)
    moved[:, :3, 3] *= scale
    aligned, found = align_w2c(moved, true)
    np.testing.assert_allclose(aligned, true, atol=1e-7)
    assert found == pytest.approx(1 / scale)


@settings(max_examples=25, deadline=None)
@given(seeds, seeds)
def test_alignment_never_makes_translations_worse_and_keeps_rotations(path, other):
    mine, true = np.linalg.inv(wander(path)), np.linalg.inv(wander(other))
    aligned, _ = align_w2c(mine, true)
    rotations = aligned[:, :3, :3]
    np.testing.assert_allclose(rotations @ rotations.swapaxes(1, 2), np.broadcast_to(np.eye(3), (8, 3, 3)), atol=1e-9)
    assert (np.linalg.det(rotations) > 0).all()
    before = np.square(mine[:, :3, 3] - true[:, :3, 3]).sum()
    assert np.square(aligned[:, :3, 3] - true[:, :3, 3]).sum() <= before + 1e-9


@settings(max_examples=15, deadline=None)
@given(seeds, seeds)
def test_cam_mc_holds_rotation_and_translation(path, other):
    error = camera_error(wander(path), wander(other))
    assert error.cam_mc >= error.trans_err
    # |R - S|_F = 2 sqrt(2) sin(angle / 2), which is at most sqrt(2) times the angle.
    assert error.cam_mc <= error.trans_err + np.sqrt(2) * np.deg2rad(error.rot_err_deg) + 1e-9


def test_ten_percent_too_far():
    error = camera_error(straight(2.2), straight(2.0))
    assert error.path_m == pytest.approx(2.0)
    assert error.relative_translation_percent == pytest.approx(10.0)
    assert error.end_translation_m == pytest.approx(0.2)
    assert error.rpe_m == pytest.approx(0.2 / 5)
    assert error.trans_err == pytest.approx(0, abs=1e-9) and error.scale == pytest.approx(1 / 1.1)


def test_turning_too_far_by_hand():
    error = camera_error(turning(33.0), turning(30.0))
    assert error.end_rotation_deg == pytest.approx(3.0)
    assert error.rpe_deg == pytest.approx(0.6)
    # Errors 0, 0.6 .. 3 about one axis: the mean rotation takes off 1.5, which leaves 0.9 on average.
    assert error.rot_err_deg == pytest.approx(0.9, abs=1e-3)
    assert error.path_m == 0 and error.relative_translation_percent is None
    assert error.ape_se3_m is None and error.scale is None and error.failure == ""


def test_missing_poses_are_counted():
    true, path = wander(1, 11), wander(1, 11)
    path[4] = np.nan
    error = camera_error(path, true)
    assert (error.poses_used, error.poses_failed, error.failure) == (10, 1, "")
    assert error.rot_err_deg == pytest.approx(0, abs=1e-5)


def test_without_the_last_pose_there_is_no_error_at_the_end():
    ok = np.ones(11, bool)
    ok[-1] = False
    error = camera_error(wander(1, 11), wander(1, 11), ok)
    assert error.end_translation_m is None and error.relative_translation_percent is None
    assert error.rot_err_deg is not None


def test_too_few_poses_are_a_failure_and_no_figure():
    true, ok = wander(2, 11), np.arange(11) < 4
    error = camera_error(true, true, ok, reason="frame 16: no camera fits")
    assert error.failure == "3 of 10 poses recovered: frame 16: no camera fits"
    assert (error.poses_used, error.poses_failed) == (4, 7) and error.path_m > 0
    assert error.rot_err_deg is error.trans_err is error.ape_sim3_m is error.end_rotation_deg is None


def test_means_count_failures_and_skip_what_is_absent():
    true = wander(3, 11)
    good = camera_error(true, true)
    bad = camera_error(true, true, np.arange(11) < 2)
    means = mean_camera_error([good, bad, camera_error(turning(33.0), turning(30.0))])
    assert means["paths"] == 3 and means["paths_failed"] == 1 and means["poses_failed"] == 9
    assert means["rot_err_deg"] == pytest.approx(0.45, abs=1e-3)
    assert mean_camera_error([bad])["rot_err_deg"] is None
    assert CameraError(**asdict(bad)) == bad  # survives JSON
    with pytest.raises(ValueError, match="nothing to average"):
        mean_camera_error([])


def test_bad_input():
    with pytest.raises(ValueError, match="one length"):
        camera_error(wander(0, 5), wander(0, 6))
    with pytest.raises(ValueError, match="first pose"):
        camera_error(wander(0), wander(0), np.arange(8) > 0)
    with pytest.raises(ValueError, match="not orthonormal"):
        camera_error(wander(0), wander(0) * np.array([2, 2, 2, 1.0]))


def test_evo_missing_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "evo.core.geometry", None)
    with pytest.raises(ImportError, match=r"sanawm_env\[eval\]"):
        camera_error(wander(0), wander(0))


def test_a_scene_that_is_lost_in_true_pictures_has_no_say_in_the_translation_error():
    def error(percent):
        return CameraError(relative_translation_percent=percent)

    made = [error(percent) for percent in (4.0, 276.0, None, 8.0, 5.0)]
    true = [error(percent) for percent in (3.0, 156.0, 2.0, 5.0, None)]
    assert translation_where_followed(made, true) == {
        "percent": 6.0, "percent_of_true_renders": 4.0, "scenes": 2, "lost_in_true_renders": 2, "lost_in_generated": 1,
    }  # fmt: skip
    # Nor may a world choose: what is far off in generated frames alone counts in full.
    assert translation_where_followed([error(90.0)], [error(3.0)])["percent"] == 90.0
    assert translation_where_followed([error(4.0)], [error(26.0)])["percent"] is None
