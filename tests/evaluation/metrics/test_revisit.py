"""Pairs found on paths whose returns are known, scores, and loops."""

import itertools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sanawm_env.evaluation.metrics.psnr import psnr
from sanawm_env.evaluation.metrics.revisit import Pair, find_pairs, loop_path, remap_index, score_pairs
from sanawm_env.evaluation.metrics.similarity import gmsd, ssim
from sanawm_env.scenes import sample_scenes
from sanawm_env.scenes.motion import smooth_motion


def along(positions, yaw_deg=0.0):
    """Poses at (F,) metres along z, turned by (F,) degrees."""
    poses = np.tile(np.eye(4), (len(positions), 1, 1))
    poses[:, 2, 3] = positions
    turn = np.broadcast_to(np.deg2rad(yaw_deg), len(positions))
    poses[:, :3, :3] = Rotation.from_rotvec(turn[:, None] * np.array([0.0, 1.0, 0.0])).as_matrix()
    return poses


def there_and_back(frames=40, metres=2.0):
    half = np.linspace(0, metres, frames + 1)
    return np.concatenate([half, half[-2::-1]])


def random_path(seed, frames=60):
    scene, _, _ = sample_scenes([seed], 16, 16)
    return smooth_motion([seed], scene, frames)[0].double().numpy()


def test_there_and_back():
    pairs = find_pairs(along(there_and_back()), fps=8, spread_s=0)
    assert len(pairs) == 5
    # Mirror frames have the same pose, and the longest absence comes first.
    assert [(p.frame_a, p.frame_b) for p in pairs] == [(i, 80 - i) for i in range(5)]
    assert all(p.quality_score == 1 and p.distance_m == 0 == p.angle_diff_deg for p in pairs)


def test_pairs_are_spread():
    pairs = find_pairs(along(there_and_back()), fps=8, spread_s=0.5)
    assert len(pairs) == 5
    for p, q in itertools.combinations(pairs, 2):
        assert max(abs(p.frame_a - q.frame_a), abs(p.frame_b - q.frame_b)) > 4


def test_limits_and_quality():
    # Comes back 0.3 m short and turned by 10 degrees.
    poses = along([0, 1, 2, 0.3], [0, 0, 0, 10])
    (pair,) = find_pairs(poses, fps=1, min_gap_s=1)
    assert (pair.frame_a, pair.frame_b) == (0, 3)
    assert pair.distance_m == pytest.approx(0.3) and pair.angle_diff_deg == pytest.approx(10)
    assert pair.quality_score == pytest.approx(1 - (0.3 / 0.5 + 10 / 20) / 2)
    assert json.loads(json.dumps(pair.to_dict()))["frame_b"] == 3
    assert not find_pairs(poses, fps=1, max_distance=0.3) and not find_pairs(poses, fps=1, max_angle=9.9)
    assert not find_pairs(poses, fps=1, min_gap_s=3.1) and find_pairs(poses, fps=1, min_gap_s=3)
    assert not find_pairs(along([0, 1, 2, 0.3], [0, 0, 0, 20.1]), fps=1, min_gap_s=1)


def test_a_camera_that_never_left_does_not_revisit():
    assert find_pairs(along(np.zeros(100)), fps=4) == []
    assert find_pairs(along(0.2 * np.sin(np.arange(100))), fps=4) == []
    looked_away = along(np.zeros(100), np.r_[np.zeros(40), np.full(20, 50.0), np.zeros(40)])
    assert find_pairs(looked_away, fps=4)[0].frame_a < 40 and find_pairs(looked_away, fps=4)[0].frame_b >= 60
    assert find_pairs(along([0.0]), fps=4) == []


def test_pairs_hold_on_a_real_path():
    path = loop_path(random_path(9_500_101, 160), 10)
    for pair in find_pairs(path, min_gap_s=3):
        a, b = path[pair.frame_a], path[pair.frame_b]
        assert pair.frame_b - pair.frame_a >= 48
        assert np.linalg.norm(a[:3, 3] - b[:3, 3]) == pytest.approx(pair.distance_m) and pair.distance_m < 0.5
        turn = Rotation.from_matrix(a[:3, :3].T @ b[:3, :3]).magnitude()
        assert np.rad2deg(turn) == pytest.approx(pair.angle_diff_deg, abs=1e-5) and pair.angle_diff_deg < 20


def test_remapping():
    assert remap_index(160, 16, 161) == 160 and remap_index(160, 24, 241) == 240 and remap_index(160, 8, 81) == 80
    assert remap_index(5, 8, 81, source_fps=4) == 10
    with pytest.raises(ValueError, match="frame 240 at 24; the video has 240"):
        remap_index(160, 24, 240)


def test_scores():
    rng = np.random.default_rng(0)
    video = rng.integers(0, 256, (9, 16, 20, 3), dtype=np.uint8)
    video[8] = video[0]
    pairs = [Pair(0, 4, 0, 0, 1), Pair(1, 3, 0.1, 2, 0.9)]
    found = score_pairs(video, pairs, fps=32)  # frames 0 and 8, 2 and 6
    assert found.psnr_db == (100, pytest.approx(psnr(video[2], video[6])))
    assert found.ssim == (pytest.approx(1), pytest.approx(ssim(video[6], video[2])))
    assert found.gmsd == (pytest.approx(0, abs=1e-7), pytest.approx(gmsd(video[6], video[2])))
    loaded = json.loads(json.dumps(found.to_dict()))
    assert loaded["pairs"] == 2 and loaded["mean_psnr_db"] == pytest.approx(np.mean(found.psnr_db))
    nothing = score_pairs(video, [])
    assert nothing.pairs == 0 and nothing.to_dict()["mean_ssim"] is None
    with pytest.raises(ValueError, match="Roll out"):
        score_pairs(video, pairs, fps=64)
    with pytest.raises(ValueError, match="uint8"):
        score_pairs(video[0], pairs)


@given(st.integers(1, 50), st.floats(0, 3), st.sampled_from([8.0, 16.0]))
@settings(max_examples=30, deadline=None)
def test_loops(steps, turn_s, fps):
    out = PATH[: steps + 1]
    loop = loop_path(out, steps / fps, fps, turn_s)
    assert loop.shape == (2 * steps + 1, 4, 4)
    assert np.array_equal(loop, loop[::-1])
    assert np.linalg.norm(np.diff(loop[:, :3, 3], axis=0), axis=-1).max() <= SPEED + 1e-9  # nowhere faster
    assert np.allclose(loop[:, :3, :3] @ loop[:, :3, :3].transpose(0, 2, 1), np.eye(3), atol=1e-6)
    if turn_s * fps / 2 <= steps:
        assert np.allclose(loop[0], out[0], atol=1e-9)


PATH = random_path(9_500_104)
SPEED = float(np.linalg.norm(np.diff(PATH[:, :3, 3], axis=0), axis=-1).max())


def test_a_loop_runs_along_the_path_and_turns_smoothly():
    line = along(np.arange(41) * 0.1)
    loop = loop_path(line, 40 / 16)
    assert np.array_equal(loop[:33], line[:33])  # half a second before the turn it begins to slow down
    steps = np.diff(loop[:, 2, 3])
    assert np.abs(np.diff(steps)).max() < 0.1 / 7  # a hard turn would jump by 0.2
    assert loop[40, 2, 3] == pytest.approx(0.1 * (40 - 4))
    hard = loop_path(line, 40 / 16, turn_s=0)
    assert np.array_equal(hard[:41], line)


def test_loops_need_a_path():
    with pytest.raises(ValueError, match="needs 157 poses; the path has 60"):
        loop_path(PATH, 10)
    with pytest.raises(ValueError, match="at least a frame"):
        loop_path(PATH, 0)
    with pytest.raises(ValueError, match="path"):
        find_pairs(np.eye(4))
    with pytest.raises(ValueError, match="must be positive"):
        find_pairs(PATH, limit=0)
