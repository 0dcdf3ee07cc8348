"""Camera recovery on true renders, whose poses are known, and on videos that give nothing to hold on to."""

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sanawm_env.camera import relative_to_first
from sanawm_env.evaluation.camera_recovery.poses import recover_poses
from sanawm_env.scenes import first_frame, render_scene

HEIGHT, WIDTH, FRAMES = 96, 160, 17


@pytest.fixture(scope="module")
def scene():
    return first_frame(9_000_200, HEIGHT, WIDTH, families=["outdoor"])


def film(scene, forward=0.0, yaw_deg=0.0, frames=FRAMES):
    """Frames, intrinsics, depth of frame 0 and poses relative to it, at constant speed."""
    _, intrinsics, world, start = scene
    share = np.linspace(0, 1, frames)
    c2w = np.tile(np.eye(4), (frames, 1, 1))
    c2w[:, :3, :3] = Rotation.from_euler("y", (share * yaw_deg)[:, None], degrees=True).as_matrix()
    c2w[:, 2, 3] = share * forward
    poses = start.double().numpy() @ c2w
    rgb, depth = render_scene(world, torch.from_numpy(poses).float(), intrinsics, HEIGHT, WIDTH)
    return rgb.numpy(), intrinsics.numpy(), depth[0].numpy(), relative_to_first(torch.from_numpy(poses)).numpy()


def angles(a, b):
    return np.rad2deg(Rotation.from_matrix(np.swapaxes(a[:, :3, :3], 1, 2) @ b[:, :3, :3]).magnitude())


def shifts(a, b):
    return np.linalg.norm(a[:, :3, 3] - b[:, :3, 3], axis=1)


@pytest.fixture(scope="module")
def drive(scene):
    return film(scene, forward=0.6, yaw_deg=12.0)


def test_a_known_path_in_metres(drive):
    rgb, camera, depth, c2w = drive
    found = recover_poses(rgb, camera, every=4, depth0=depth)
    assert found.ok.all() and not found.failed and found.metric and found.reason == ""
    assert found.frames.tolist() == [0, 4, 8, 12, 16]
    np.testing.assert_array_equal(found.c2w[0], np.eye(4))
    assert angles(found.c2w, c2w[found.frames]).max() < 0.6
    assert shifts(found.c2w, c2w[found.frames]).max() < 0.06  # a tenth of the path


def test_turning_on_the_spot_is_no_translation(scene):
    rgb, camera, depth, c2w = film(scene, yaw_deg=-20.0)
    found = recover_poses(rgb, camera, every=8, depth0=depth)
    assert found.ok.all()
    assert angles(found.c2w, c2w[found.frames]).max() < 0.6
    assert shifts(found.c2w, c2w[found.frames]).max() < 0.06


def test_without_depth_rotation_and_direction_remain(scene):
    rgb, camera, _, c2w = film(scene, forward=1.0, yaw_deg=12.0)
    found = recover_poses(rgb, camera, every=4)
    assert found.ok.all() and not found.metric
    assert angles(found.c2w, c2w[found.frames]).max() < 2.5
    mine, true = found.c2w[-1, :3, 3], c2w[-1, :3, 3]
    assert mine @ true / np.linalg.norm(mine) / np.linalg.norm(true) > 0.9


def test_a_frozen_video_stands_still(drive):
    rgb, camera, depth, _ = drive
    found = recover_poses(np.repeat(rgb[:1], 6, axis=0), camera, every=1, depth0=depth)
    assert found.ok.all()
    assert angles(found.c2w, np.tile(np.eye(4), (6, 1, 1))).max() < 0.05
    assert np.abs(found.c2w[:, :3, 3]).max() < 0.01


def test_a_picture_without_texture_fails_with_a_reason(drive):
    found = recover_poses(np.full((5, HEIGHT, WIDTH, 3), 90, np.uint8), drive[1], every=1, depth0=drive[2])
    assert found.failed and found.ok.tolist() == [True] + [False] * 4
    assert np.isnan(found.c2w[1:]).all() and "frame 0 has 0 points" in found.reason


def test_a_cut_is_counted_and_named(drive):
    rgb, camera, depth, c2w = drive
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (8, HEIGHT, WIDTH, 3), dtype=np.uint8)
    found = recover_poses(np.concatenate([rgb[:9], noise]), camera, every=4, depth0=depth)
    assert found.ok.tolist() == [True, True, True, False, False] and found.failed
    assert found.reason.startswith("frame 9:")
    assert angles(found.c2w[:3], c2w[[0, 4, 8]]).max() < 0.6


def test_large_frames_are_shrunk_with_their_camera(drive):
    rgb, camera, depth, c2w = drive
    large = np.stack([cv2.resize(f, (WIDTH * 4, HEIGHT * 4), interpolation=cv2.INTER_CUBIC) for f in rgb[:9]])
    found = recover_poses(large, camera * 4, every=8, depth0=np.kron(depth, np.ones((4, 4))))
    assert found.ok.all()
    assert angles(found.c2w, c2w[[0, 8]]).max() < 0.6 and shifts(found.c2w, c2w[[0, 8]]).max() < 0.05


def test_same_video_same_poses(drive):
    rgb, camera, depth, _ = drive
    first, second = (recover_poses(rgb[:7], camera, every=1, depth0=depth).c2w for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": np.zeros((1, 64, 64, 3), np.uint8)}, "F >= 2"),
        ({"frames": np.zeros((4, 64, 64, 3), np.float32)}, "uint8"),
        ({"frames": np.zeros((4, 16, 64, 3), np.uint8)}, "too small"),
        ({"intrinsics": [50.0, 50.0, 32.0]}, "fx, fy, cx, cy"),
        ({"intrinsics": [-50.0, 50.0, 32.0, 32.0]}, "fx, fy, cx, cy"),
        ({"every": 0}, "at least 1"),
        ({"depth0": np.ones((32, 64))}, "depth0"),
        ({"depth0": np.zeros((64, 64))}, "depth0"),
        ({"depth0": np.full((64, 64), np.nan)}, "depth0"),
    ],
)
def test_bad_input(change, message):
    given = {"frames": np.zeros((4, 64, 64, 3), np.uint8), "intrinsics": [50.0, 50.0, 32.0, 32.0]} | change
    with pytest.raises(ValueError, match=message):
        recover_poses(given.pop("frames"), given.pop("intrinsics"), **given)
