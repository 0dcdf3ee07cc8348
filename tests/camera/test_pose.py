from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import RigidTransform, Rotation

from sanawm_env.camera import (
    action_to_delta,
    delta_to_action,
    geodesic,
    load_poses,
    pose_deltas,
    poses_to_actions,
    rollout_actions,
    validate_c2w,
)

LIMITS = {"max_translation": 0.3, "max_rotation": 0.4}
actions = arrays(np.float64, 6, elements=st.floats(-1, 1, width=32))
quick = settings(max_examples=30, deadline=None)


def random_pose(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = Rotation.random(random_state=rng).as_matrix()
    pose[:3, 3] = rng.normal(size=3) * 5
    return pose


@quick
@given(actions, st.integers(0, 1000), st.integers(1, 9))
def test_geodesic_ends_at_the_composition_and_stays_rigid(action, seed: int, n: int) -> None:
    start = random_pose(seed)
    delta = action_to_delta(action, **LIMITS)
    frames = geodesic(start, delta, n)
    assert frames.shape == (n, 4, 4)
    np.testing.assert_allclose(frames[-1], start @ delta.as_matrix(), atol=1e-12)
    validate_c2w(frames, tolerance=1e-9)


@quick
@given(actions, st.integers(0, 1000))
def test_geodesic_moves_at_constant_body_velocity(action, seed: int) -> None:
    start = random_pose(seed)
    frames = geodesic(start, action_to_delta(action, **LIMITS), 4)
    steps = pose_deltas(np.concatenate([start[None], frames])).as_exp_coords()
    np.testing.assert_allclose(steps, np.broadcast_to(steps[0], steps.shape), atol=1e-10)


@quick
@given(actions)
def test_action_round_trip(action) -> None:
    np.testing.assert_allclose(delta_to_action(action_to_delta(action, **LIMITS), **LIMITS), action, atol=1e-10)


@quick
@given(arrays(np.float64, (3, 6), elements=st.floats(-1, 1, width=32)), st.integers(1, 5))
def test_trajectory_round_trip(sequence, n: int) -> None:
    poses = rollout_actions(random_pose(0), sequence, n, **LIMITS)
    assert poses.shape == (3 * n + 1, 4, 4)
    np.testing.assert_allclose(poses_to_actions(poses, **LIMITS, frames_per_step=n), sequence, atol=1e-9)


def test_the_action_is_the_delta_transform() -> None:
    delta = action_to_delta([0, 0, 1, 0, 1, 0], **LIMITS)
    np.testing.assert_allclose(delta.translation, [0, 0, 0.3])
    np.testing.assert_allclose(delta.rotation.as_rotvec(), [0, 0.4, 0])
    # +rotation about y (down) turns the view from +z towards +x, to the right.
    assert delta.as_matrix()[0, 2] > 0


def test_actions_are_in_the_camera_frame() -> None:
    facing_right = np.eye(4)
    facing_right[:3, :3] = Rotation.from_euler("y", 90, degrees=True).as_matrix()
    frames = geodesic(facing_right, action_to_delta([0, 0, 1, 0, 0, 0], **LIMITS), 1)
    np.testing.assert_allclose(frames[0, :3, 3], [0.3, 0, 0], atol=1e-15)


def test_batches_have_the_same_bits_as_single_slots() -> None:
    rng = np.random.default_rng(0)
    batch = rng.uniform(-1, 1, (5, 6))
    starts = np.stack([random_pose(seed) for seed in range(5)])
    together = geodesic(starts, action_to_delta(batch, **LIMITS), 3)
    assert together.shape == (5, 3, 4, 4)
    np.testing.assert_array_equal(geodesic(starts[:2], action_to_delta(batch[:2], **LIMITS), 3), together[:2])
    for slot in range(5):
        alone = geodesic(starts[slot], action_to_delta(batch[slot], **LIMITS), 3)
        np.testing.assert_array_equal(together[slot], alone)


def test_no_action_stays_put() -> None:
    frames = geodesic(np.eye(4), action_to_delta(np.zeros(6), **LIMITS), 4)
    np.testing.assert_array_equal(frames, np.tile(np.eye(4), (4, 1, 1)))
    assert isinstance(action_to_delta(np.zeros(6), **LIMITS), RigidTransform)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda p: p[:, :3], "shape"),
        (lambda p: p * np.nan, "frame 0 has NaN"),
        (lambda p: np.swapaxes(p, -1, -2), "frame 2 .*transpose"),
        (lambda p: p * [[1], [1], [1], [2]], "bottom row"),
        (lambda p: p * [[2, 2, 2, 1], [2, 2, 2, 1], [2, 2, 2, 1], [1, 1, 1, 1]], "not orthonormal"),
        (lambda p: p * [[-1], [1], [1], [1]], "reflection"),
    ],
)
def test_bad_poses(change, message: str) -> None:
    poses = np.tile(np.eye(4), (3, 1, 1))
    poses[2, :3, 3] = 1.0
    validate_c2w(poses)
    with pytest.raises(ValueError, match=message):
        validate_c2w(change(poses))


def test_the_bad_frame_is_named() -> None:
    poses = np.tile(np.eye(4), (5, 1, 1))
    poses[3, 0, 0] = 7
    with pytest.raises(ValueError, match="frame 3"):
        validate_c2w(poses)


@pytest.mark.parametrize(
    ("action", "translation", "rotation", "message"),
    [
        (np.zeros(5), 1.0, 1.0, "shape"),
        (np.full(6, np.nan), 1.0, 1.0, "NaN"),
        (np.zeros(6), 0.0, 1.0, "max_translation"),
        (np.zeros(6), 1.0, 10.0, "math.radians"),
    ],
)
def test_bad_actions(action, translation: float, rotation: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        action_to_delta(action, translation, rotation)


def test_bad_step_lengths() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        geodesic(np.eye(4), action_to_delta(np.zeros(6), **LIMITS), 0)
    with pytest.raises(ValueError, match="frames_per_step"):
        pose_deltas(np.tile(np.eye(4), (6, 1, 1)), frames_per_step=4)
    with pytest.raises(ValueError, match="frames_per_step"):
        pose_deltas(np.eye(4))


def test_load_poses(tmp_path: Path) -> None:
    poses = np.stack([random_pose(seed) for seed in range(3)])
    np.save(tmp_path / "good.npy", poses.astype(np.float32))
    np.testing.assert_allclose(load_poses(tmp_path / "good.npy"), poses, atol=1e-5)
    np.save(tmp_path / "one.npy", np.eye(4))
    with pytest.raises(ValueError, match=r"one\.npy.*\(F, 4, 4\)"):
        load_poses(tmp_path / "one.npy")
    np.save(tmp_path / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    (tmp_path / "text.npy").write_text("1 2 3")
    for name in ("objects.npy", "text.npy"):
        with pytest.raises(ValueError, match=r"numpy\.save"):
            load_poses(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        load_poses(tmp_path / "absent.npy")
