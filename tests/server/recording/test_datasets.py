"""Walks become episodes that everything reads that reads those of `sanawm collect`."""

import hashlib
import io

import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from PIL import Image

from sanawm_env.data.formats import detect, get_format
from sanawm_env.data.replay import compare, read_source, rerender
from sanawm_env.data.storage.native import item_files
from sanawm_env.server.client.connection import Connection, RemoteError
from sanawm_env.server.sessions.pasts import LONGEST, Beginning, Past
from tests.server.serving import serving

FAST = {"chunk_frames": 1, "sampler_steps": 1}
AHEAD, BACK, SIDE = [0, 0, 1, 0, 0, 0], [0, 0, -0.25, 0, 0, 0], [0.75, 0, 0, 0, 0.125, 0]


class Walk:
    """A session over the WebSocket, and what it saw."""

    def __init__(self, url, settings, **reset):
        self.connection = Connection(url)
        self.id = self.connection.ask({"type": "create", "settings": FAST | settings})["session"]
        self.connection.attach(self.id, "raw", False)
        if reset:
            self.ask("reset", **reset)

    def ask(self, kind, payload=b"", **values):
        return self.connection.ask({"type": kind, "session": self.id, **values}, payload)

    def go(self, *actions):
        return [self.ask("step", action=action) for action in actions]

    def refused(self, kind, **values):
        with pytest.raises(RemoteError) as told:
            self.ask(kind, **values)
        return str(told.value)


@pytest.fixture(scope="module")
def running(model, tmp_path_factory):
    with serving(model, tmp_path_factory.mktemp("recording"), recording=True) as found:
        yield found


@pytest.fixture
def walk(running):
    made = []

    def one(*, task=None, **given):
        reset = {name: given.pop(name) for name in ("seed", "options") if name in given}
        made.append(Walk(running.url, given | ({"task": task} if task else {}), **reset))
        return made[-1]

    yield one
    for each in made:
        each.connection.close()


def folder_of(running, answer):
    return running.host.folder / answer["dataset"]


def replayed(running, answer, model):
    """The recipe of an episode, which must give the same frames again."""
    root = folder_of(running, answer)
    source = read_source(root / "sanawm" / "episodes" / f"{answer['episode']:06d}.json")
    recipe = source.recipe
    again = compare(rerender(recipe, root, model), recipe.digests, recipe.frames_sha256)
    assert again.difference is None and again.frames == answer["frames"] == recipe.frames
    return recipe


def test_the_way_to_here(running, walk, model, tmp_path):
    """What was left behind by going back does not belong to the episode."""
    one = walk(task="PointNav", seed=3)
    one.go(AHEAD, AHEAD)
    fork = one.ask("snapshot", name="fork")["snapshot"]
    one.go(BACK, BACK)
    one.ask("restore", snapshot=fork)
    (seen,) = one.go(SIDE)
    answer = one.ask("record")
    assert (answer["dataset"], answer["episode"], answer["exact"]) == ("recordings/pointnav", 0, True)
    recipe = replayed(running, answer, model)
    assert recipe.actions == np.array([AHEAD, AHEAD, SIDE], np.float32).tolist()
    assert recipe.digests[-1] == hashlib_of(seen["info"]["frames"])

    earlier = one.ask("record", snapshot=fork)  # a second one, in the same dataset
    assert (earlier["dataset"], earlier["episode"], earlier["frames"]) == ("recordings/pointnav", 1, 9)
    root = folder_of(running, answer)
    assert len(item_files(root)) == 2
    assert detect(root).load().check(root) == []
    first, second = get_format("lerobot").load().read(root)
    np.testing.assert_array_equal(first.actions[:2], second.actions)
    assert "goal" in first.entries and first.text == "PointNav"
    get_format("lerobot").load().write(tmp_path / "out", [first, second])
    assert detect(tmp_path / "out").load().check(tmp_path / "out") == []


def hashlib_of(frames):
    from sanawm_env.data.recipe import frames_digest

    return frames_digest(frames)


def test_a_picture_of_ones_own(running, walk, model):
    one = walk()
    pixels = np.random.default_rng(1).integers(0, 255, (64, 96, 3)).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    image = one.connection.ask({"type": "image"}, file.getvalue())["image"]
    one.ask("reset", seed=5, options={"image": image, "intrinsics": [80.0, 80.0, 48.0, 32.0]})
    one.go(AHEAD)
    recipe = replayed(running, one.ask("record"), model)
    stored = folder_of(running, {"dataset": "recordings/walks"}) / recipe.image["file"]
    assert hashlib.sha256(stored.read_bytes()).hexdigest() == recipe.image["sha256"]
    assert np.array_equal(np.asarray(Image.open(stored)), pixels)
    settled = walk(image=image, intrinsics=[80.0, 80.0, 48.0, 32.0], seed=5)  # the same by settings
    settled.go(AHEAD)
    assert replayed(running, settled.ask("record"), model).frames_sha256 == recipe.frames_sha256


def test_a_goal_that_was_given(running, walk, model):
    one = walk(task={"task_class": "PointNav", "success_distance": 0.4}, seed=2, options={"goal": [0.5, 0.0, 1.0]})
    one.go(AHEAD)
    recipe = replayed(running, one.ask("record"), model)
    assert recipe.start["goal"] == [0.5, 0.0, 1.0] and recipe.env["task"]["success_distance"] == 0.4


def test_other_actions_make_another_dataset(running, walk, model):
    one = walk(seed=1)
    one.go(AHEAD)
    first = one.ask("record")["dataset"]
    keys = walk(seed=1, action_mode="keys")
    keys.go([1] + [0] * (len(keys.ask("describe")["keys"]) - 1))
    answer = keys.ask("record")
    assert answer["dataset"] == first + "-2"
    replayed(running, answer, model)
    again = walk(seed=1)
    again.go(AHEAD)
    assert again.ask("record")["dataset"] == first


def test_an_episode_ends_with_its_task(running, walk, model):
    one = walk(seed=1, max_episode_steps=2)
    assert one.go(AHEAD, AHEAD, AHEAD)[1]["truncated"]
    assert replayed(running, answer := one.ask("record"), model).actions == [AHEAD, AHEAD]
    assert answer["frames"] == 9


def test_a_past_outlives_the_memory(running, walk, model):
    """A session that was let go, and forks and links, know how they came about."""
    one, host = walk(seed=4), running.host
    one.go(AHEAD)
    there = one.ask("snapshot")["snapshot"]
    one.go(SIDE)
    host.call(lambda: host.store._let_go([host.session(one.id)])).result()
    assert host.call(lambda: host.store._known[one.id]).result() is None
    assert one.ask("describe")["recordable"]
    assert replayed(running, one.ask("record"), model).actions == np.array([AHEAD, SIDE], np.float32).tolist()
    twin = Walk(running.url, {})
    twin.id = one.ask("fork", snapshot=there)["sessions"][0]
    twin.connection.attach(twin.id, "raw", False)
    twin.go(BACK)
    assert replayed(running, twin.ask("record"), model).actions == np.array([AHEAD, BACK], np.float32).tolist()
    linked = walk(seed=9)
    linked.ask("restore", snapshot=there, **{"from": one.id})
    assert replayed(running, linked.ask("record"), model).actions == [AHEAD]
    twin.connection.close()


def test_what_makes_no_episode(running, walk, model, tmp_path):
    one = walk(seed=1)
    assert "nobody has moved" in one.refused("record")
    one.go(AHEAD)
    assert "no such snapshot" in one.refused("record", snapshot="nothing")
    file = one.ask("save")["payload"]
    one.ask("configure", settings={"task": "Explore"})
    assert not one.ask("describe")["recordable"] and "is not known" in one.refused("record")
    other = walk()
    with pytest.raises(ResetNeeded):
        other.ask("record")
    other.ask("reset")  # without a seed
    other.go(AHEAD)
    assert "without a seed" in other.refused("record")
    other.ask("restore", snapshot=other.ask("open", file)["snapshot"])
    assert "a world file" in other.refused("record")
    with serving(model, tmp_path) as without:
        third = Walk(without.url, {}, seed=1)
        assert not third.connection.ask({"type": "world"})["recording"]
        assert "--data FOLDER" in third.refused("record")
        third.connection.close()


def test_a_disk_that_refuses(running, walk):
    one = walk(seed=1, task="FollowPath")
    one.go(AHEAD)
    root = running.host.folder / "recordings" / "followpath"
    root.parent.mkdir(exist_ok=True)
    root.write_text("a file")
    assert "is a file" in (said := one.refused("record")) and str(running.host.folder) not in said
    root.unlink()
    assert one.ask("record")["episode"] == 0


def test_a_past_is_bounded():
    past = Past(Beginning({}, 1, {}))
    for _ in range(LONGEST):
        past = past.then([0.0])
    assert len(past.actions) == LONGEST and past.then([0.0]) is None
