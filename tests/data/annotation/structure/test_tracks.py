import re
from dataclasses import replace

import numpy as np
import pytest

from sanawm_env.data.annotation.structure.gates import Limits
from sanawm_env.data.annotation.structure.motion import bearings, guess_focal, parallax, turn_only
from sanawm_env.data.annotation.structure.solve import solve
from sanawm_env.data.annotation.structure.tracks import (
    LEAST_KEYFRAMES,
    choose_keyframes,
    shared,
    track,
    work_size,
)
from tests.data.annotation.conftest import LENS, SIZE, film


def test_corners_move_as_the_walls_do(moving, moving_tracks):
    a, b = shared(moving_tracks, 0, 12)
    assert len(a) > 100
    here = bearings(moving_tracks.points[0][a], LENS)
    there = bearings(moving_tracks.points[12][b], LENS)
    between = np.linalg.inv(moving.c2w[12]) @ moving.c2w[0]
    shift = between[:3, 3] / np.linalg.norm(between[:3, 3])
    off = np.abs((np.cross(shift, here @ between[:3, :3].T) * there).sum(1)) * LENS[0]
    assert np.median(off) < 0.3


@pytest.mark.parametrize(
    ("given", "wanted"),
    [((1080, 1920), (360, 640)), ((1920, 1080), (640, 360)), ((256, 448), (366, 640)), ((128, 224), (256, 448))],
)
def test_pictures_are_tracked_at_one_size_and_enlarged_twice_at_most(given, wanted):
    assert work_size(*given) == wanted


def test_an_enlarged_turn_is_still_a_turn(turning):
    """An enlarged picture shows nothing more precisely: limits in pixels are those of the clip's own."""
    tracks = track(turning.frames, work_size(*SIZE))
    assert tracks.enlarged == 2.0
    solved = solve(tracks, LENS * 2)
    assert solved.turning and not solved.reasons


def test_a_clip_that_moves_little_is_mapped_from_closer_keyframes(moving_tracks):
    count = 3 * LEAST_KEYFRAMES // 2
    slow = replace(moving_tracks, ids=moving_tracks.ids[:count], points=moving_tracks.points[:count])
    at_least = [len(choose_keyframes(slow, spacing)) for spacing in (1.0, 3.0)]
    assert at_least[0] >= LEAST_KEYFRAMES > at_least[1] >= LEAST_KEYFRAMES / 3


def test_too_small_a_move_is_not_mapped(moving_tracks):
    (reason,) = solve(moving_tracks, LENS, Limits(mapped_shift=0.9)).reasons
    assert re.fullmatch(r"points move by [\d.]+% of the width at most, and 90.0% are needed to tell how .*", reason)


def test_keyframes_span_the_clip(moving_tracks):
    keys = choose_keyframes(moving_tracks)
    wide = choose_keyframes(moving_tracks, 3.0)
    assert keys[0] == wide[0] == 0 and keys[-1] == wide[-1] == len(moving_tracks) - 1
    assert 4 < len(wide) < len(keys) and keys == sorted(set(keys))


def test_parallax_tells_moving_from_turning(moving, moving_tracks, turning):
    tracks = track(turning.frames, SIZE)
    keys = choose_keyframes(tracks)
    assert parallax(tracks, keys, LENS) < 1 < 5 < parallax(moving_tracks, choose_keyframes(moving_tracks), LENS)
    found = turn_only(tracks, LENS)
    between = np.linalg.inv(found[:, :3, :3]) @ turning.c2w[:, :3, :3]
    assert np.rad2deg(np.arccos(np.clip((np.trace(between, axis1=1, axis2=2) - 1) / 2, -1, 1))).max() < 0.2
    solved = solve(tracks, LENS)
    assert solved.turning and not solved.reasons and not np.any(solved.c2w[:, :3, 3])
    assert any("only turns" in reason for reason in solve(tracks, None).reasons)


def test_the_focal_length_is_guessed_from_pairs(moving_tracks):
    assert 0.7 < guess_focal(moving_tracks, choose_keyframes(moving_tracks)) / LENS[0] < 1.4


def test_bad_pictures_are_refused_with_the_figure(moving):
    def reasons(frames):
        return " ".join(solve(track(frames, SIZE), LENS).reasons)

    assert "3 frames" in reasons(moving.frames[:3])
    assert "1 frames" in reasons(moving.frames[:1])
    assert "black" in reasons(moving.frames[:18] // 30)
    assert "100% of its frames repeat" in reasons(np.repeat(moving.frames[:1], 18, axis=0))
    plain = np.arange(100, 120, dtype=np.uint8)[:, None, None, None]
    assert "corners" in reasons(np.broadcast_to(plain, (20, *SIZE, 3)).copy())
    noise = np.random.default_rng(0).integers(-2, 3, (18, *SIZE, 3))
    still = np.clip(film(np.eye(4)[None]) + noise, 0, 255).astype(np.uint8)
    assert "nothing moves" in reasons(still)
