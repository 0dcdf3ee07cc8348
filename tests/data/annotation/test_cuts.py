from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanawm_env.data.annotation.cuts import find_cuts, spans
from tests.data.annotation.conftest import need


def test_cuts_are_found_where_they_are():
    need("scenedetect")
    rng = np.random.default_rng(0)
    shots = [np.repeat(rng.integers(0, 255, (9, 16, 3), np.uint8), 10, 0).repeat(10, 1) for _ in range(3)]
    frames = [shot for shot in shots for _ in range(20)]
    assert find_cuts(frames, 16) == ([20, 40], 60)


@given(
    cuts=st.sets(st.integers(1, 399), max_size=8),
    longest=st.integers(3, 20).map(lambda n: 8 * n + 1),
    least=st.integers(1, 30),
)
def test_clips_fit_between_cuts_and_into_the_vae(cuts, longest, least):
    clips, short = spans(sorted(cuts), 400, longest, least)
    for clip in clips:
        assert len(clip) % 8 == 1 and least <= len(clip) <= longest
        assert not any(clip.first < cut < clip.last for cut in cuts)
    assert all(a.last <= b.first for a, b in pairwise(clips))
    assert all(len(each) < least for each in short)


@pytest.mark.parametrize("count", [1, 16])
def test_short_videos_have_no_clip(count):
    clips, short = spans([], count, 161, 17)
    assert not clips and len(short[0]) == count
