"""A collection on an untrained world: what an episode leaves, that it can be made again, and that it goes on."""

import json
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from sanawm_env.data.collection.plan import Plan
from sanawm_env.data.collection.run import collect
from sanawm_env.data.collection.store import Store
from sanawm_env.data.collection.worker import Worker
from sanawm_env.data.episode import VideoFile
from sanawm_env.data.recipe import EpisodeRecipe, frames_digest
from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.envs.wrappers.discrete import habitat_moves
from sanawm_env.tasks import TASKS
from sanawm_env.world.model import WorldModel

POLICIES = """
import numpy as np

class Moody:
    def __init__(self, seed=0, bad=-1, how="raise"):
        self.bad, self.how, self.rng = seed == bad, how, np.random.default_rng(seed)
    def begin(self, env, observation, info):
        self.env, self.steps = env, 0
        if self.bad and self.how == "begin":
            raise RuntimeError("no idea how to begin")
    def act(self, observation, info):
        self.steps += 1
        if self.bad and self.steps == 2:
            if self.how == "raise":
                raise RuntimeError("no idea")
            if self.how == "nan":
                return np.full(6, np.nan)
        return self.rng.uniform(-1, 1, 6)

class Peek(Moody):
    def act(self, observation, info):
        fork = self.env.fork(1)[0]
        self.ahead, *_ = fork.step(np.zeros(6))
        assert self.env.snapshot().elapsed_steps == self.steps
        return super().act(observation, info)

def short(episode):
    return "too long" if len(episode.actions) > 1 else True

def shown(episode):
    return episode.frames.shape == (len(episode.c2w), *episode.frames.shape[1:])
"""


@pytest.fixture(scope="module")
def world():
    return WorldModel.untrained()


@pytest.fixture(autouse=True)
def mine(tmp_path, monkeypatch):
    """A user's module; gives its name."""
    name = f"collected_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(POLICIES)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield name
    sys.modules.pop(name, None)


def planned(world, policy, **given):
    values = {
        "checkpoint": "untrained",
        "checkpoint_hash": world.checkpoint,
        "task": json.loads(json.dumps(TASKS["PointNav"]().to_dict())),
        "policy": policy,
        "env": {"chunk_frames": 1, "sampler_steps": 1, "max_episode_steps": 3},
        "episodes": 3,
        "codec": "rgb",
    }
    return Plan(**values | given)


def run(world, plan, root, *, slots=1, **options):
    """Collect; gives the items and the lines."""
    lines: list[str] = []
    with Store(root).opened() as store:
        worker = Worker(world, plan, store, slots)
        store.begin(plan)
        collect(plan, store, worker.play, say=lines.append, **options)
    return Store(root).done(), lines


def replayed(world, values, root):
    """Frames of a recipe, from a lone environment."""
    recipe = EpisodeRecipe.from_dict(values["recipe"])
    env = SanaWMEnv(world, **recipe.env)
    options = dict(recipe.options)
    if recipe.image is not None:
        options["image"] = root / recipe.image["file"]
    _, info = env.reset(seed=recipe.seed, options=options)
    frames = [info["frames"][-1:]]
    for action in recipe.actions:
        frames.append(env.step(action)[-1]["frames"])
    return frames


def bits(done):
    """What must not depend on how it was made."""
    return {
        number: (each["recipe"]["frames_sha256"], each["recipe"]["actions"], each["outcome"]["kept"])
        for number, each in done.items()
    }


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("batched", [False, True])
def test_an_episode_can_be_made_again_from_its_recipe(world, tmp_path, mine, slots, batched):
    root = tmp_path / "Daten mit Lücke"
    own = WorldModel.untrained()
    own.batched = batched
    done, _ = run(own, planned(world, f"{mine}:Moody"), root, slots=slots)
    assert sorted(done) == [0, 1, 2]
    for number, values in done.items():
        pieces = replayed(world, values, root)
        recipe = values["recipe"]
        video = np.concatenate(list(VideoFile(Store(root).video(number))))
        assert len(video) == recipe["frames"] == 1 + 3 * recipe["frames_per_step"]
        if batched and slots > 1:  # sums in another order: the video tells what was collected, the recipe nearly so
            assert np.abs(video.astype(int) - np.concatenate(pieces)).max() <= 8
            continue
        assert [frames_digest(piece) for piece in pieces] == recipe["digests"]
        np.testing.assert_array_equal(video, np.concatenate(pieces))
        with np.load(Store(root).arrays(number)) as arrays:
            assert arrays["c2w"].shape == (recipe["frames"], 4, 4)
            np.testing.assert_array_equal(arrays["actions"], np.array(recipe["actions"], np.float32))
            assert arrays["goal"].shape == (4, 3)
            assert arrays["rewards"].sum() == pytest.approx(values["outcome"]["reward"])


def test_the_number_of_slots_changes_nothing(world, tmp_path, mine):
    plan = planned(world, f"{mine}:Peek", episodes=5, ranges={"speed": (0.5, 1.0), "fov": (50.0, 80.0)})
    one, _ = run(world, plan, tmp_path / "one")
    three, _ = run(world, plan, tmp_path / "three", slots=3)
    assert bits(one) == bits(three)
    assert not any(each["outcome"]["failed"] for each in one.values())
    speeds = {each["recipe"]["env"]["max_translation"] for each in one.values()}
    assert len(speeds) == 5
    for values in one.values():
        assert [frames_digest(piece) for piece in replayed(world, values, tmp_path)] == values["recipe"]["digests"]


def test_a_rerun_plays_only_what_is_missing(world, tmp_path, mine):
    plan, root = planned(world, f"{mine}:Moody", episodes=4), tmp_path / "ds"
    first, _ = run(world, plan, root)
    store = Store(root)
    store.episode(2).unlink()
    before = {number: store.episode(number).stat().st_mtime_ns for number in (0, 1, 3)}
    again, lines = run(world, plan, root)
    assert bits(again) == bits(first)
    assert before == {number: store.episode(number).stat().st_mtime_ns for number in (0, 1, 3)}
    assert any("going on after 3" in line for line in lines)
    _, lines = run(world, plan, root)
    assert lines == [f"{root} is complete: 4 episodes. Ask for more --episodes or --hours to go on."]
    more, _ = run(world, replace(plan, episodes=5), root)
    assert sorted(more) == [0, 1, 2, 3, 4]
    assert store.plan is not None and store.plan.episodes == 5


def test_another_plan_is_refused(world, tmp_path, mine):
    plan, root = planned(world, f"{mine}:Moody", episodes=1), tmp_path / "ds"
    run(world, plan, root)
    for change, name in (
        ({"codec": "h264"}, "codec 'rgb' -> 'h264'"),
        ({"checkpoint_hash": "other"}, "checkpoint_hash"),
        ({"policy_settings": {"bad": 3}}, "policy_settings"),
    ):
        with pytest.raises(ValueError, match=name):
            run(world, replace(plan, **change), root)
    run(world, replace(plan, checkpoint="elsewhere/untrained"), root)  # the same world from another place


@pytest.mark.parametrize("how", ["raise", "nan", "begin"])
@pytest.mark.parametrize("batched", [False, True])
def test_a_policy_that_fails_is_recorded_and_the_others_go_on(world, tmp_path, mine, how, batched):
    own = WorldModel.untrained()
    own.batched = batched
    plan = planned(world, f"{mine}:Moody", policy_settings={"bad": 1, "how": how}, episodes=4)
    done, lines = run(own, plan, tmp_path / "ds", slots=3)
    assert [each["outcome"]["kept"] for each in done.values()] == [True, False, True, True]
    failed = done[1]
    assert {"raise": "no idea", "nan": "NaN", "begin": "how to begin"}[how] in failed["outcome"]["failed"]
    assert len(failed["recipe"]["actions"]) == (0 if how == "begin" else 1)
    assert not Store(tmp_path / "ds").video(1).exists()
    assert any("3 kept" in line and "1 failed" in line for line in lines)


def test_filters_say_why_and_the_video_goes(world, tmp_path, mine):
    plan = planned(world, f"{mine}:Moody", keep=("success", "length=0.1", f"{mine}:short", f"{mine}:shown"))
    done, lines = run(world, plan, tmp_path / "ds")
    for number, each in done.items():
        assert each["outcome"]["reasons"] == ["success: the task was not done", f"{mine}:short: too long"]
        assert each["recipe"]["frames_sha256"] and each["video"] is None
        assert not Store(tmp_path / "ds").video(number).exists()
    assert "  dropped by success: 3" in lines
    assert not (tmp_path / "ds" / "meta").exists()


def test_starts_that_are_alike_are_not_played_twice(world, tmp_path, mine):
    root = tmp_path / "ds"
    with Store(root).opened() as store:
        rng = np.random.default_rng(0)
        files = [store.add_image(rng.integers(0, 256, (64, 112, 3), dtype=np.uint8)) for _ in range(2)]
        plan = planned(world, f"{mine}:Moody", images=tuple((file, None) for file in files), keep=("distinct=4",))
        store.begin(replace(plan, episodes=4))
    done, _ = run(world, replace(plan, episodes=4), root)
    assert [each["outcome"]["kept"] for each in done.values()] == [True, True, False, False]
    assert done[3]["outcome"]["reasons"] == ["distinct: starts as item 1 does (0 of 64 bits differ)"]
    assert done[3]["recipe"]["actions"] == [] and done[3]["recipe"]["frames"] == 1
    assert done[3]["outcome"]["failed"] is None
    pieces = replayed(world, done[1], root)
    assert [frames_digest(piece) for piece in pieces] == done[1]["recipe"]["digests"]


@pytest.mark.parametrize("policy", ["random:uniform", "planner:shooting"])
def test_four_actions_go_on_record_as_pose_deltas(world, tmp_path, policy):
    settings = {"frame_budget": 24, "horizon": 2} if policy.startswith("planner") else {}
    plan = planned(world, policy, discrete=True, policy_settings=settings)
    done, _ = run(world, plan, tmp_path / "ds")
    env = SanaWMEnv(world, **done[0]["recipe"]["env"])
    table = {tuple(habitat_moves(env).action(action).tolist()) for action in range(4)}
    for values in done.values():
        assert values["outcome"]["failed"] is None and len(values["recipe"]["actions"]) == 3
        assert {tuple(np.float32(action).tolist()) for action in values["recipe"]["actions"]} <= table
        pieces = replayed(world, values, tmp_path / "ds")
        assert [frames_digest(piece) for piece in pieces] == values["recipe"]["digests"]
    assert bits(run(world, plan, tmp_path / "two", slots=2)[0]) == bits(done)


def test_an_action_that_is_none_of_the_four_ends_its_episode(world, tmp_path, mine):
    done, _ = run(world, planned(world, f"{mine}:Moody", discrete=True, episodes=1), tmp_path / "ds")
    assert "a navigation action is one of 0 STOP" in done[0]["outcome"]["failed"]
    with pytest.raises(ValueError, match="make it with action_mode='delta'"):
        keys = planned(world, f"{mine}:Moody", discrete=True, env={"action_mode": "keys"})
        Worker(world, keys, Store(tmp_path / "keys"), 1).check()


def test_hours_count_what_is_kept(world, tmp_path, mine):
    per_episode = 3 * SanaWMEnv(world, chunk_frames=1).step_seconds
    plan = planned(world, f"{mine}:Moody", episodes=None, hours=2.5 * per_episode / 3600, policy_settings={"bad": 1})
    done, _ = run(world, plan, tmp_path / "ds")
    kept = [each["outcome"]["kept"] for each in done.values()]
    # The item after the last one has begun while that was still being written down.
    assert kept[:4] == [True, False, True, True] and len(kept) <= 5


def test_a_quota_stops_and_a_higher_one_goes_on(world, tmp_path, mine):
    plan, root = planned(world, f"{mine}:Moody", episodes=5), tmp_path / "ds"
    done, lines = run(world, plan, root, quota=3000)
    assert 1 <= len(done) <= 2
    assert any("quota" in line for line in lines)
    done, _ = run(world, plan, root, quota=10**9)
    assert len(done) == 5


def test_an_interrupt_keeps_what_is_done_and_no_half_episode(world, tmp_path, mine):
    plan, root = planned(world, f"{mine}:Moody", episodes=4), tmp_path / "ds"
    with Store(root).opened() as store, pytest.raises(KeyboardInterrupt):
        worker = Worker(world, plan, store, 2)
        store.begin(plan)

        def stopped(items: Iterator) -> Iterator:
            for result in worker.play(items):
                yield result
                if result is not None:
                    raise KeyboardInterrupt

        collect(plan, store, stopped, say=lambda line: None)
    done = Store(root).done()
    assert 1 <= len(done) < 4
    left = [path for path in root.rglob("*") if path.name.startswith(".")]
    videos = sorted(path for path in root.rglob("*.mp4"))
    assert left == [] and len(videos) == len(done)
    assert (root / "meta" / "info.json").exists()
    whole, _ = run(world, plan, root)
    assert bits(whole) == bits(run(world, plan, tmp_path / "undisturbed")[0])


def test_an_older_recipe_is_refused_before_anything_is_played(world, tmp_path, mine):
    plan, root = planned(world, f"{mine}:Moody", episodes=1), tmp_path / "ds"
    run(world, plan, root)
    file = root / "sanawm" / "episodes" / "000000.json"
    values = json.loads(file.read_text())
    values["recipe"]["version"] = 1
    file.write_text(json.dumps(values))
    with pytest.raises(ValueError, match=r"000000\.json: the recipe is of version 1 .* install the version"):
        run(world, replace(plan, episodes=2), root)
    assert list(root.glob("sanawm/episodes/*.json")) == [file]


def test_what_goes_wrong_before_the_first_episode_leaves_no_folder(world, tmp_path, mine):
    plan, root = planned(world, f"{mine}:Moody", episodes=2), tmp_path / "ds"

    def unreachable(items: Iterator) -> Iterator:
        raise ValueError("no cluster there")
        yield

    def begin() -> None:
        with Store(root).opened() as store:
            store.begin(plan)
            collect(plan, store, unreachable, say=lambda line: None)

    with pytest.raises(ValueError, match="no cluster"):
        begin()
    assert not root.exists()
    run(world, replace(plan, episodes=1), root)
    with pytest.raises(ValueError, match="no cluster"):
        begin()
    assert len(Store(root).done()) == 1


def test_who_comes_second_touches_nothing(tmp_path, monkeypatch):
    """Also where both saw no folder in the beginning, and the first has no plan yet."""
    root = tmp_path / "ds"
    with Store(root).opened():
        (root / "sanawm" / ".half.12345678.json").touch()
        with monkeypatch.context() as patched:
            for name in ("exists", "is_dir"):
                real = getattr(type(root), name)
                patched.setattr(type(root), name, lambda path, real=real: path != root and real(path))
            with pytest.raises(ValueError, match="another process collects"), Store(root).opened():
                pass
        assert (root / "sanawm" / ".half.12345678.json").exists()


def test_a_plan_of_another_version_is_named(world, tmp_path, mine):
    plan, root = planned(world, f"{mine}:Moody", episodes=1), tmp_path / "ds"
    run(world, plan, root)
    file = root / "sanawm" / "collection.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"version": 0}))
    with pytest.raises(ValueError, match=r"collection\.json: .* no collection of version 1"):
        run(world, plan, root)


def test_plans_from_python_can_be_gone_on_with(world):
    """Tuples come back from a file as lists."""
    plan = planned(world, "random:smooth", env={"chunk_frames": 1, "something": (1, 2)})
    assert Plan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan
    with pytest.raises(ValueError, match="env of a collection must be plain values"):
        planned(world, "random:smooth", env={"dtype": torch.float32})


def test_a_full_disk_ends_it_and_breaks_nothing(world, tmp_path, mine, monkeypatch):
    plan, root = planned(world, f"{mine}:Moody", episodes=3), tmp_path / "ds"
    commit = Store.commit

    def full(self, number, *given):
        if number == 1:
            raise OSError(28, "No space left on device")
        return commit(self, number, *given)

    with monkeypatch.context() as patched, pytest.raises(ValueError, match=r"disk of .* is full after 1 episodes"):
        patched.setattr(Store, "commit", full)
        run(world, plan, root)
    assert [path for path in root.rglob("*") if path.name.startswith(".")] == []
    done, _ = run(world, plan, root)
    assert len(done) == 3 and all(each["outcome"]["kept"] for each in done.values())
