"""The drift guard's measure: 0 for the first frame, 1 for a blank one, little for a shift."""

import numpy as np
import pytest

from sanawm_env.scenes import first_frame
from sanawm_env.tasks.metrics import appearance, appearances, decay


@pytest.fixture(scope="module")
def picture():
    return first_frame(10_000_000, 64, 112)[0]


def test_the_first_frame_has_not_decayed(picture):
    assert decay(appearance(picture), appearance(picture)) == 0.0


def test_a_blank_frame_has_decayed_wholly(picture):
    blank = np.full_like(picture, picture.mean((0, 1)).astype(np.uint8))
    assert decay(appearance(picture), appearance(blank)) > 0.95


def test_coloured_blocks_have_decayed(picture):
    rng = np.random.default_rng(0)
    blocks = np.kron(rng.integers(0, 2, (8, 14, 3)) * 255, np.ones((8, 8, 1))).astype(np.uint8)
    assert decay(appearance(picture), appearance(blocks)) > 0.5


def test_looking_a_little_aside_is_no_decay(picture):
    assert decay(appearance(picture), appearance(np.roll(picture, 6, axis=1))) < 0.05


def test_appearance_has_the_same_bits_alone_and_beside_others():
    rng = np.random.default_rng(3)
    frames = [rng.integers(0, 256, (36, 52, 3)).astype(np.uint8) for _ in range(6)] + [np.zeros((36, 52, 3), np.uint8)]
    assert appearances(frames).tobytes() == b"".join(appearance(frame).tobytes() for frame in frames)
