"""What the world takes as its camera."""

import numpy as np
import pytest

from sanawm_env.evaluation.camera_recovery.poses import recover_poses
from sanawm_env.evaluation.metrics.baselines import nearest_homography
from sanawm_env.world.conditioning import check_intrinsics

NORMALISED = np.array([0.8, 0.9, 0.5, 0.5])


def test_pixels_pass_as_they_are() -> None:
    values = np.array([[90.0, 91, 56, 32], [60, 60, 56, 32]])
    np.testing.assert_array_equal(check_intrinsics(values, 2, 112, 64).numpy(), values)


def test_normalised_numbers_are_refused_wherever_arrays_enter() -> None:
    frames = np.zeros((2, 64, 112, 3), np.uint8)
    poses = np.tile(np.eye(4), (2, 1, 1))
    for call in (
        lambda: check_intrinsics(np.stack([[90.0, 91, 56, 32], NORMALISED]), 2, 112, 64),
        lambda: recover_poses(frames, NORMALISED),
        lambda: nearest_homography(frames[0], frames, poses, NORMALISED),
    ):
        with pytest.raises(ValueError, match="look normalised: multiply fx and cx by the width"):
            call()
