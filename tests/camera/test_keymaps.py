"""Key maps as values: their way through JSON, alone and in the spec of an environment."""

import json
from dataclasses import replace

import gymnasium as gym
import pytest
from gymnasium.envs.registration import EnvSpec

import sanawm_env  # noqa: F401
from sanawm_env.camera.keymaps import KEYMAPS, KeyMap, get_keymap

OWN = replace(KEYMAPS["nvlabs"], name="mine", controls=(("u", "forward"), ("h", "yaw_left")), translation_speed=0.01)


@pytest.mark.parametrize("keymap", [*KEYMAPS.values(), OWN], ids=lambda keymap: keymap.name)
def test_a_key_map_survives_json(keymap):
    assert get_keymap(json.loads(json.dumps(keymap.to_dict()))) == keymap == KeyMap.from_dict(keymap.to_dict())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"speed": 3}, "no field 'speed'"),
        ({"controls": 3}, "no key map"),
        ({"controls": [["w", "forward", "x"]]}, "no key map"),
        ({"tau_press": -1}, "tau_press"),
    ],
)
def test_what_is_no_key_map_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        get_keymap(OWN.to_dict() | change)


def test_fields_that_are_missing_are_named():
    with pytest.raises(ValueError, match="controls"):
        get_keymap({"name": "half"})


@pytest.mark.parametrize("how", ["single", "vector"])
def test_an_environment_is_made_again_from_its_spec(how):
    given = {"checkpoint": "tiny", "chunk_frames": 1, "action_mode": "keys", "keymap": OWN}
    if how == "single":
        env = gym.make("SanaWM-v0", **given)
        twin = gym.make(EnvSpec.from_json(env.spec.to_json()))
        assert twin.unwrapped.keys == env.unwrapped.keys == ("u", "h")
        assert twin.unwrapped.simulation.settings.keymap == OWN
    else:
        env = gym.make_vec("SanaWM-v0", num_envs=2, vectorization_mode="vector_entry_point", **given)
        twin = gym.make_vec(EnvSpec.from_json(env.spec.to_json()))
        assert twin.keys == ("u", "h") and twin.num_envs == 2
