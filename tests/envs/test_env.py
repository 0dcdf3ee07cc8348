import copy
import pickle
import subprocess
import sys
import warnings
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.error import DependencyNotInstalled, ResetNeeded
from gymnasium.utils.env_checker import check_env, data_equivalence
from gymnasium.utils.env_match import check_environments_match
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from sanawm_env import EnvSnapshot, SanaWMEnv, WorldModel
from sanawm_env.camera import get_keymap, rollout_actions, rollout_keys
from sanawm_env.envs import rendering as viewer
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.config import small_config

MODEL = WorldModel.untrained()
H, W = MODEL.config.height, MODEL.config.width
FORWARD = np.array([0, 0, 1, 0, 0, 0], np.float32)
PICTURE = np.random.default_rng(0).integers(0, 256, (90, 200, 3), dtype=np.uint8)

VARIANTS = [
    {},
    {"chunk_frames": 1},
    {"obs_mode": "dict"},
    {"action_mode": "per_frame", "chunk_frames": 2},
    {"action_mode": "keys"},
    {"action_mode": "keys", "keymap": "hy-worldplay"},
    {"image": PICTURE, "sampler_steps": 1},
]


def make(**arguments):
    return SanaWMEnv(MODEL, **arguments)


def random_steps(env, n, seed=0):
    """Steps with actions drawn anew from a seed: all that came out."""
    env.action_space.seed(seed)
    return [env.step(env.action_space.sample()) for _ in range(n)]


def same(a, b):
    return data_equivalence(a, b, exact=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "small"
    save_checkpoint(path, MODEL.config, MODEL.transformer.state_dict(), MODEL.vae.state_dict())
    return path


# -- the contract ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
def test_gymnasium_check_env(arguments):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        # A pose has no bounds; Gymnasium's own environments are warned about theirs too.
        warnings.filterwarnings("ignore", message=".*A Box observation space m.*imum value is.*infinity")
        env = gym.make("SanaWM-v0", checkpoint=MODEL, **arguments)
        assert not env.spec.nondeterministic
        check_env(env.unwrapped)


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
def test_sb3_check_env(arguments):
    check = pytest.importorskip("stable_baselines3.common.env_checker").check_env
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message="Your observation frames has an unconventional shape")
        check(make(**arguments), skip_render_check=False)


def test_ids_and_lazy_exports():
    code = (
        "import sys, sanawm_env, gymnasium as gym;"
        "assert 'SanaWM-v0' in gym.registry;"
        "heavy = {'torch', 'transformers', 'diffusers', 'fla', 'cv2', 'av', 'scipy'} & set(sys.modules);"
        "assert not heavy, heavy;"
        "assert sanawm_env.SanaWMEnv.__name__ == 'SanaWMEnv' and 'WorldModel' in dir(sanawm_env);"
        "assert not {'transformers', 'diffusers', 'fla'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert gym.make("sanawm_env:SanaWM-v0", checkpoint=MODEL).unwrapped.model is MODEL
    with pytest.raises(AttributeError, match="nothing"):
        import sanawm_env

        sanawm_env.nothing  # noqa: B018


def test_gym_make_truncates_and_takes_any_limit():
    env = gym.make("SanaWM-v0", checkpoint=MODEL)
    env = gym.make("SanaWM-v0", checkpoint=MODEL, max_episode_steps=3)
    env.reset(seed=0)
    assert [env.step(FORWARD)[2:4] for _ in range(3)] == [(False, False), (False, False), (False, True)]


def test_gym_make_can_go_beyond_a_minute():
    hasty = WorldModel.untrained(small_config(fps=0.5))  # a step of 24 s
    env = gym.make("SanaWM-v0", checkpoint=hasty, max_episode_steps=5, episode_seconds=None)
    env.reset(seed=0)
    assert [env.step(FORWARD)[3] for _ in range(5)] == [False] * 4 + [True]


@pytest.mark.parametrize(("chunk_frames", "steps"), [(3, 5), (1, 15)])
def test_an_episode_is_a_minute_however_it_is_made(chunk_frames, steps):
    slow = WorldModel.untrained(small_config(fps=1.0))
    arguments = {"checkpoint": slow, "chunk_frames": chunk_frames}
    envs = [SanaWMEnv(**arguments), gym.make("SanaWM-v0", **arguments)]
    for env in envs:
        env.reset(seed=0)
        assert [env.step(FORWARD)[3] for _ in range(steps)] == [False] * (steps - 1) + [True]
    many = gym.make_vec("SanaWM-v0", 1, vectorization_mode="vector_entry_point", **arguments)
    many.reset(seed=0)
    assert [many.step([FORWARD])[3][0] for _ in range(steps)] == [False] * (steps - 1) + [True]


@pytest.mark.parametrize(("chunk_frames", "steps"), [(3, 5), (1, 15)])
def test_a_direct_environment_truncates_after_a_minute_of_any_chunks(chunk_frames, steps):
    env = SanaWMEnv(WorldModel.untrained(small_config(fps=1.0)), chunk_frames=chunk_frames)
    env.reset(seed=0)
    assert [out[3] for out in random_steps(env, steps)] == [False] * (steps - 1) + [True]
    env = make(max_episode_steps=2)
    env.reset(seed=0)
    assert [out[3] for out in random_steps(env, 3)] == [False, True, True]


# -- what reset and step give ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
def test_same_seed_and_actions_same_everything(arguments):
    first, second = make(**arguments), make(**arguments)
    assert same(first.reset(seed=5), second.reset(seed=5))
    assert same(random_steps(first, 4), random_steps(second, 4))
    assert same(first.reset(), second.reset())


def test_seeds_choose_scene_and_noise():
    env = make()
    a, b = env.reset(seed=1)[0], env.reset(seed=2)[0]
    assert not np.array_equal(a, b)
    env = make(image=PICTURE)
    starts = [env.reset(seed=1)[0], env.reset(seed=2)[0]]
    assert np.array_equal(*starts)
    frames = []
    for seed in (1, 2):
        env.reset(seed=seed)
        frames.append(env.step(FORWARD)[0])
    assert not np.array_equal(*frames)


def test_info_describes_the_step():
    env = make(max_translation=0.6)
    _, info = env.reset(seed=0)
    assert info["frames"].shape == (12, H, W, 3) and np.array_equal(info["c2w"], np.eye(4))
    size = info["state_bytes"]
    for k in range(1, 6):
        obs, reward, terminated, truncated, info = env.step(FORWARD)
        assert type(reward) is float and type(terminated) is bool and type(truncated) is bool
        assert info["frames"].shape == (12, H, W, 3) and info["frame_c2w"].shape == (12, 4, 4)
        assert np.array_equal(info["frames"][-1], obs) and np.array_equal(info["frame_c2w"][-1], info["c2w"])
        assert info["frame_index"] == 12 * k and info["time"] == 12 * k / 16 and info["state_bytes"] == size
        assert info["c2w"][2, 3] == pytest.approx(0.6 * k)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.lists(st.floats(-1, 1, width=32), min_size=6, max_size=6), min_size=1, max_size=3))
def test_delta_poses_are_those_of_the_camera_package(actions):
    env = make(sampler_steps=1)
    env.reset(seed=0)
    poses = np.concatenate([np.eye(4)[None]] + [env.step(action)[4]["frame_c2w"] for action in actions])
    limits = MODEL.config.max_translation * 12, MODEL.config.max_rotation * 12
    np.testing.assert_allclose(poses, rollout_actions(np.eye(4), actions, 12, *limits), atol=1e-9)


def test_per_frame_rows_add_up_to_a_straight_delta():
    whole, parts = make(), make(action_mode="per_frame")
    whole.reset(seed=0)
    parts.reset(seed=0)
    a, b = whole.step(FORWARD)[4], parts.step(np.tile(FORWARD, (12, 1)))[4]
    np.testing.assert_allclose(a["frame_c2w"], b["frame_c2w"], atol=1e-12)


def test_keys_glide_over_step_borders():
    env = make(action_mode="keys", chunk_frames=1)
    assert env.keys == ("w", "s", "a", "d", "j", "l", "i", "k") and make().keys == ()
    env.reset(seed=0)
    press = {"w": np.eye(8, dtype=np.int8)[0], "wd": np.eye(8, dtype=np.int8)[[0, 3]].sum(0), "": np.zeros(8, int)}
    poses = [np.eye(4)[None]] + [env.step(press[keys])[4]["frame_c2w"] for keys in ("w", "wd", "", "")]
    np.testing.assert_array_equal(np.concatenate(poses), rollout_keys("w-4,wd-4,none-8"))


def test_dict_observation():
    env = make(obs_mode="dict", chunk_frames=1)
    obs, info = env.reset(seed=0)
    assert obs in env.observation_space
    assert (obs["frames"] == info["frames"][0]).all() and obs["pose"].tolist() == [0, 0, 0, 1, 0, 0, 0]
    obs, *_, info = env.step([0, 0, 0, 0, 1, 0])
    assert obs in env.observation_space and np.array_equal(obs["frames"], info["frames"])
    half = MODEL.config.max_rotation * 4 / 2
    np.testing.assert_allclose(obs["pose"], [0, 0, 0, np.cos(half), 0, np.sin(half), 0], atol=1e-6)


def test_sampler_schedule():
    levels = MODEL.config.sigmas
    assert make().sigmas == make(sampler_steps=len(levels) - 1).sigmas == levels
    assert make(sampler_steps=1).sigmas == (levels[0], 0.0)
    assert len(make(sampler_steps=9).sigmas) == 10
    assert make(sigmas=(1.0, 0.5, 0.0)).sigmas == (1.0, 0.5, 0.0)


# -- first frames ---------------------------------------------------------------------------------------------


def test_pictures_of_any_kind_give_the_same_start(tmp_path):
    image = Image.fromarray(PICTURE)
    image.convert("RGBA").save(tmp_path / "alpha.png")
    starts = [
        make(image=source).reset(seed=0)[0]
        for source in (PICTURE, image, str(tmp_path / "alpha.png"), tmp_path / "alpha.png")
    ]
    assert all(np.array_equal(start, starts[0]) for start in starts) and starts[0].shape == (H, W, 3)
    image.convert("L").save(tmp_path / "grey.jpg")
    grey = make(image=tmp_path / "grey.jpg").reset(seed=0)[0]
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_camera_of_the_picture():
    def focal(env, **options):
        env.reset(seed=0, options=options)
        return env.snapshot().state.intrinsics[0, 0].item()

    # 200x90 is cropped to 112:64, so its height is what is scaled.
    scale = 64 / 90
    assert focal(make(image=PICTURE, intrinsics=[100, 100, 100, 45])) == pytest.approx(100 * scale, rel=1e-2)
    assert focal(make(image=PICTURE, intrinsics=[[100, 0, 100], [0, 100, 45], [0, 0, 1]])) > 60
    assert focal(make(image=PICTURE, fov_deg=90)) == pytest.approx(100 * scale, rel=1e-2)
    assert focal(make(fov_deg=90)) == pytest.approx(W / 2)
    assert focal(make(), image=PICTURE, intrinsics=[50, 50, 100, 45]) == pytest.approx(50 * scale, rel=1e-2)
    own = make(image=PICTURE, intrinsics=[100, 100, 100, 45])
    assert focal(own, image=np.tile(PICTURE, (2, 2, 1))) != pytest.approx(100 * scale, rel=1e-2)


def test_options_count_for_one_episode():
    env = make()
    own = env.reset(seed=3)[0]
    given = env.reset(seed=3, options={"image": PICTURE})[0]
    assert not np.array_equal(own, given)
    assert np.array_equal(env.reset(seed=3)[0], own)
    assert np.array_equal(env.reset(seed=3, options={"image": None})[0], own)


def test_a_prompt_is_refused_by_a_model_without_text():
    with pytest.raises(ValueError, match="was trained without text, a prompt would have no effect; leave the prompt"):
        make(prompt="a kitchen")
    make(prompt="").reset(seed=0)


# -- snapshot, restore, fork ----------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", VARIANTS, ids=str)
def test_restore_replays_the_future_bit_for_bit(arguments):
    env = make(**arguments)
    env.reset(seed=0)
    here = random_steps(env, 4)[-1]
    snapshot = env.snapshot()
    future = random_steps(env, 5, seed=1)
    random_steps(env, 6, seed=2)
    obs, info = env.restore(snapshot)
    assert same((obs, info), (here[0], here[4]))
    assert same(random_steps(env, 5, seed=1), future)


def test_a_snapshot_of_step_ten_survives_a_long_walk(tmp_path):
    env = make()
    env.reset(seed=0)
    random_steps(env, 10)
    snapshot = env.snapshot()
    snapshot.save(tmp_path / "ten.safetensors")
    future = random_steps(env, 10, seed=1)
    random_steps(env, 60, seed=2)
    env.restore(snapshot)
    assert same(random_steps(env, 10, seed=1), future)
    env.restore(tmp_path / "ten.safetensors")
    assert same(random_steps(env, 10, seed=1), future)


def test_restored_environment_matches_the_original_step_by_step():
    env, other = make(), make()
    env.reset(seed=0)
    random_steps(env, 3)
    options = {"state": env.snapshot()}
    for e in (env, other):
        e.spec = gym.spec("SanaWM-v0")
        e.reset = lambda *, seed=None, options=options, bound=e.reset: bound(seed=seed, options=options)  # type: ignore
    check_environments_match(env, other, num_steps=10, info_comparison="equivalence")


def test_snapshot_files_keep_keys_and_steps(tmp_path):
    env = make(action_mode="keys", max_episode_steps=6)
    env.reset(seed=0)
    random_steps(env, 4)
    snapshot = env.snapshot()
    snapshot.save(tmp_path / "s.safetensors")
    loaded = EnvSnapshot.load(tmp_path / "s.safetensors", MODEL.checkpoint)
    assert loaded.equal(snapshot) and loaded.elapsed_steps == 4 and snapshot.nbytes == snapshot.state.nbytes
    assert not loaded.equal(replace(snapshot, elapsed_steps=5))
    future = random_steps(env, 2, seed=1)
    fresh = make(action_mode="keys", max_episode_steps=6)
    fresh.restore(loaded)
    assert same(random_steps(fresh, 2, seed=1), future) and future[-1][3] is True


def test_snapshots_are_values():
    env = make(obs_mode="dict")
    obs, info = env.reset(seed=0)
    obs, *_, info = env.step(FORWARD)
    snapshot = env.snapshot()
    kept = copy.deepcopy(info["frames"])
    info["frames"][:] = 0
    obs["frames"][:] = 0
    env.step(FORWARD)
    assert np.array_equal(env.restore(snapshot)[1]["frames"], kept)
    with pytest.raises(ValueError, match="read-only"):
        snapshot.frames[0] = 0


def test_reset_to_a_state_begins_an_episode_there():
    env = gym.make("SanaWM-v0", checkpoint=MODEL, max_episode_steps=3)
    env.reset(seed=0)
    env.step(FORWARD)
    snapshot = env.unwrapped.snapshot()
    future = [env.step(FORWARD)[0] for _ in range(2)]
    for state in (snapshot, snapshot.state):
        _, info = env.reset(seed=99, options={"state": state})
        assert info["frame_index"] == 12
        out = [env.step(FORWARD) for _ in range(3)]
        assert np.array_equal(out[0][0], future[0]) and np.array_equal(out[1][0], future[1])
        assert [o[3] for o in out] == [False, False, True]


def test_a_bare_state_restores_too():
    env = make(chunk_frames=2)
    env.reset(seed=0)
    obs = random_steps(env, 3)[-1][0]
    state = env.snapshot().state
    other = make(chunk_frames=2)
    again, info = other.restore(state)
    assert np.array_equal(again, obs) and info["frame_index"] == 24 and other.snapshot().elapsed_steps == 3


def test_forks_share_the_past_and_nothing_else():
    env = make(render_mode="rgb_array_list")
    env.reset(seed=0)
    random_steps(env, 3)
    left, right, third = env.fork(3)
    assert left.model is env.model is right.model
    before = env.snapshot()
    a = random_steps(left, 3, seed=1)
    right.step(-FORWARD)
    assert env.snapshot() is before and third.snapshot() is before
    assert same(a, random_steps(third, 3, seed=1)) and same(a, random_steps(env, 3, seed=1))
    assert same(left.reset(), third.reset()) and left.np_random is not third.np_random
    with pytest.raises(ValueError, match="at least one"):
        env.fork(0)


def test_deepcopy_shares_the_model_and_pickle_does_not_carry_it(folder):
    env = SanaWMEnv(folder, device="cpu")
    env.reset(seed=0)
    random_steps(env, 2)
    data = pickle.dumps(env)
    weights = sum(p.nbytes for p in env.model.transformer.parameters())
    assert len(data) < weights
    twin, copied = pickle.loads(data), copy.deepcopy(env)
    assert copied.model is env.model and twin.model is not env.model
    expected = random_steps(env, 2, seed=1)
    assert same(random_steps(twin, 2, seed=1), expected) and same(random_steps(copied, 2, seed=1), expected)
    assert same(twin.reset(), env.reset())
    assert same(pickle.loads(pickle.dumps(make())).reset(seed=4), make().reset(seed=4))


# -- rendering ------------------------------------------------------------------------------------------------


def test_rgb_array_is_the_last_frame():
    env = make(render_mode="rgb_array")
    obs, _ = env.reset(seed=0)
    assert np.array_equal(env.render(), obs)
    obs, *_ = env.step(FORWARD)
    assert np.array_equal(env.render(), obs)
    assert env.render() is not env.render()
    assert env.metadata["render_fps"] == pytest.approx(16 / 12) and SanaWMEnv.metadata["render_fps"] == 16


def test_rgb_array_list_gives_every_frame_once():
    env = make(render_mode="rgb_array_list")
    assert env.metadata["render_fps"] == 16
    _, first = env.reset(seed=0)
    infos = [out[4] for out in random_steps(env, 2)]
    assert same(env.render(), [first["frames"][-1], *infos[0]["frames"], *infos[1]["frames"]])
    assert env.render() == []
    random_steps(env, 1)
    env.reset(seed=0)
    assert len(env.render()) == 1


def test_human_without_a_screen_says_how_to_mend_it(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    with pytest.raises(DependencyNotInstalled, match="rgb_array"):
        make(render_mode="human")
    assert "human" not in make().metadata["render_modes"] and "human" in SanaWMEnv.metadata["render_modes"]
    monkeypatch.setattr(viewer, "_unreachable", lambda: None)
    import cv2

    monkeypatch.setattr(cv2, "getBuildInformation", lambda: "  GUI:      NONE\n")
    with pytest.raises(DependencyNotInstalled, match="opencv-python-headless"):
        make(render_mode="human")


def test_human_shows_every_frame(monkeypatch):
    import cv2

    shown, closed = [], []
    monkeypatch.setattr(viewer, "window_problem", lambda: None)
    monkeypatch.setattr(viewer, "_refuses", lambda *displays: None)
    monkeypatch.setattr("sanawm_env.envs.env.window_problem", lambda: None)
    monkeypatch.setattr(cv2, "imshow", lambda title, frame: shown.append(frame))
    monkeypatch.setattr(cv2, "waitKey", lambda ms: -1)
    monkeypatch.setattr(cv2, "destroyWindow", closed.append)
    env = make(render_mode="human")
    assert "human" in env.metadata["render_modes"]
    obs, _ = env.reset(seed=0)
    assert np.array_equal(shown[-1][::4, ::4, ::-1], obs) and shown[-1].shape == (4 * H, 4 * W, 3)
    env.step(FORWARD)
    assert env.render() is None and len(shown) == 13
    env.fork(1)[0].step(FORWARD)
    assert len(shown) == 13  # one window is one world's
    env.close()
    env.close()
    assert len(closed) == 2


# -- bad input ------------------------------------------------------------------------------------------------

BAD_ACTIONS = {
    "NaN": np.array([0, 0, np.nan, 0, 0, 0], np.float32),
    "infinite": [0, 0, np.inf, 0, 0, 0],
    "clip it": [0, 0, 1.001, 0, 0, 0],
    "shape": np.zeros(5, np.float32),
    r"\(6,\)": np.zeros((1, 6), np.float32),
    "real numbers": np.zeros(6, bool),
    "complex": np.zeros(6, complex),
    "got 'forward'": "forward",
    "got None": None,
    "got ": [[0, 1], [2]],
}


@pytest.mark.parametrize("says", BAD_ACTIONS)
def test_bad_actions_change_nothing(says):
    env = make(max_episode_steps=2)
    env.reset(seed=0)
    before = env.snapshot()
    with pytest.raises(ValueError, match=says):
        env.step(BAD_ACTIONS[says])
    assert env.snapshot() is before
    assert env.step(FORWARD)[3] is False


def test_rounding_beyond_the_bounds_is_clipped():
    env = make()
    env.reset(seed=0)
    assert env.step(FORWARD.astype(np.float64) * (1 + 5e-7))[4]["c2w"][2, 3] == MODEL.config.max_translation * 12


@pytest.mark.parametrize("action", [np.zeros(7), np.full(8, 2), np.full(8, np.nan), "w", 3])
def test_bad_keys(action):
    env = make(action_mode="keys")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="w s a d j l i k"):
        env.step(action)
    env.step(np.zeros(8, np.int8))


BAD_IMAGES = {
    "scale it": PICTURE / 255.0,
    "grey channel": PICTURE[..., 0],
    "drop the alpha": np.zeros((64, 64, 4), np.uint8),
    "transpose": PICTURE.transpose(2, 0, 1),
    "too small": PICTURE[:8, :8],
    "got shape": np.zeros((0, 5, 3), np.uint8),
    "int64": PICTURE.astype(np.int64),
    "8 bits": Image.fromarray(np.zeros((64, 64), np.uint16)),
    "path": 3.5,
}


@pytest.mark.parametrize("says", BAD_IMAGES)
def test_bad_images(says):
    if says == "got shape":
        says = "too small|got shape"
        image = BAD_IMAGES["got shape"]
    else:
        image = BAD_IMAGES[says]
    with pytest.raises(ValueError, match=says):
        make(image=image)
    env = make()
    env.reset(seed=0)
    before = env.snapshot()
    with pytest.raises(ValueError, match=says):
        env.reset(seed=1, options={"image": image})
    assert env.snapshot() is before
    env.step(FORWARD)


def test_bad_image_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="check the path"):
        make(image=tmp_path / "none.png")
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(ValueError, match="PNG, JPEG"):
        make(image=tmp_path / "text.png")
    Image.fromarray(PICTURE).save(tmp_path / "cut.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "cut.png").read_bytes()[:2000])
    with pytest.raises(ValueError, match="cannot be read"):
        make(image=tmp_path / "cut.png")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"picture": PICTURE}, "unknown reset option 'picture'; allowed are image, prompt, intrinsics, state"),
        ({"state": 3}, "got int"),
        ({"intrinsics": [1, 1, 1, 1]}, "image"),
        ({"image": PICTURE, "intrinsics": [0, 1, 1, 1]}, "focal"),
        ({"image": PICTURE, "intrinsics": np.eye(2)}, "shape"),
        ({"prompt": 5}, "string"),
        ({"prompt": "a kitchen"}, "trained without text"),
        ("image", "dictionary"),
    ],
)
def test_bad_options_leave_the_episode(options, says):
    env = make()
    env.reset(seed=0)
    before, rng = env.snapshot(), copy.deepcopy(env.np_random.bit_generator.state)
    with pytest.raises(ValueError, match=says):
        env.reset(seed=1, options=options)
    assert env.snapshot() is before and env.np_random.bit_generator.state == rng
    env.step(FORWARD)


def test_foreign_states_are_refused(tmp_path):
    other = SanaWMEnv(WorldModel.untrained(seed=1))
    other.reset(seed=0)
    foreign = other.snapshot()
    foreign.save(tmp_path / "foreign.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((tmp_path / "foreign.safetensors").read_bytes()[:999])
    env = make()
    env.reset(seed=0)
    before = env.snapshot()
    wrong = [
        (foreign, "checkpoint"),
        (foreign.state, "checkpoint"),
        (tmp_path / "foreign.safetensors", "checkpoint"),
        (tmp_path / "cut.safetensors", "safetensors"),
        (before.state.fork(2), "slots"),
    ]
    for moment, says in wrong:
        for use in (env.restore, lambda m: env.reset(options={"state": m})):
            with pytest.raises(ValueError, match=says):
                use(moment)
    with pytest.raises(FileNotFoundError):
        env.restore(tmp_path / "none.safetensors")
    with pytest.raises(ValueError, match="leave out 'image'"):
        env.reset(options={"state": before, "image": PICTURE})
    with pytest.raises(ValueError, match="one slot"):
        EnvSnapshot(before.state.fork(2))
    assert env.snapshot() is before
    env.step(FORWARD)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"chunk_frames": 9}, "1..3"),
        ({"chunk_frames": 0}, "1..3"),
        ({"action_mode": "joystick"}, "'delta', 'per_frame', 'keys'"),
        ({"obs_mode": "latent"}, "'frame', 'dict'"),
        ({"render_mode": "ansi"}, "rgb_array"),
        ({"max_episode_steps": 0}, "at least 1"),
        ({"max_translation": -1}, "max_translation"),
        ({"max_rotation": 4.0}, "max_rotation"),
        ({"action_mode": "keys", "max_rotation": 0.1}, "key map"),
        ({"action_mode": "keys", "keymap": "qwerty"}, "nvlabs"),
        ({"sampler_steps": 0}, "at least 1"),
        ({"sampler_steps": 2, "sigmas": (1.0, 0.0)}, "not both"),
        ({"sigmas": (0.5, 1.0, 0.0)}, "descend"),
        ({"intrinsics": [1, 1, 1, 1]}, "image"),
        ({"image": PICTURE, "intrinsics": [-1, 1, 1, 1]}, "focal"),
        ({"image": PICTURE, "fov_deg": 200}, "180"),
        ({"image": PICTURE, "fov_deg": 60, "intrinsics": [50, 50, 9, 9]}, "not both"),
        ({"fov_deg": -5}, "180"),
        ({"device": "cpu"}, "WorldModel"),
    ],
)
def test_bad_arguments(arguments, says):
    with pytest.raises(ValueError, match=says):
        make(**arguments)


def test_bad_checkpoints_devices_and_types(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        SanaWMEnv(tmp_path)
    with pytest.raises(ValueError, match="unknown device"):
        SanaWMEnv(folder, device="tpu9")
    with pytest.raises(ValueError, match="floating"):
        SanaWMEnv(folder, dtype="int8")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="not available"):
            SanaWMEnv(folder, device="cuda")
    assert SanaWMEnv(folder, device="cpu", dtype="bfloat16").model.dtype == torch.bfloat16


@pytest.mark.parametrize("call", ["snapshot", "render", "step"])
def test_reset_comes_first(call):
    env = make(render_mode="rgb_array")
    with pytest.raises(ResetNeeded, match=f"reset.*{call}"):
        getattr(env, call)(*[FORWARD] * (call == "step"))
    env.reset(seed=0)
    getattr(env, call)(*[FORWARD] * (call == "step"))


def test_keymap_objects_with_other_speeds():
    slow = replace(get_keymap("nvlabs"), translation_speed=0.001)
    env = make(action_mode="keys", keymap=slow)
    env.reset(seed=0)
    assert env.step(np.eye(8, dtype=np.int8)[0])[4]["c2w"][2, 3] == pytest.approx(0.012, rel=1e-3)
