"""`TaskRunner`: one path for one slot and many, info of one shape, states of other settings refused, light pickles."""

import copy
import pickle
from dataclasses import dataclass, field

import numpy as np
import pytest
from gymnasium import spaces

from sanawm_env import SanaWMEnv
from sanawm_env.camera.pose import action_to_delta, geodesic
from sanawm_env.tasks import (
    TASKS,
    Explore,
    FollowPath,
    ImageNav,
    LoopClosure,
    PointNav,
    ResetContext,
    Task,
    TaskContext,
    TaskRunner,
    TaskState,
    TaskView,
    get_task,
)

SIZE = (36, 56)


def runner(world, task, size=SIZE):
    return TaskRunner(get_task(task), TaskContext(world, (1.0, 0.0), 4, 0.5, 0.3, size))


def begin(runner, world, slots=1):
    images = np.random.default_rng(0).integers(0, 256, (slots, 64, 112, 3), dtype=np.uint8)
    intrinsics = np.tile([100.0, 100.0, 56.0, 32.0], (slots, 1))
    state, frames = world.start(images, intrinsics, list(range(slots)))
    resets = [
        ResetContext(state.select([i]), np.eye(4), frames[i, -1], np.random.default_rng(i), None) for i in range(slots)
    ]
    return [TaskView(s, at.c2w, at.frame) for s, at in zip(runner.begin(resets), resets, strict=True)]


def walks(rng, views):
    paths = [geodesic(view.c2w, action_to_delta(rng.uniform(-1, 1, 6), 0.5, 0.3), 4) for view in views]
    return np.stack(paths), rng.integers(0, 256, (len(views), 64, 112, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", TASKS)
def test_a_slot_has_the_same_bits_alone_and_beside_others(world, name):
    at_work, rng = runner(world, name), np.random.default_rng(3)
    views = alone = begin(at_work, world, 5)
    for _ in range(3):
        paths, frames = walks(rng, views)
        stops = [False, True, False, False, True]
        many = at_work.step_many(views, paths, frames, stops)
        ones = [at_work.step(*slot[:3], stop=slot[3]) for slot in zip(alone, paths, frames, stops, strict=True)]
        for one, other in zip(ones, many, strict=True):
            assert one.state.equal(other.state) and one.info == other.info
            assert (one.reward, one.terminated, one.truncated) == (other.reward, other.terminated, other.truncated)
        views, alone = (
            [TaskView(s.state, p[-1], f) for s, p, f in zip(steps, paths, frames, strict=True)]
            for steps in (many, ones)
        )
    assert at_work.step_many([], paths, frames, []) == []


@pytest.mark.parametrize("name", TASKS)
def test_measures_kept_from_the_last_step_are_those_measured_again(world, name):
    at_work, rng = runner(world, name), np.random.default_rng(4)
    (view,) = begin(at_work, world)
    paths, frames = walks(rng, [view])
    after = at_work.step(view, paths[0], frames[0], stop=False)
    view = TaskView(after.state, paths[0, -1], frames[0])
    bare = TaskView(TaskState(after.state.task, after.state.values, after.state.fingerprint), view.c2w, view.frame)
    assert view.state.measures is not None and bare.state.measures is None
    assert at_work.info(view) == at_work.info(bare)
    paths, frames = walks(rng, [view])
    kept, again = (at_work.step(v, paths[0], frames[0], stop=False) for v in (view, bare))
    assert kept.info == again.info and kept.reward == again.reward and kept.state.equal(again.state)


@pytest.mark.parametrize("name", TASKS)
def test_info_of_a_reset_has_the_keys_of_a_step(world, name):
    env = SanaWMEnv(world, task=name)
    _, before = env.reset(seed=0)
    after = env.step(np.zeros(6))[4]
    assert list(before) == list(after)
    assert list(before["reward_terms"]) == list(after["reward_terms"]) == list(env.unwrapped.task.rewards)
    assert set(before["reward_terms"].values()) == {0.0}
    assert {k: type(v) for k, v in before.items()} == {k: type(v) for k, v in after.items()}
    env.restore(env.snapshot())


@pytest.mark.parametrize("name", TASKS)
def test_pickles_leave_the_model_out(world, name):
    at_work = runner(world, name)
    data = pickle.dumps(at_work)
    assert len(data) < 100_000
    twin = pickle.loads(data)
    assert twin.context.model is None and twin.fingerprint == at_work.fingerprint
    with pytest.raises(RuntimeError, match="with_model"):
        twin.begin([])
    bound = twin.with_model(world)
    assert bound.context.model is world and bound.with_model(world) is bound
    assert begin(bound, world)[0].state.equal(begin(at_work, world)[0].state)
    for same in (copy.deepcopy(at_work), copy.copy(at_work)):
        assert same.context.model is world


# -- states of other settings --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Unnamed(Task):
    """A user's own task, without a name and without `state_shapes`."""

    rewards: dict = field(default_factory=lambda: {"slack": 1.0})
    size: int = 2

    def entries(self, context):
        return {"own": spaces.Box(-1, 1, (self.size,), np.float32)}

    def read_goal(self, goal, context):
        return goal

    def begin(self, resets, context):
        return [TaskState.of(self.name, own=np.zeros(self.size)) for _ in resets]

    def measure(self, state, c2w, frame):
        return {"z": float(c2w[2, 3])}

    def reached(self, state, measures):
        return False

    def observe(self, state, c2w):
        return {"own": state["own"].astype(np.float32)}


@dataclass(frozen=True)
class AlsoUnnamed(Unnamed):
    """Another one."""

    def observe(self, state, c2w):
        return {"own": state["other"].astype(np.float32)}


@pytest.mark.parametrize(
    ("made", "played", "words"),
    [
        (PointNav(), PointNav(success_distance=0.5), "success_distance 0.2 there and 0.5 here"),
        (PointNav(), PointNav(rewards={"progress": 2.0}), "rewards .* there and .* here"),
        (Explore(sectors=12), Explore(sectors=8), "observation visited .*sectors 12 there and 8 here"),
        (Explore(cell=1.0), Explore(cell=0.25), "cell 1 there and 0.25 here"),
        (FollowPath(), FollowPath(ahead=2), "ahead 4 there and 2 here"),
        (LoopClosure(), LoopClosure(min_psnr=9.0), "min_psnr 0 there and 9 here"),
        (Unnamed(), Unnamed(size=3), "size 2 there and 3 here"),
        (Unnamed(), AlsoUnnamed(), "begin an episode there"),
        (Unnamed(), PointNav(), "Unnamed, this environment plays PointNav"),
        (
            PointNav(rewards={"own": 1.0}, terms={"own": float}),
            PointNav(rewards={"own": 1.0}, terms={"own": len}),
            "terms",
        ),
    ],
)
def test_states_of_other_settings_are_refused_with_what_differs(world, made, played, words):
    state = begin(runner(world, made), world)[0].state
    with pytest.raises(ValueError, match=words):
        runner(world, played).check(state)


def test_a_goal_image_of_another_size_is_refused(world):
    small, large = runner(world, "ImageNav", (16, 24)), runner(world, "ImageNav", (32, 48))
    state = begin(small, world)[0].state
    for given in (state, TaskState(state.task, state.values)):
        with pytest.raises(ValueError, match=r"\(16, 24, 3\)"):
            large.check(given)
    assert runner(world, "PointNav", (16, 24)).fingerprint == runner(world, "PointNav", (32, 48)).fingerprint


@pytest.mark.parametrize("make", [*TASKS.values(), Unnamed])
def test_equal_settings_pass_and_so_do_states_of_before(world, make):
    state = begin(runner(world, make()), world)[0].state
    other = runner(world, make())
    assert other.check(state) is state
    assert other.check(TaskState(state.task, state.values)).fingerprint == other.fingerprint


@pytest.mark.parametrize(
    ("made", "played", "words"),
    [
        (Explore(), Explore(cell=0.25), "seen has the shape"),
        (Explore(), Explore(sectors=8), "seen has the shape"),
        (Unnamed(), Unnamed(size=3), r"own would be observed in the shape \(2,\)"),
    ],
)
def test_states_of_before_that_do_not_fit_are_refused(world, made, played, words):
    state = begin(runner(world, made), world)[0].state
    with pytest.raises(ValueError, match=words):
        runner(world, played).check(TaskState(state.task, state.values))


def test_broken_states_are_refused(world):
    at_work = runner(world, "PointNav")
    state = begin(at_work, world)[0].state
    values = {name: state[name] for name in state if name != "goal"}
    with pytest.raises(ValueError, match="goal is missing"):
        at_work.check(TaskState("PointNav", values))
    for text in ("[1", "3", "null"):
        with pytest.raises(ValueError, match="cannot be read"):
            at_work.check(TaskState("PointNav", state.values, text))
    with pytest.raises(ValueError, match="no task"):
        at_work.check(None)
    observing = AlsoUnnamed()
    name = runner(world, observing).name
    with pytest.raises(ValueError, match="KeyError"):
        runner(world, observing).check(TaskState(name, {**state.values}))


def test_restore_refuses_other_settings_and_the_episode_goes_on(world, tmp_path):
    made, played = SanaWMEnv(world, task=ImageNav(), obs_size=(16, 24)), SanaWMEnv(world, task=ImageNav())
    made.reset(seed=0), played.reset(seed=0)
    made.snapshot().save(tmp_path / "moment")
    before = played.snapshot()
    for moment in (made.snapshot(), tmp_path / "moment"):
        with pytest.raises(ValueError, match="other settings"):
            played.restore(moment)
    assert played.snapshot().equal(before)
    obs, _ = made.restore(tmp_path / "moment")
    assert obs in made.observation_space
