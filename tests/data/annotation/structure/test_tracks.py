import re
from dataclasses import replace

import numpy as np

from sanawm_env.data.annotation.structure.gates import Limits
from sanawm_env.data.annotation.structure.motion import bearings, guess_focal, parallax, turn_only
from sanawm_env.data.annotation.structure.solve import solve
from sanawm_env.data.annotation.structure.tracks import (
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


def test_a_clip_that_moves_little_is_mapped_from_closer_keyframes(moving_tracks):
    slow = replace(moving_tracks, ids=moving_tracks.ids[:16], points=moving_tracks.points[:16])
    assert len(choose_keyframes(slow)) < 8 <= len(choose_keyframes(slow, least=8)) < 16


def test_too_small_a_move_is_not_mapped(moving_tracks):
    (reason,) = solve(moving_tracks, LENS, Limits(mapped_shift=0.9)).reasons
    assert re.fullmatch(r"points move by [\d.]+% of the width at most, and 90.0% are needed to tell how .*", reason)


def test_keyframes_span_the_clip(moving_tracks):
    keys = choose_keyframes(moving_tracks)
    wide = choose_keyframes(moving_tracks, 3.0)
    assert keys[0] == wide[0] == 0 and keys[-1] == wide[-1] == len(moving_tracks) - 1
    assert 4 < len(wide) < len(keys) and keys == sorted(set(keys))


def test_parallax_tells_moving_from_turning(moving, moving_tracks, turning):
    tracks = track(turning.frames, work_size(*SIZE))
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
        return " ".join(solve(track(frames, work_size(*SIZE)), LENS).reasons)

    assert "3 frames" in reasons(moving.frames[:3])
    assert "1 frames" in reasons(moving.frames[:1])
    assert "black" in reasons(moving.frames[:18] // 30)
    assert "100% of its frames repeat" in reasons(np.repeat(moving.frames[:1], 18, axis=0))
    plain = np.arange(100, 120, dtype=np.uint8)[:, None, None, None]
    assert "corners" in reasons(np.broadcast_to(plain, (20, *SIZE, 3)).copy())
    noise = np.random.default_rng(0).integers(-2, 3, (18, *SIZE, 3))
    still = np.clip(film(np.eye(4)[None]) + noise, 0, 255).astype(np.uint8)
    assert "nothing moves" in reasons(still)
