import math

import pytest
import torch

from sanawm_env.scenes import Scene, make_scene, sample_scenes, smooth_motion
from sanawm_env.scenes.builder import Material, SceneBuilder
from sanawm_env.scenes.motion import CLEARANCE, KINDS, MAX_PITCH, MAX_ROTATION, MAX_TRANSLATION

GREY = Material((0.5, 0.5, 0.5))
SEEDS = range(40)


@pytest.fixture(scope="module")
def drawn() -> tuple[Scene, torch.Tensor]:
    scene, _, _ = sample_scenes(SEEDS, 64, 112)
    return scene, smooth_motion(SEEDS, scene, 49)


def test_cameras_stay_in_free_space(drawn: tuple[Scene, torch.Tensor]) -> None:
    scene, c2w = drawn
    assert (scene.clearance(c2w[..., :3, 3]) >= CLEARANCE - 1e-4).all()


def test_poses_are_rigid_and_level(drawn: tuple[Scene, torch.Tensor]) -> None:
    rotation = drawn[1][..., :3, :3]
    torch.testing.assert_close(rotation @ rotation.mT, torch.eye(3).expand_as(rotation), atol=1e-5, rtol=0)
    assert rotation[..., 1, 0].abs().max() < 1e-6  # no roll: the camera's x axis is horizontal
    assert rotation[..., 1, 2].abs().max() <= math.sin(MAX_PITCH) + 1e-6
    assert (drawn[1][..., 1, 3] < -0.9).all() and (drawn[1][..., 1, 3] > -2.1).all()


def test_speeds_keep_the_limits(drawn: tuple[Scene, torch.Tensor]) -> None:
    c2w = drawn[1].double()
    step = (c2w[:, 1:, :3, 3] - c2w[:, :-1, :3, 3]).norm(dim=-1)
    relative = c2w[:, :-1, :3, :3].mT @ c2w[:, 1:, :3, :3]
    twist = torch.stack([relative[..., 2, 1], relative[..., 0, 2], relative[..., 1, 0]], -1)
    angle = (relative - torch.eye(3, dtype=torch.float64)).flatten(-2).norm(dim=-1) / math.sqrt(2)
    assert step.max() <= MAX_TRANSLATION + 1e-4 and angle.max() <= MAX_ROTATION * 1.01
    moving, turning = step[step > 0.002], angle[angle > 1e-3]
    assert 0.012 < moving.median() < 0.04 and 0.3 < math.degrees(float(turning.median())) < 1.0
    yaw = twist[..., 1]
    assert (yaw > 1e-3).any() and (yaw < -1e-3).any()
    # Inertia: neither speed nor turn jumps from one frame to the next.
    assert (step[:, 1:] - step[:, :-1]).abs().max() < 0.02
    assert (angle[:, 1:] - angle[:, :-1]).abs().max() < MAX_ROTATION / 2


def test_many_motions_are_pure() -> None:
    assert sum(KINDS.values()) == pytest.approx(1)
    assert sum(KINDS[k] for k in ("yaw", "pitch", "forward", "strafe")) >= 0.4


def test_speeds_per_frame_follow_the_frame_rate() -> None:
    scene = Scene.cat([make_scene("outdoor", i) for i in range(12)])
    c2w = smooth_motion(range(12), scene, 20, 64.0)
    assert (c2w[:, 1:, :3, 3] - c2w[:, :-1, :3, 3]).norm(dim=-1).max() <= MAX_TRANSLATION / 4 + 1e-4


def test_a_blocked_camera_comes_to_rest() -> None:
    builder = SceneBuilder()
    builder.shell((1.3, 2.6, 1.3), [GREY] * 6)  # so narrow that most paths run into a wall
    scene = builder.build()
    for seed in range(12):
        c2w = smooth_motion([seed], scene, 97)
        assert (scene.clearance(c2w[..., :3, 3]) >= CLEARANCE - 1e-4).all()


def test_clearance_measures_distance() -> None:
    builder = SceneBuilder()
    builder.shell((8.0, 3.0, 10.0), [GREY] * 6)
    builder.box(0, 0, (1, 0.5, 1), GREY)
    builder.box(3, 0, (1, 0.5, 1), GREY, base=2.1)  # a lintel
    builder.cylinder(0, 3, 0.5, 3, GREY)
    at = torch.tensor([[[2.0, -1.5, 0], [0, -1.5, 0], [3, -1.5, 0], [0, -1.5, 2.0], [0, -1.5, -4.8], [9, -1.5, 0]]])
    got = builder.build().clearance(at)[0].tolist()
    # The low box may not be flown over; one may stand under the lintel; beyond the wall is negative.
    assert got == pytest.approx([math.hypot(0.5, 0.6), -0.5, 0.6, 0.5, 0.2, -5.0], abs=1e-5)


def test_clear_errors() -> None:
    scene = make_scene("room", 1)
    with pytest.raises(ValueError, match="as many seeds"):
        smooth_motion([1, 2], scene, 5)
    with pytest.raises(ValueError, match="fps > 0"):
        smooth_motion([1], scene, 5, 0.0)
    with pytest.raises(ValueError, match=r"points must have shape \(1, N, 3\)"):
        scene.clearance(torch.zeros(5, 3))
