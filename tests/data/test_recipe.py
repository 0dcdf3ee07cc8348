import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sanawm_env.data.recipe import EpisodeRecipe, frames_digest


def recipe(**changes) -> EpisodeRecipe:
    values = {
        "checkpoint": "tiny", "checkpoint_hash": "ab", "checkpoint_name": "tiny", "env": {"chunk_frames": 1}, "seed": 3,
        "options": {}, "image": None, "start": {"scene_seed": 4}, "actions": [[0.5] * 6], "policy": "random:uniform",
        "frames": 5, "frames_per_step": 4, "size": (64, 96), "fps": 16.0, "digests": ["a", "b"], "frames_sha256": "c",
        "depends_on": {"threads": 1},
    }  # fmt: skip
    return EpisodeRecipe(**values | changes)


def test_what_is_read_back_is_what_was_written():
    assert EpisodeRecipe.from_dict(json.loads(json.dumps(recipe().to_dict()))) == recipe()


@given(arrays(np.float32, (2, 6), elements=st.floats(-1, 1, width=32)))
def test_actions_keep_their_bits(actions):
    found = EpisodeRecipe.from_dict(json.loads(json.dumps(recipe(actions=actions.tolist()).to_dict())))
    assert np.array_equal(np.asarray(found.actions, np.float32), actions)


def test_other_json_is_refused():
    with pytest.raises(ValueError, match="no recipe of an episode"):
        EpisodeRecipe.from_dict({"format": "sanawm_env.recipe", "version": 1})
    with pytest.raises(ValueError, match="of version 9"):
        EpisodeRecipe.from_dict(recipe().to_dict() | {"version": 9})
    cut = recipe().to_dict()
    del cut["actions"], cut["digests"]
    with pytest.raises(ValueError, match="lacks actions, digests"):
        EpisodeRecipe.from_dict(cut)


def test_digests_tell_frames_apart():
    frames = np.zeros((2, 4, 4, 3), np.uint8)
    other = frames.copy()
    other[1, 3, 3, 2] = 1
    assert frames_digest(frames) == frames_digest(frames[:, ::1].copy()) != frames_digest(other)
    assert frames_digest(np.asfortranarray(other)) == frames_digest(other)
