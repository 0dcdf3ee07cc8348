"""Random operations on `SanaWMVectorEnv` against two oracles, with no divergence of a single bit.

One oracle is a `SanaWMEnv` per slot that lives alongside. The other knows no snapshots at all: at the end of each run
every slot's history (its seed, the resets that used its random numbers, the actions) is replayed in a new
environment. `SANAWM_STATEFUL_OPERATIONS` sets how many operations there are; CI's judges ask for 10,000.
"""

import os
from dataclasses import dataclass, replace
from itertools import count

import gymnasium as gym
import hypothesis
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sanawm_env.bridges.infos import info_of_slot

from sanawm_env import Depth, SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.world.config import small_config
from tests.world.refined_worlds import refined

OPERATIONS = int(os.environ.get("SANAWM_STATEFUL_OPERATIONS", "200"))
LIMIT = 4  # steps of an episode, so that many end


def smallest_world(rule, chunk=1):
    """One block of each kind of memory: recurrent, and a window of softmax attention."""
    config = small_config(height=16, width=16, sigmas=(1.0, 0.0), chunk_frames=chunk, max_chunk_frames=chunk)
    model = config.model.replace(
        depth=2, softmax_every_n=2, hidden_size=32, head_dim=16, in_channels=4, window_frames=2, first_chunk=rule
    )
    return WorldModel.untrained(config.replace(vae={"kind": "tiny", "channels": 4, "width": 4}, model=model))


def smallest_memory(rule, **kept):
    """The same with an anchor, and keyframes or reflections."""
    config = small_config(height=16, width=16, sigmas=(1.0, 0.0), chunk_frames=1, max_chunk_frames=1, anchored=True)
    model = config.model.replace(
        depth=2, softmax_every_n=2, hidden_size=32, head_dim=16, window_frames=2, first_chunk=rule, **kept
    )
    return WorldModel.untrained(config.replace(model=model, max_rotation=0.4))


RULES = ("alone", "plus_one")
MODELS = {
    "stage 1": {rule: smallest_world(rule) for rule in RULES},
    "keyframes": {rule: smallest_memory(rule, keyframes=2) for rule in RULES},
    "reflections": {rule: smallest_memory(rule, reflections=2) for rule in RULES},
    # Blocks of 3 latent frames, and a history of 5 that is full in the middle of the second.
    "refined": {rule: refined(smallest_world(rule, 3), kv_max_frames=6) for rule in RULES},
}
PICTURE, OTHER = np.random.default_rng(0).integers(0, 256, (2, 16, 24, 3), dtype=np.uint8)
PICTURES = {"other": {"image": OTHER}, "camera": {"image": OTHER, "intrinsics": [20, 20, 12, 8]}}


@dataclass(frozen=True)
class Start:
    """A reset that drew random numbers, or began from a state and drew none or few."""

    seed: int | None
    options: str | None
    """Name of the picture."""
    past: "History | None" = None
    """Of the state that the reset began from."""


@dataclass(frozen=True)
class History:
    """All that made a moment: the resets before it, beginning with a seeded one, and the actions since the last."""

    starts: tuple[Start, ...] = ()
    actions: tuple[tuple[float, ...], ...] = ()

    def replay(self, make):
        """The environment at that moment, from nothing."""
        env = make()
        for start in self.starts:
            options = dict(PICTURES.get(start.options, {}))
            if start.past is not None:
                options["state"] = start.past.replay(make).snapshot()
            env.reset(seed=start.seed, options=options)
        for action in self.actions:
            env.step(np.array(action, env.action_space.dtype))
        return env


def same(a, b):
    """Equal bits, so that NaN, which a laser scan may hold, equals itself."""
    if isinstance(a, dict) or isinstance(b, dict):
        return isinstance(a, dict) and isinstance(b, dict) and a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    a, b = np.asarray(a), np.asarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def observation_of(observations, slot):
    if isinstance(observations, dict):
        return {key: value[slot] for key, value in observations.items()}
    return observations[slot]


def python(info):
    """Numbers as Python's, as `info_of_slot` gives them."""
    if isinstance(info, dict):
        return {key: python(value) for key, value in info.items()}
    return info.item() if isinstance(info, np.generic) else info


def brightness_as_depth(image, intrinsics):
    """Something that depends on the picture, sometimes so near that bodies run into it."""
    return 0.2 + image.mean(-1) / 100


SENSORS = {"sensors": (Depth(source=brightness_as_depth), "scan")}
VARIANTS = [
    {},
    {"obs_mode": "dict", "action_mode": "keys"},
    {"action_mode": "per_frame"},
    {**SENSORS, "contact": "block", "action_mode": "keys"},
    {**SENSORS, "contact": "report", "obs_mode": "pose"},
]
if "SanaWM/PointNav-v0" in gym.registry:
    from sanawm_env.tasks import PointNav

    # Goals so near that episodes end by success, too.
    collides = PointNav(rewards={"progress": 1.0, "collision": 0.5})
    VARIANTS += [{**SENSORS, "contact": "block", "obs_mode": "dict", "task": collides}]
    VARIANTS += [{"task": PointNav(success_distance=1.5)}, {"task": PointNav(goal_env=True), "obs_mode": "pose"}]


class Machine(RuleBasedStateMachine):
    """Operations on slots; each one is compared with the oracle, and in between the whole state is."""

    operations = 0
    models = MODELS["stage 1"]
    kept = Bundle("kept")

    @initialize(
        model=st.sampled_from(RULES),
        variant=st.sampled_from(VARIANTS),
        mode=st.sampled_from(list(AutoresetMode)),
        slots=st.integers(2, 3),
        seed=st.integers(0, 99),
    )
    def begin(self, model, variant, mode, slots, seed):
        arguments = {"image": PICTURE, "fov_deg": 70, "max_episode_steps": LIMIT} | variant
        self.make = lambda: SanaWMEnv(self.models[model], **arguments)
        self.mode, self.n = mode, slots
        self.envs = SanaWMVectorEnv(slots, self.models[model], autoreset_mode=mode, **arguments)
        self.singles = [self.make() for _ in range(slots)]
        # Of the slot's random numbers, and of its present; a restored present brings another past.
        self.draws = [()] * slots
        self.pasts = [History()] * slots
        self.ended = np.zeros(slots, bool)
        self.reset(set(range(slots)), seed, None, False)

    def slots(self, chosen):
        """Those of the chosen numbers that exist, or all."""
        return sorted({slot for slot in chosen if slot < self.n}) or list(range(self.n))

    def actions(self, seed):
        self.envs.action_space.seed(seed)
        return self.envs.action_space.sample()

    def started(self, slot, start):
        """Write the reset down, and see it in the oracle."""
        options = dict(PICTURES.get(start.options, {}))
        if start.seed is not None:
            self.draws[slot] = ()
        self.draws[slot] += (start,)
        self.pasts[slot] = History(self.draws[slot])
        self.ended[slot] = False
        return self.singles[slot].reset(seed=start.seed, options=options)

    def check(self, out, expected):
        """Equal observations and infos: `expected` has those of the slots that were touched."""
        observations, infos = out
        for slot, (observation, info) in expected.items():
            assert same(observation_of(observations, slot), observation)
            assert same(info_of_slot(infos, slot, ["final_obs", "final_info"]), python(info))
        for slot in set(range(self.n)) - set(expected):
            assert info_of_slot(infos, slot) == {}

    # -- operations -------------------------------------------------------------------------------------------

    @rule(seed=st.integers(0, 9), anew=st.booleans())
    def step(self, seed, anew):
        type(self).operations += 1
        actions = self.actions(seed)
        if self.mode is AutoresetMode.DISABLED and self.ended.any():
            with pytest.raises(ResetNeeded):
                self.envs.step(actions)
            if anew:
                self.reset(set(np.flatnonzero(self.ended)), None, None, False)
            return
        observations, rewards, terminated, truncated, infos = self.envs.step(actions)
        expected = {}
        for slot, single in enumerate(self.singles):
            if self.ended[slot]:  # NEXT_STEP
                expected[slot] = self.started(slot, Start(None, None))
                assert rewards[slot] == 0 and not terminated[slot] and not truncated[slot]
                continue
            observation, reward, *ends, info = single.step(actions[slot])
            past = self.pasts[slot]
            self.pasts[slot] = replace(past, actions=(*past.actions, _frozen(actions[slot])))
            assert rewards[slot] == reward and [terminated[slot], truncated[slot]] == ends
            if any(ends) and self.mode is AutoresetMode.SAME_STEP:
                assert same(infos["final_obs"][slot], observation)
                assert same(info_of_slot(infos["final_info"], slot), python(info))
                expected[slot] = self.started(slot, Start(None, None))
            else:
                self.ended[slot] = any(ends)
                expected[slot] = observation, info
        self.check((observations, infos), expected)

    @rule(
        chosen=st.sets(st.integers(0, 2)),
        seed=st.none() | st.integers(0, 99),
        picture=st.none() | st.sampled_from(sorted(PICTURES)),
        own=st.booleans(),
    )
    def reset(self, chosen, seed, picture, own):
        """With options that all share, or a dictionary for each."""
        type(self).operations += 1
        slots = self.slots(chosen)
        options = dict(PICTURES.get(picture, {}))
        expected = {s: self.started(s, Start(None if seed is None else seed + s, picture)) for s in slots}
        if own:
            options = {"per_slot": [options if slot in slots else None for slot in range(self.n)]}
        mask = np.isin(np.arange(self.n), slots)
        self.check(self.envs.reset(seed=seed, options=options | {"reset_mask": mask}), expected)

    @rule(target=kept, slot=st.integers(0, 1))
    def snapshot(self, slot):
        type(self).operations += 1
        moment = self.envs.snapshot(slot)
        assert moment.equal(self.singles[slot].snapshot())
        return moment, self.pasts[slot]

    @rule(chosen=st.sets(st.integers(0, 2)), moment=kept)
    def restore(self, chosen, moment):
        type(self).operations += 1
        slots, (moment, past) = self.slots(chosen), moment
        expected = {}
        for slot in slots:
            expected[slot] = self.singles[slot].restore(moment)
            self.pasts[slot], self.ended[slot] = past, False
        self.check(self.envs.restore([moment] * len(slots), slots), expected)

    @rule(slot=st.integers(0, 1), moment=consumes(kept), seed=st.none() | st.integers(0, 99))
    def reset_to_state(self, slot, moment, seed):
        type(self).operations += 1
        moment, past = moment
        options = {"state": moment}
        if seed is not None:
            self.draws[slot] = ()
        self.draws[slot] += (Start(seed, None, past),)
        self.pasts[slot], self.ended[slot] = History(self.draws[slot]), False
        expected = {slot: self.singles[slot].reset(seed=seed, options=options)}
        own = [options if i == slot else None for i in range(self.n)]
        seeds = [seed if i == slot else None for i in range(self.n)]
        mask = np.arange(self.n) == slot
        self.check(self.envs.reset(seed=seeds, options={"reset_mask": mask, "per_slot": own}), expected)

    @rule(slot=st.integers(0, 1), copies=st.integers(1, 2), seed=st.integers(0, 9))
    def fork_and_leave(self, slot, copies, seed):
        """Copies go their own ways, as copies of the oracle do; that nobody else moves, the invariant sees."""
        type(self).operations += 1
        if self.ended[slot]:
            return
        wide, forks = self.envs.fork(copies, slots=slot), self.singles[slot].fork(copies)
        wide.action_space.seed(seed)
        actions = wide.action_space.sample()
        _, rewards, terminated, truncated, _ = wide.step(actions)
        for i, fork in enumerate(forks):
            _, *flags, _ = fork.step(actions[i])
            assert [rewards[i], terminated[i], truncated[i]] == flags
            if not any(flags[1:]):  # an ended one may have been reset
                assert wide.snapshot(i).equal(fork.snapshot())

    @rule()
    def fork_and_go_on(self):
        """The copies take over, with random numbers and ends."""
        type(self).operations += 1
        self.envs, self.singles = self.envs.fork(1), [single.fork(1)[0] for single in self.singles]

    @precondition(lambda self: not self.ended.any())
    @rule(slot=st.integers(0, 1), what=st.sampled_from(["action", "option", "mask", "moments", "seeds"]))
    def bad_input(self, slot, what):
        """Raises; that nothing has changed, the invariant sees."""
        type(self).operations += 1
        actions = self.actions(0).astype(float)
        actions[slot] = np.nan
        own = [None] * self.n
        own[slot] = {"image": "nowhere.png"}
        calls = {
            "action": lambda: self.envs.step(actions),
            "option": lambda: self.envs.reset(seed=1, options={"per_slot": own}),
            "mask": lambda: self.envs.reset(seed=1, options={"reset_mask": np.zeros(self.n, bool)}),
            "moments": lambda: self.envs.restore([self.envs.snapshot(slot)] * (self.n + 1)),
            "seeds": lambda: self.envs.reset(seed=[1] * (self.n + 1)),
        }
        with pytest.raises((ValueError, FileNotFoundError)):
            calls[what]()

    # -- what always holds --------------------------------------------------------------------------------

    @invariant()
    def every_slot_is_its_single_environment(self):
        if not hasattr(self, "envs"):
            return
        for moment, single, rng in zip(self.envs.snapshot(), self.singles, self.envs.np_random, strict=True):
            assert moment.equal(single.snapshot())
            assert rng.bit_generator.state == single.np_random.bit_generator.state

    def teardown(self):
        if not hasattr(self, "envs"):
            return
        for slot, past in enumerate(self.pasts):
            replayed, now = past.replay(self.make).snapshot(), self.envs.snapshot(slot)
            assert replayed.equal(now)
            assert np.array_equal(replayed.frames, now.frames) and np.array_equal(replayed.frame_c2w, now.frame_c2w)


def _frozen(action):
    """As nested tuples."""
    return tuple(_frozen(part) for part in action) if np.ndim(action) else action.item()


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "share"), [("stage 1", 1), ("keyframes", 5), ("reflections", 5), ("refined", 5)])
def test_no_operation_makes_slots_differ_from_the_oracles(kind, share):
    wanted = OPERATIONS // share

    class Counted(Machine):
        operations = 0
        models = MODELS[kind]

    checked = settings(
        deadline=None,
        database=None,
        max_examples=min(20, max(1, wanted // 25)),
        stateful_step_count=25,
        suppress_health_check=list(HealthCheck),
    )
    for seed in count():
        run_state_machine_as_test(hypothesis.seed(seed)(Counted), settings=checked)
        if Counted.operations >= wanted:
            break
    print(f"{Counted.operations} operations, no divergence")
