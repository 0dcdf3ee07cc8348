"""A small clip that is refused is tried once more in larger pictures, and told in its own pixels."""

from dataclasses import replace

import numpy as np
import pytest

from sanawm_env.data.annotation.structure import solve as module
from sanawm_env.data.annotation.structure.adjustment import Checks
from sanawm_env.data.annotation.structure.agreement import Apart
from sanawm_env.data.annotation.structure.gates import Limits
from sanawm_env.data.annotation.structure.mapping import Model
from sanawm_env.data.annotation.structure.motion import bearings
from sanawm_env.data.annotation.structure.solve import Solution, solve
from sanawm_env.data.annotation.structure.tracks import enlarged, shared
from tests.data.annotation.conftest import LENS, SIZE, path


@pytest.fixture(scope="module")
def larger(moving_tracks):
    return enlarged(moving_tracks)


def test_an_enlarged_clip_shows_the_same_rays(moving, larger):
    assert larger.size == (2 * SIZE[0], 2 * SIZE[1]) and len(larger) == len(moving.frames)
    a, b = shared(larger, 0, 12)
    assert len(a) > 100
    here, there = bearings(larger.points[0][a], 2 * LENS), bearings(larger.points[12][b], 2 * LENS)
    between = np.linalg.inv(moving.c2w[12]) @ moving.c2w[0]
    shift = between[:3, 3] / np.linalg.norm(between[:3, 3])
    off = np.abs((np.cross(shift, here @ between[:3, :3].T) * there).sum(1)) * LENS[0]
    assert np.median(off) < 0.3


def test_a_wide_clip_is_not_enlarged(moving_tracks):
    assert enlarged(replace(moving_tracks, size=(400, 560))) is None
    assert enlarged(replace(moving_tracks, size=(560, 400))) is None


def mapped(tracks, lens):
    """A solution that saw one point at the middle of frame 0."""
    seen = ((np.zeros(1, np.int64), lens[None, 2:]),)
    checks = Checks(Apart(0.0, 0.0), 0.0, 1.0, 0.0)
    model = Model(np.eye(4)[None], lens, np.ones((1, 3)), np.zeros(1, np.int64), seen, 0.5, 3.0, checks)
    return Solution(np.tile(np.eye(4), (len(tracks), 1, 1)), lens, {"motion": "moves"}, (), model, (0,))


def test_what_larger_pictures_show_is_told_in_the_clips_own_pixels(moving_tracks, monkeypatch):
    sizes = []

    def moving(tracks, keys, lens, *rest):
        sizes.append(tracks.size)
        found = mapped(tracks, lens)
        return found if tracks.size != SIZE else replace(found, reasons=("too coarse",))

    monkeypatch.setattr(module, "_moving", moving)
    found = solve(moving_tracks, LENS)
    assert sizes == [SIZE, SIZE, (2 * SIZE[0], 2 * SIZE[1])]
    assert not found.reasons and found.figures["enlarged"] == 2
    np.testing.assert_allclose(found.intrinsics, LENS)
    np.testing.assert_allclose(found.model.intrinsics, LENS)
    np.testing.assert_allclose(found.model.seen[0][1], LENS[None, 2:])
    assert found.model.error == pytest.approx(0.25)
    sizes.clear()
    assert solve(moving_tracks, None).reasons == ("too coarse",)  # a focal length is not to be found by trying again
    assert sizes == [SIZE, SIZE]


def test_a_focal_length_that_is_contradicted_is_not_tried_again(moving_tracks, monkeypatch):
    tried = []

    def moving(tracks, keys, lens, given, known, limits):
        tried.append(keys)
        found = mapped(tracks, lens)
        return replace(found, reasons=("wrong",), figures={"focal_contradicted": True})

    monkeypatch.setattr(module, "_moving", moving)
    assert solve(moving_tracks, LENS).reasons == ("wrong",) and len(tried) == 1


def test_what_is_refused_in_both_sizes_says_what_the_clips_own_pictures_say(moving_tracks, monkeypatch):
    def moving(tracks, keys, lens, *rest):
        return replace(mapped(tracks, lens), reasons=(f"refused at {tracks.size[1]}",))

    monkeypatch.setattr(module, "_moving", moving)
    assert solve(moving_tracks, LENS).reasons == (f"refused at {SIZE[1]}",)


@pytest.mark.parametrize(
    ("said", "spread", "gain", "told"),
    [
        ((1.25, 1.25), 0.01, (0.0, 0.0), True),  # both halves of both models agree
        ((1.25, 1.22), 0.06, (0.1, 0.2), True),  # they do not quite, but the points fit much better
        ((1.25, 1.22), 0.06, (0.1, 0.01), False),
        ((1.25, 0.80), 0.06, (0.1, 0.2), False),
        ((1.05, 1.05), 0.01, (0.1, 0.2), False),
    ],
)
def test_a_given_focal_length_that_the_points_contradict(said, spread, gain, told):
    c2w = path(5)
    models = [
        replace(mapped(range(5), LENS).model, c2w=c2w, checks=Checks(Apart(0.0, 0.0), spread, *each))
        for each in zip(said, gain, strict=True)
    ]
    reasons = module._disagreement(*models, True, {}, Limits(points=1))
    assert len(reasons) == told and all("the given focal length is -" in reason for reason in reasons)
