import numpy as np
import pytest

from sanawm_env.data.annotation.given import READINGS, check_given
from sanawm_env.data.annotation.structure.gates import Limits
from sanawm_env.data.annotation.structure.tracks import track, work_size
from tests.data.annotation.conftest import LENS, SIZE, film, path

FLIP = np.diag([1.0, -1.0, -1.0, 1.0])


def test_right_poses_are_accepted_and_kept(moving, moving_tracks):
    found = check_given(moving_tracks, moving.c2w, LENS)
    assert found.reasons == () and np.array_equal(found.c2w, moving.c2w)
    assert found.figures["explained"]["as they are"] > 0.85


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        (lambda c2w: c2w @ FLIP, "with OpenGL's axes (+y up, -z ahead)"),
        (np.linalg.inv, "as world to camera"),
        (lambda c2w: np.linalg.inv(c2w @ FLIP), "as world to camera with OpenGL's axes"),
    ],
)
def test_poses_of_other_conventions_are_recognised(moving, moving_tracks, wrong, name):
    start = path(1, (0.3, -0.2, 0.1), (20, -30, 10))[0]  # no convention may hide behind a first pose of identity
    start[:3, :3] = path(2, (0, 0, 0), (20, -30, 10))[1, :3, :3]
    numbers = wrong(start @ moving.c2w)
    assert np.allclose(READINGS[name](numbers), start @ moving.c2w) or "world" in name
    found = check_given(moving_tracks, numbers, LENS)
    assert len(found.reasons) == 1 and f"read {name}" in found.reasons[0]


def test_forward_motion_against_the_flow():
    c2w = path(25, (0, 0, 1.2), (0, 0, 0))
    tracks = track(film(c2w), work_size(*SIZE))
    assert check_given(tracks, c2w, LENS).reasons == ()
    backwards = check_given(tracks, np.linalg.inv(c2w), LENS)
    assert any("read" in reason for reason in backwards.reasons)


def test_poses_of_something_else(moving, moving_tracks):
    other = path(len(moving.c2w), (-0.2, 0.9, -0.4), (-25, 5, 20))
    found = check_given(moving_tracks, other, LENS)
    assert any("poses of something else" in reason for reason in found.reasons)


def test_a_jump_is_seen(moving, moving_tracks):
    jumped = moving.c2w.copy()
    jumped[20:, 0, 3] += 0.5
    assert any("jumps" in reason for reason in check_given(moving_tracks, jumped, LENS).reasons)


def test_a_lens_that_cannot_be(moving, moving_tracks):
    found = check_given(moving_tracks, moving.c2w, LENS * [0.1, 0.1, 1, 1])
    assert any("field of view" in reason for reason in found.reasons)
    found = check_given(moving_tracks, moving.c2w, LENS * [1, 1.5, 1, 1])
    assert any("fx and fy" in reason for reason in found.reasons)


def test_a_still_camera_cannot_be_checked():
    c2w = np.tile(np.eye(4), (20, 1, 1))
    frames = np.repeat(film(c2w[:1]), 20, axis=0)
    found = check_given(track(frames, work_size(*SIZE)), c2w, LENS, Limits())
    assert any("too little" in reason for reason in found.reasons)
