"""Which pixels frame 0 showed, by geometry that can be worked out by hand; scores over some pixels only."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sanawm_env.evaluation.metrics.similarity import ssim
from sanawm_env.evaluation.metrics.unseen import (
    energy,
    glances,
    look_away,
    masked_psnr,
    masked_ssim,
    peaks,
    split_by_first,
)

INTRINSICS = (32.0, 32.0, 32.0, 24.0)
SIZE = (48, 64)


def pose(yaw_deg=0.0, at=(0.0, 0.0, 0.0)):
    out = np.eye(4)
    out[:3, :3] = Rotation.from_euler("y", yaw_deg, degrees=True).as_matrix()
    out[:3, 3] = at
    return out


def test_the_same_view_is_seen_and_the_view_behind_is_not():
    wall = np.full(SIZE, 3.0)
    seen, unseen = split_by_first(wall, pose(), INTRINSICS, wall)
    assert seen.all() and not unseen.any()
    seen, unseen = split_by_first(wall, pose(180), INTRINSICS, wall)
    assert unseen.all() and not seen.any()


def test_half_a_field_of_view_further_half_of_the_sky_is_seen_and_a_border_in_neither():
    """45 degrees to the right of a camera that sees 90: the left half of the new view was in the first one."""
    sky = np.full(SIZE, np.inf)
    seen, unseen = split_by_first(sky, pose(45), INTRINSICS, sky)
    row = SIZE[0] // 2
    assert seen[row, :28].all() and unseen[row, 36:].all()
    assert not (seen & unseen).any() and not (seen | unseen)[row, 30:34].any()


def test_what_a_near_thing_hid_is_unseen():
    """A post stood before the middle of the wall; with the post gone, the wall behind it is new."""
    wall, first = np.full(SIZE, 4.0), np.full(SIZE, 4.0)
    first[:, 24:40] = 1.0
    seen, unseen = split_by_first(wall, pose(), INTRINSICS, first)
    assert unseen[:, 28:36].all() and seen[:, :20].all() and seen[:, 44:].all()


def test_moments_repeat_every_lap_and_the_camera_is_home_between():
    path = np.stack([pose(at=(0, 0, 0.02 * i)) for i in range(81)])
    away = look_away(path, 25, 1, fps=16)
    far, near = peaks(25, 16), glances(25, 16)
    assert far == [80, 240, 400] and near == [24, 184, 344]
    for marks in (far, near):
        assert np.allclose(away[marks], away[marks[0]])
    assert np.allclose(away[160], np.eye(4)) and np.allclose(away[320], np.eye(4))
    turned = Rotation.from_matrix(away[[80, 24], :3, :3]).as_rotvec(degrees=True)
    assert np.allclose(turned, [[0, 114, 0], [0, 36, 0]]), turned


@pytest.mark.parametrize("side", [0, 2, 0.5])
def test_another_side_is_refused(side):
    with pytest.raises(ValueError, match="side must be 1"):
        look_away(np.tile(np.eye(4), (81, 1, 1)), 5, side)


def test_scores_are_of_the_pixels_that_count():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    frame, where = truth.copy(), np.zeros(SIZE, bool)
    frame[:, 40:] = 128
    where[:, :20] = True
    assert masked_psnr(frame, truth, where) == 100 and masked_ssim(frame, truth, where) == pytest.approx(1)
    assert masked_psnr(frame, truth, ~where) < 15 and masked_ssim(frame, truth, ~where) < 0.7
    everywhere = np.ones(SIZE, bool)
    assert masked_ssim(frame, truth, everywhere) == pytest.approx(float(ssim(frame, truth)))
    right = np.zeros(SIZE, bool)
    right[:, 44:] = True
    assert energy(frame, right) == 0 < energy(frame, where)
    nothing = np.zeros(SIZE, bool)
    assert all(
        np.isnan(v)
        for v in (energy(frame, nothing), masked_psnr(frame, truth, nothing), masked_ssim(frame, truth, nothing))
    )
