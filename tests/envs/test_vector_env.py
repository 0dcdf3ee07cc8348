"""`SanaWMVectorEnv`: every slot is a single environment, whatever its neighbours do."""

import copy
import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.wrappers.vector import RecordEpisodeStatistics
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from sanawm_env import EnvSnapshot, SanaWMEnv, WorldModel
from sanawm_env.envs.vector_env import SanaWMVectorEnv
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.config import small_config

CONFIG = small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1)
RULES = {
    rule: WorldModel.untrained(CONFIG.replace(model=CONFIG.model.replace(first_chunk=rule)))
    for rule in ("alone", "plus_one")
}
MODEL = RULES["alone"]
F, H, W = 4, CONFIG.height, CONFIG.width
FORWARD = np.array([0, 0, 1, 0, 0, 0], np.float32)
PICTURE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
MODES = list(AutoresetMode)


def make(n=3, model=MODEL, **arguments):
    return SanaWMVectorEnv(n, model, **arguments)


def same(a, b):
    return data_equivalence(a, b, exact=True)


def mask(*slots, n=3):
    return np.isin(np.arange(n), slots)


def actions_of(envs, seed):
    envs.action_space.seed(seed)
    return envs.action_space.sample()


def observation_of(observations, slot):
    if isinstance(observations, dict):
        return {key: value[slot] for key, value in observations.items()}
    return observations[slot]


def info_of(infos, slot):
    """One slot's own info out of Gymnasium's format."""
    return {key: value[slot] for key, value in infos.items() if key[0] != "_" and infos[f"_{key}"][slot]}


def same_info(info, infos, slot):
    """Equal values; Gymnasium's arrays turn Python numbers into NumPy's."""
    theirs = info_of(infos, slot)
    return info.keys() == theirs.keys() and all(np.array_equal(info[key], theirs[key]) for key in info)


# -- the contract ---------------------------------------------------------------------------------------------


def test_make_vec_finds_it():
    for how in ({"vectorization_mode": "vector_entry_point"}, {}):
        envs = gym.make_vec("SanaWM-v0", num_envs=2, checkpoint=MODEL, obs_mode="dict", **how)
        assert type(envs) is SanaWMVectorEnv and envs.num_envs == 2 and "SanaWM-v0" in repr(envs)
        assert envs.model is MODEL and envs.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
        assert envs.max_episode_steps is None
    single = SanaWMEnv(MODEL, obs_mode="dict")
    assert envs.single_observation_space == single.observation_space
    assert envs.single_action_space == single.action_space and envs.action_space.shape == (2, 6)
    observations, _ = envs.reset(seed=0)
    assert observations in envs.observation_space
    observations, rewards, terminated, truncated, infos = envs.step(envs.action_space.sample())
    assert observations in envs.observation_space and infos["frames"].shape == (2, F, H, W, 3)
    assert rewards.dtype == float and terminated.dtype == truncated.dtype == bool
    assert rewards.shape == terminated.shape == truncated.shape == (2,)
    envs = gym.make_vec("SanaWM-v0", 2, checkpoint=MODEL, max_episode_steps=-1, autoreset_mode="SameStep")
    assert envs.max_episode_steps == -1 and envs.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP


def test_what_comes_out_is_the_callers():
    envs = make(2)
    observations, infos = envs.reset(seed=0)
    kept = copy.deepcopy((observations, infos))
    before = envs.snapshot()
    observations[:], infos["frames"][:], infos["c2w"][:] = 0, 0, 0
    assert all(a.equal(b) for a, b in zip(before, envs.snapshot(), strict=True))
    again = envs.restore(envs.snapshot())
    assert same(again, kept)


# -- a slot is a single environment ---------------------------------------------------------------------------

VARIANTS = [{}, {"obs_mode": "dict"}, {"action_mode": "keys"}, {"image": PICTURE, "fov_deg": 70}]
SLOTS = st.sets(st.integers(0, 2), min_size=1)
OPERATIONS = st.one_of(
    st.tuples(st.just("step"), st.integers(0, 99)),
    st.tuples(st.just("reset"), SLOTS, st.none() | st.integers(0, 99), st.booleans()),
    st.tuples(st.just("snapshot"), st.integers(0, 2)),
    st.tuples(st.just("restore"), SLOTS, st.integers(0, 99)),
)


@pytest.mark.parametrize("rule", RULES)
@settings(deadline=None, max_examples=8, derandomize=True, phases=(Phase.generate,))
@given(variant=st.sampled_from(VARIANTS[:3]), operations=st.lists(OPERATIONS, min_size=4, max_size=10))
def test_each_slot_equals_a_single_environment(rule, variant, operations):
    envs, singles = make(model=RULES[rule], **variant), [SanaWMEnv(RULES[rule], **variant) for _ in range(3)]
    outs = [single.reset(seed=5 + i) for i, single in enumerate(singles)]
    observations, infos = envs.reset(seed=5)
    kept = []
    for name, *rest in [("step", 0), *operations]:
        touched = set(range(3))
        if name == "step":
            actions = actions_of(envs, rest[0])
            results = [single.step(action) for single, action in zip(singles, actions, strict=True)]
            outs = [(out[0], out[4]) for out in results]
            observations, rewards, terminated, truncated, infos = envs.step(actions)
            assert not rewards.any() and not terminated.any() and not truncated.any()
        elif name == "reset":
            touched, seed, picture = rest
            options = {"image": PICTURE} if picture else {}
            for i in touched:
                outs[i] = singles[i].reset(seed=None if seed is None else seed + i, options=options)
            observations, infos = envs.reset(seed=seed, options=options | {"reset_mask": mask(*touched)})
        elif name == "snapshot":
            kept.append(envs.snapshot(rest[0]))
            assert kept[-1].equal(singles[rest[0]].snapshot())
            continue
        else:
            if not kept:
                continue
            touched, moment = rest[0], kept[rest[1] % len(kept)]
            for i in touched:
                outs[i] = singles[i].restore(moment)
            observations, infos = envs.restore([moment] * len(touched), slots=list(touched))
        for i, (observation, info) in enumerate(outs):
            assert same(observation_of(observations, i), observation)
            assert same_info(info, infos, i) if i in touched else not infos["_frames"][i]
    for i, single in enumerate(singles):
        assert envs.snapshot(i).equal(single.snapshot())
        assert envs.np_random[i].bit_generator.state == single.np_random.bit_generator.state


def test_neighbours_at_other_times_leave_a_slot_alone():
    """RLinf #1516: one slot's end restarted all."""
    envs, single = make(max_episode_steps=3), SanaWMEnv(MODEL)
    envs.reset(seed=0)
    envs.step(actions_of(envs, 9))
    envs.reset(seed=[7, None, None], options={"reset_mask": mask(0)})
    single.reset(seed=7)
    for k in range(3):
        actions = actions_of(envs, k)
        observations, _, _, truncated, infos = envs.step(actions)
        observation, _, _, _, info = single.step(actions[0])
        assert np.array_equal(observations[0], observation) and same_info(info, infos, 0)
        assert truncated.tolist() == [[False] * 3, [False, True, True], [True, False, False]][k]
        assert infos["frame_index"].tolist() == [[4, 8, 8], [8, 12, 12], [12, 0, 0]][k]


# -- autoreset, against Gymnasium's own vector environment ----------------------------------------------------


def reference(n, mode, steps, **arguments):
    def one():
        return gym.make("SanaWM-v0", checkpoint=MODEL, max_episode_steps=steps, **arguments)

    return SyncVectorEnv([one] * n, autoreset_mode=mode)


@pytest.mark.parametrize("arguments", [{}, {"obs_mode": "dict", "action_mode": "keys"}], ids=str)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_autoreset_is_gymnasiums(mode, arguments):
    """Also where slots end at different times, so that one shows a reset's info while others show a step's."""
    envs = make(autoreset_mode=mode, max_episode_steps=2, **arguments)
    theirs = reference(3, mode, 2, **arguments)
    assert same(envs.reset(seed=4), theirs.reset(seed=4))
    ends = set()
    for k in range(9):
        if k == 1:  # from here on the slots are at different times
            again = {"seed": 50, "options": {"reset_mask": mask(0)}}
            assert same(envs.reset(**again), theirs.reset(**again))
        actions = actions_of(envs, k)
        ours = envs.step(actions)
        assert same(ours, theirs.step(actions))
        ends.add(tuple(ours[3].tolist()))
        if mode is AutoresetMode.DISABLED and (ended := ours[3]).any():
            with pytest.raises(ResetNeeded, match=f"slot {np.flatnonzero(ended)[0]}.*reset_mask"):
                envs.step(actions)
            again = {"options": {"reset_mask": ended.copy()}}
            assert same(envs.reset(**again), theirs.reset(**again))
    assert ends >= {(False, True, True), (True, False, False)}


@pytest.mark.parametrize("mode", MODES[:2], ids=lambda mode: mode.name)
def test_made_by_id_it_is_gymnasiums_sync_environment(mode):
    arguments = {"checkpoint": MODEL, "max_episode_steps": 2}
    envs = gym.make_vec("SanaWM-v0", 2, "vector_entry_point", autoreset_mode=mode, **arguments)
    theirs = gym.make_vec("SanaWM-v0", 2, "sync", vector_kwargs={"autoreset_mode": mode}, **arguments)
    assert same(envs.reset(seed=1), theirs.reset(seed=1))
    for k in range(5):
        assert same(envs.step(actions_of(envs, k)), theirs.step(actions_of(envs, k)))


def test_autoreset_begins_from_the_arguments_not_the_options():
    envs = make(1, max_episode_steps=1, autoreset_mode="SameStep")
    single = SanaWMEnv(MODEL)
    envs.reset(seed=0, options={"image": PICTURE})
    single.reset(seed=0, options={"image": PICTURE})
    observations, _, _, truncated, infos = envs.step(FORWARD[None])
    last = single.step(FORWARD)
    assert truncated[0] and np.array_equal(infos["final_obs"][0], last[0])
    assert np.array_equal(infos["final_info"]["frames"][0], last[4]["frames"])
    assert np.array_equal(observations[0], single.reset()[0])


def test_the_action_of_a_slot_that_begins_anew_is_not_looked_at():
    envs = make(2, max_episode_steps=1)
    envs.reset(seed=0)
    envs.step(np.zeros((2, 6)))
    _, rewards, _, truncated, infos = envs.step(np.full((2, 6), np.nan))
    assert not rewards.any() and not truncated.any() and infos["frame_index"].tolist() == [0, 0]


def test_limits():
    slow = WorldModel.untrained(small_config(height=32, width=48, sigmas=(1.0, 0.0), chunk_frames=1, fps=0.1))
    envs = make(1, slow)  # a step of 40 s
    envs.reset(seed=0)
    assert [bool(envs.step(FORWARD[None])[3][0]) for _ in range(2)] == [False, True]
    envs = make(1, slow, max_episode_steps=-1)
    envs.reset(seed=0)
    assert [bool(envs.step(FORWARD[None])[3][0]) for _ in range(3)] == [False] * 3


def test_gymnasiums_wrappers_follow():
    envs = RecordEpisodeStatistics(make(autoreset_mode=AutoresetMode.SAME_STEP, max_episode_steps=3))
    envs.reset(seed=0)
    envs.step(np.zeros((3, 6)))
    envs.reset(options={"reset_mask": mask(1)})
    envs.step(np.zeros((3, 6)))
    infos = envs.step(np.zeros((3, 6)))[4]
    assert infos["episode"]["l"].tolist() == [3, 0, 3] and infos["_episode"].tolist() == [True, False, True]


# -- options of each slot -------------------------------------------------------------------------------------


def test_options_of_each_slot():
    one = SanaWMEnv(MODEL)
    one.reset(seed=1)
    one.step(FORWARD)
    options = [
        {"image": PICTURE, "intrinsics": [40, 40, 30, 20]},
        {"state": one.snapshot()},
        {"image": PICTURE[::-1].copy(), "prompt": ""},
        None,
    ]
    envs = make(4)
    observations, infos = envs.reset(seed=[3, 4, 5, 6], options={"image": PICTURE, "per_slot": options})
    options[3] = {"image": PICTURE}
    singles = [SanaWMEnv(MODEL) for _ in range(4)]
    for i, single in enumerate(singles):
        observation, info = single.reset(seed=3 + i, options=options[i])
        assert np.array_equal(observations[i], observation) and same_info(info, infos, i)
    observations, *_, infos = envs.step(np.tile(FORWARD, (4, 1)))
    for i, single in enumerate(singles):
        assert np.array_equal(observations[i], single.step(FORWARD)[0])
    assert infos["frame_index"].tolist() == [4, 8, 4, 4]


def test_seeds():
    envs = make(2)
    assert same(envs.reset(seed=3), envs.reset(seed=[3, 4])) and envs.np_random_seed == (3, 4)
    assert same(envs.reset(seed=np.int64(3)), envs.reset(seed=np.array([3, 4])))
    assert not np.array_equal(*envs.reset(seed=[3, 4])[0])
    first = envs.reset()
    assert not same(first, envs.reset())


# -- snapshot, restore, fork ----------------------------------------------------------------------------------


def test_all_slots_go_back_together():
    envs = make()
    envs.reset(seed=0)
    envs.step(actions_of(envs, 0))
    here = envs.snapshot()
    future = [envs.step(actions_of(envs, k)) for k in range(3)]
    envs.reset(seed=9)
    observations, infos = envs.restore(here)
    assert infos["frame_index"].tolist() == [4, 4, 4] and infos["frames"].shape == (3, F, H, W, 3)
    assert same([envs.step(actions_of(envs, k)) for k in range(3)], future)
    assert same(make().restore(envs.state), envs.restore(envs.state))  # a WorldState of three slots
    assert same(envs.restore(here[::-1], slots=[2, 1, 0]), (observations, infos))


def test_snapshots_pass_between_slots_files_and_single_environments(tmp_path):
    envs, single = make(2, action_mode="keys"), SanaWMEnv(MODEL, action_mode="keys")
    envs.reset(seed=0)
    single.reset(seed=1)
    for k in range(2):
        actions = actions_of(envs, k)
        envs.step(actions)
        single.step(actions[1])
    moment = envs.snapshot(1)
    assert isinstance(moment, EnvSnapshot) and moment.equal(single.snapshot()) and moment.elapsed_steps == 2
    moment.save(tmp_path / "one.safetensors")
    envs.restore(tmp_path / "one.safetensors", slots=0)
    envs.restore([single.snapshot()], slots=[1])
    actions = np.tile(actions_of(envs, 5)[:1], (2, 1))
    observations = envs.step(actions)[0]
    assert np.array_equal(observations[0], observations[1])
    assert np.array_equal(observations[0], single.step(actions[0])[0])


def test_a_snapshot_holds_one_slot_only():
    envs = make()
    envs.reset(seed=0)
    envs.step(actions_of(envs, 0))
    for moment in (*envs.snapshot(), envs.snapshot(0)):
        own = moment.state.nbytes
        assert own == envs.state.nbytes // 3 == moment.nbytes
        assert sum(v.untyped_storage().nbytes() for v in moment.state.flat().values()) == own
        assert moment.frames.base.nbytes == moment.frames.nbytes
        with pytest.raises(ValueError, match="read-only"):
            moment.frames[0] = 0
    assert [m.equal(n) for m, n in zip(envs.snapshot([2, 0]), envs.snapshot()[::-2], strict=True)] == [True, True]


def test_forks_share_the_past_and_nothing_else():
    envs = make(2, max_episode_steps=3)
    envs.reset(seed=0)
    envs.step(actions_of(envs, 0))
    before = envs.snapshot()
    wide, one = envs.fork(2), envs.fork(3, slots=1)
    assert wide.num_envs == 4 and one.num_envs == 3 and wide.model is envs.model
    assert wide.observation_space.shape == (4, H, W, 3) and wide.action_space.shape == (4, 6)
    action = actions_of(envs, 1)
    out = wide.step(np.repeat(action, 2, axis=0))
    for _ in range(2):
        one.step(actions_of(one, 2))
    assert all(m.equal(n) for m, n in zip(envs.snapshot(), before, strict=True))
    mine = envs.step(action)
    assert all(np.array_equal(out[0][2 * i + k], mine[0][i]) for i in range(2) for k in range(2))
    states = [rng.bit_generator.state for rng in envs.np_random]
    wide.reset()
    assert [rng.bit_generator.state for rng in envs.np_random] == states
    assert same(one.reset()[0][2], envs.reset()[0][1])
    made = gym.make_vec("SanaWM-v0", 2, checkpoint=MODEL)
    made.reset(seed=0)
    assert made.fork(2).spec.kwargs["num_envs"] == 4 and made.spec.kwargs["num_envs"] == 2


def test_copies_and_pickles_go_on_alike(tmp_path):
    save_checkpoint(tmp_path / "small", MODEL.config, MODEL.transformer.state_dict(), MODEL.vae.state_dict())
    envs = SanaWMVectorEnv(2, tmp_path / "small", device="cpu", max_episode_steps=2)
    assert copy.deepcopy(envs).model is envs.model  # before reset, too
    envs.reset(seed=0)
    envs.step(actions_of(envs, 0))
    data = pickle.dumps(envs)
    assert len(data) < sum(p.nbytes for p in MODEL.transformer.parameters())
    twins = [copy.deepcopy(envs), pickle.loads(data)]
    assert twins[0].model is envs.model is not twins[1].model
    future = [envs.step(actions_of(envs, k)) for k in range(3)]
    for twin in twins:
        assert same([twin.step(actions_of(twin, k)) for k in range(3)], future)


# -- the fast mode --------------------------------------------------------------------------------------------


def test_fast_slots_agree_up_to_rounding():
    exact, fast = make(exact=True), make(exact=False)
    assert exact.model is MODEL and fast.model.batched and not MODEL.batched
    assert fast.model.transformer is MODEL.transformer
    exact.reset(seed=0), fast.reset(seed=0)
    for k in range(3):
        if k == 1:
            for envs in (exact, fast):
                envs.reset(seed=7, options={"reset_mask": mask(1)})
        a, b = (envs.step(actions_of(exact, k))[0].astype(int) for envs in (exact, fast))
        assert abs(a - b).max() <= 2


# -- rendering ------------------------------------------------------------------------------------------------


def test_render_gives_the_last_frame_of_each_slot():
    envs = make(2, render_mode="rgb_array")
    observations, _ = envs.reset(seed=0)
    assert same(envs.render(), tuple(observations))
    observations = envs.step(np.zeros((2, 6)))[0]
    frames = envs.render()
    assert same(frames, tuple(observations)) and envs.metadata["render_fps"] == CONFIG.fps / F
    frames[0][:] = 0
    assert same(envs.render(), tuple(observations))


# -- bad input ------------------------------------------------------------------------------------------------

NAN = np.stack([FORWARD, np.array([0, np.nan, 0, 0, 0, 0], np.float32), FORWARD])
BAD_STEPS = {
    r"slot 1: .*NaN.*check the policy": NAN,
    r"slot 2: .*clip it": np.stack([FORWARD, FORWARD, 3 * FORWARD]),
    r"slot 0: .*shape \(6,\)": np.zeros((3, 5)),
    r"slot 1: .*shape \(6,\)": [FORWARD, FORWARD[:5], FORWARD],
    r"must be 3, one per slot, of shape \(3, 6\).*got 2 of them": np.zeros((2, 6)),
    r"got 6 of them": FORWARD,
    r"got NoneType": None,
    r"got float": 0.5,
}
BAD_RESETS = {
    r"list of 3, one per slot; got \[1, 2\]": {"seed": [1, 2]},
    r"got 'abc'": {"seed": "abc"},
    r"got 0.5": {"seed": 0.5},
    r"slot 2: a seed.*got -1": {"seed": [0, 1, -1]},
    r"slot 0: a seed": {"seed": -5},
    r"dictionary": {"options": [{}, {}, {}]},
    r"unknown reset option 'picture'; allowed are .*reset_mask, per_slot": {"options": {"picture": PICTURE}},
    r"list of 3 .*got 2": {"options": {"per_slot": [{}, {}]}},
    r"list of 3 .*got dict": {"options": {"per_slot": {}}},
    r"slot 1: unknown reset option 'foo'": {"options": {"per_slot": [None, {"foo": 1}, None]}},
    r"slot 1: .*dictionary": {"options": {"per_slot": [None, "image", None]}},
    r"slot 2: .*drop the alpha": {"options": {"per_slot": [None, None, {"image": np.zeros((40, 40, 4), np.uint8)}]}},
    r"slot 0: no image file": {"options": {"per_slot": [{"image": "none.png"}, None, None]}},
    r"slot 1: its episode is running.*None": {
        "options": {"reset_mask": mask(0, 2), "per_slot": [None, {"image": PICTURE}, None]}
    },
    r"grey channel": {"options": {"image": PICTURE[..., 0]}},
    r"focal": {"options": {"image": PICTURE, "intrinsics": [0, 1, 1, 1]}},
    r"leave out 'image'": {"options": {"image": PICTURE, "state": 3}},
    r"dtype bool; got list": {"options": {"reset_mask": [True, False, False]}},
    r"dtype bool; got array of int64": {"options": {"reset_mask": np.array([1, 0, 0])}},
    r"shape \(3,\)": {"options": {"reset_mask": np.array([True, False])}},
    r"set it to True": {"options": {"reset_mask": np.zeros(3, bool)}},
}


def unchanged(envs, call, says, kinds=(ValueError, TypeError, FileNotFoundError)):
    before, rngs = envs._now, [copy.deepcopy(rng.bit_generator.state) for rng in envs.np_random]
    with pytest.raises(kinds, match=says):
        call()
    assert envs._now is before and [rng.bit_generator.state for rng in envs.np_random] == rngs


@pytest.fixture(scope="module")
def running():
    envs = make(max_episode_steps=-1)
    envs.reset(seed=0)
    return envs


@pytest.mark.parametrize("says", BAD_STEPS)
def test_bad_actions_change_nothing(running, says):
    unchanged(running, lambda: running.step(BAD_STEPS[says]), says, ValueError)


@pytest.mark.parametrize("says", BAD_RESETS)
def test_bad_resets_change_nothing(running, says):
    given = {"seed": [9, 9, 9]} | BAD_RESETS[says]
    unchanged(running, lambda: running.reset(**given), says)


def test_bad_moments_change_nothing(running, tmp_path):
    other = SanaWMEnv(WorldModel.untrained(CONFIG, seed=1))
    other.reset(seed=0)
    good, foreign = running.snapshot(0), other.snapshot()
    cases = [
        (([good] * 2,), r"2 moment\(s\) cannot be restored into 3 slot\(s\).*\[moment\] \* 3"),
        ((good,), r"1 moment\(s\) cannot be restored into 3"),
        ((running.state, [0, 1]), r"3 moment\(s\) cannot be restored into 2"),
        (([good, good, foreign],), "slot 2: .*checkpoint"),
        (([good, 5], [2, 0]), "slot 0: .*got int"),
        ((tmp_path / "none.safetensors", 1), "slot 1: .*no such"),
        ((good, 3), r"0\.\.2"),
        (([good, good], [1, 1]), "different"),
        (([], []), "at least one"),
        ((good, "one"), "got 'one'"),
    ]
    for arguments, says in cases:
        unchanged(running, lambda a=arguments: running.restore(*a), says, (ValueError, FileNotFoundError))
    for call, says in ((lambda: running.snapshot(3), "0..2"), (lambda: running.fork(0), "at least one")):
        unchanged(running, call, says)
    running.step(np.zeros((3, 6)))


def test_reset_comes_first(running):
    envs = make(render_mode="rgb_array")
    for name, arguments in {
        "step": [np.zeros((3, 6))], "snapshot": [], "fork": [2], "render": [], "restore": [running.snapshot(0), 0],
    }.items():  # fmt: skip
        with pytest.raises(ResetNeeded, match="reset"):
            getattr(envs, name)(*arguments)
    with pytest.raises(ResetNeeded, match="without a mask"):
        envs.reset(options={"reset_mask": mask(0)})
    envs.restore(running.snapshot())
    envs.step(np.zeros((3, 6)))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"n": 0}, "num_envs"),
        ({"n": 1.5}, "num_envs"),
        ({"autoreset_mode": "Sometimes"}, "'NextStep', 'SameStep', 'Disabled'"),
        ({"render_mode": "human"}, "'rgb_array'"),
        ({"max_episode_steps": 0}, "at least 1"),
        ({"chunk_frames": 9}, "chunk_frames"),
        ({"device": "cpu"}, "WorldModel"),
    ],
)
def test_bad_arguments(arguments, says):
    with pytest.raises(ValueError, match=says):
        make(**arguments)
