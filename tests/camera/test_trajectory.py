import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sanawm_env.camera import KEYMAPS, KeyboardState, KeyMap, get_keymap, parse_actions, rollout_keys, validate_c2w


def test_parse() -> None:
    assert parse_actions("w-2,dw-1,none-1") == [frozenset("w"), frozenset("w"), frozenset("dw"), frozenset()]
    assert parse_actions(" W - 1，aW-1,-1") == [frozenset("w"), frozenset("aw"), frozenset()]
    assert parse_actions("downd-1,wleft-1", "hy-worldplay") == [
        frozenset({"down", "d"}),
        frozenset({"w", "left"}),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("  ", "empty"),
        ("w", "'<keys>-<frames>'"),
        ("w-3,,d-2", "stray commas"),
        ("w-3,", "stray commas"),
        ("w-0", "whole number"),
        ("w--3", "unknown key '-'"),
        ("w-1.5", "whole number"),
        ("w-", "whole number"),
        ("w-²", "whole number"),
        ("q-3", "unknown key 'q'"),
        ("nonew-3", "unknown key 'n'"),
    ],
)
def test_malformed_strings(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_actions(text)


def test_unknown_names_list_the_choices() -> None:
    with pytest.raises(ValueError, match="nvlabs, nvlabs-2026-05, sglang, flashdreams, hy-worldplay"):
        get_keymap("qwerty")
    with pytest.raises(ValueError, match="has no key 'q'"):
        KeyboardState.start("nvlabs").step(["w", "q"])


@pytest.mark.parametrize(
    "change",
    [
        {"translation_speed": -1.0},
        {"rotation_speed_deg": float("nan")},
        {"pitch_limit_deg": 120.0},
    ],
)
def test_bad_speeds(change: dict) -> None:
    with pytest.raises(ValueError):
        rollout_keys("w-1", **change)


MEANING = {  # key -> what the last pose of ten frames shows
    "nvlabs": {"w": "forward", "s": "back", "a": "yaw_left", "d": "yaw_right", "j": "left", "l": "right"},
    "nvlabs-2026-05": {
        "w": "forward",
        "s": "back",
        "a": "left",
        "d": "right",
        "j": "yaw_left",
        "l": "yaw_right",
    },
    "sglang": {"w": "forward", "s": "back", "j": "yaw_left", "l": "yaw_right", "i": "up", "k": "down"},
    "flashdreams": {"w": "forward", "q": "left", "e": "right", "a": "yaw_left", "j": "yaw_left", "i": "up"},
    "hy-worldplay": {
        "w": "forward",
        "a": "left",
        "d": "right",
        "left": "yaw_left",
        "up": "up",
        "down": "down",
    },
}


def describe(c2w: np.ndarray) -> str:
    (x, y, z), view = c2w[:3, 3], c2w[:3, 2]
    signs = {"right": x, "left": -x, "forward": z, "back": -z}
    signs |= {"yaw_right": view[0], "yaw_left": -view[0], "down": view[1], "up": -view[1]}
    assert y == 0
    return max(signs, key=lambda name: signs[name])


@pytest.mark.parametrize("name", KEYMAPS)
def test_meaning_of_keys(name: str) -> None:
    for key, meaning in MEANING[name].items():
        poses = rollout_keys([[key]] * 10, name)
        assert describe(poses[-1]) == meaning, key


def test_sglang_strafe_turns_a_little() -> None:
    poses = rollout_keys("d-10", "sglang")
    yaw = Rotation.from_matrix(poses[-1, :3, :3]).as_rotvec(degrees=True)
    np.testing.assert_allclose(yaw, [0, 10 * 0.4 * 1.2, 0], atol=1e-9)
    assert poses[-1, 0, 3] > 0.39


def test_two_keys_for_one_control_count_once() -> None:
    both = rollout_keys([["a", "j"]] * 5, "flashdreams")
    np.testing.assert_array_equal(both, rollout_keys([["a"]] * 5, "flashdreams"))


def test_walking_keeps_the_height_and_flying_does_not() -> None:
    walk = rollout_keys("k-20,w-20", "nvlabs")
    assert np.abs(walk[:, 1, 3]).max() == 0
    fly = rollout_keys("down-20,w-20", "hy-worldplay")
    assert fly[-1, 1, 3] > 0.05


@pytest.mark.parametrize("name", KEYMAPS)
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_any_key_sequence_gives_rigid_poses_within_the_pitch_limit(name: str, data: st.DataObject) -> None:
    keymap = get_keymap(name)
    held = data.draw(st.lists(st.sets(st.sampled_from(keymap.keys)), min_size=1, max_size=40))
    poses = rollout_keys(held, keymap)
    validate_c2w(poses, tolerance=1e-9)
    if keymap.pitch_limit_deg is not None:
        pitch = np.rad2deg(np.arcsin(np.clip(-poses[:, 1, 2], -1, 1)))
        assert np.abs(pitch).max() <= keymap.pitch_limit_deg + 1e-6


def test_stepping_equals_the_batch_and_forks() -> None:
    frames = parse_actions("wd-6,none-5,i-9")
    state = KeyboardState.start("nvlabs")
    poses = [state.c2w]
    for keys in frames:
        state, c2w = state.step(keys)
        poses.append(c2w)
    np.testing.assert_array_equal(np.stack(poses), rollout_keys("wd-6,none-5,i-9"))
    left, right = state.step("a")[1], state.step("d")[1]
    assert not np.array_equal(left, right)
    np.testing.assert_array_equal(state.step("a")[1], left)
    with pytest.raises(ValueError):
        state.c2w[0, 0] = 2


def test_velocity_glides_and_coasts() -> None:
    keymap = get_keymap("nvlabs")
    state = KeyboardState.start(keymap)
    state, _ = state.step("w")
    assert state.velocity[0] == keymap.translation_speed
    state, _ = state.step("")
    assert state.velocity[0] == pytest.approx(keymap.translation_speed * np.exp(-1 / 16))
    state, _ = state.step("d")  # a fresh press snaps the other axes too
    assert state.velocity[0] == 0


def test_start_pose_beyond_the_pitch_limit_is_not_pulled_back() -> None:
    start = np.eye(4)
    start[:3, :3] = Rotation.from_euler("x", 80, degrees=True).as_matrix()
    state = KeyboardState.start("nvlabs", start)
    assert np.rad2deg(state.pitch) == pytest.approx(80)
    np.testing.assert_allclose(state.step("")[1], start, atol=1e-12)
    np.testing.assert_allclose(state.step("i")[1], start, atol=1e-12)
    assert np.rad2deg(state.step("k")[0].pitch) == pytest.approx(79.4)


def test_start_pose_turns_the_whole_trajectory() -> None:
    start = np.eye(4)
    start[:3, :3] = Rotation.from_euler("y", 40, degrees=True).as_matrix()
    start[:3, 3] = [1, 2, 3]
    text = "wd-5,l-4,i-6"
    np.testing.assert_allclose(rollout_keys(text, start=start), start @ rollout_keys(text), atol=1e-6)


def test_looking_straight_down_has_no_heading() -> None:
    start = np.eye(4)
    start[:3, :3] = Rotation.from_euler("x", -90, degrees=True).as_matrix()
    free = KeyMap("free", (("w", "forward"),), 1.0, 1.0, None, "saturate", False)
    pose = KeyboardState.start(free, start).step("w")[1]
    np.testing.assert_allclose(pose, start, atol=1e-9)
