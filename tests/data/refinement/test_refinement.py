"""The second queue: what is kept and wanted is refined once, by one refiner, and a killed run goes on."""

import json
import os
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from sanawm_env.cli.main import main
from sanawm_env.data.collection.recorder import Done
from sanawm_env.data.collection.store import Store
from sanawm_env.data.episode import VideoFile
from sanawm_env.data.refinement.run import Queue, RefineJob, refining_beside
from sanawm_env.data.refinement.wanted import Refinement, check_only_if, record_file
from sanawm_env.data.storage.native import refined_file
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.offline.refiner import Refiner
from sanawm_env.world.offline.refiner_files import Rollout, find_refiner, weights_hash

pytest.importorskip("diffusers")
pytest.importorskip("transformers")

POLICY = """
import numpy as np

class Moody:
    def __init__(self, seed=0):
        self.seed = seed
    def begin(self, env, observation, info):
        pass
    def act(self, observation, info):
        if self.seed == 1:
            raise RuntimeError("no idea")
        return np.full(6, 0.1 * self.seed)

def even(episode):
    return episode.number % 2 == 0 and len(episode.frames) == len(episode.c2w)
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    from tests.world.offline.refiner_fixture import write_refiner

    return write_refiner(tmp_path_factory.mktemp("release"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A world whose frames suit the refiner."""
    folder = tmp_path_factory.mktemp("world")
    world = WorldModel.untrained(small_config(height=64, width=96))
    save_checkpoint(folder, world.config, world.transformer.state_dict(), world.vae.state_dict())
    return folder


@pytest.fixture
def collect(tmp_path, monkeypatch, release, checkpoint):
    """Runs the command, and gives its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    name = f"refined_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(POLICY)

    def run(*more, refiner=release, episodes=4, world=checkpoint):
        options = ["--policy", f"{name}:Moody", "--episodes", episodes, "--refine", refiner, "--out", "ds"]
        options += ["--checkpoint", world, "--device", "cpu", "--max-steps", 2, "--codec", "rgb"]
        options += ["--env", "chunk_frames=1", "sampler_steps=1", *more]
        try:
            main(["collect", *(str(word).replace("MINE", name) for word in options)])
        except SystemExit as end:
            return end.code
        return 0

    return run


def refined(root):
    return sorted(int(path.stem) for path in (root / "sanawm" / "refined").glob("*.json"))


def test_what_is_kept_is_refined_as_the_refiner_does(collect, tmp_path, release, capsys):
    root = tmp_path / "ds"
    assert collect() == 0
    assert "3 episodes refined" in capsys.readouterr().out
    assert refined(root) == [0, 2, 3]  # episode 1 failed
    store, files = Store(root), find_refiner(release)
    values = store.done()[2]
    record = json.loads(record_file(root, 2).read_text())
    assert record["refiner_hash"] == weights_hash(files) and record["prompt"] == ""
    assert record["source_frames_sha256"] == values["recipe"]["frames_sha256"]
    expected = Refiner(files, "cpu", torch.bfloat16).refine(Rollout(store.video(2), values["recipe"], None), "")
    frames = np.concatenate(list(VideoFile(refined_file(root, 2))))
    assert len(frames) == record["frames"] == values["recipe"]["frames"] - 1
    np.testing.assert_array_equal(frames, expected)

    # Nothing is done twice; a new episode is refined with the rest.
    before = {path: path.stat().st_mtime_ns for path in (root / "sanawm" / "refined").iterdir()}
    record_file(root, 3).unlink()  # a run that was killed before it was written
    assert collect(episodes=5) == 0
    assert refined(root) == [0, 2, 3, 4] and "2 episodes refined" in capsys.readouterr().out
    after = {path: path.stat().st_mtime_ns for path in before}
    assert {path.stem for path in before if after[path] != before[path]} == {"000003"}


def test_filters_choose_what_is_refined(collect, tmp_path):
    assert collect("--refine-if", "MINE:even", "--refine-if", "length=0.1") == 0
    assert refined(tmp_path / "ds") == [0, 2]
    assert collect("--refine-if", "length=100") == 0  # nothing more, and nothing less
    assert refined(tmp_path / "ds") == [0, 2]


def test_a_refiner_that_fails_leaves_the_dataset_whole(collect, tmp_path, capsys, monkeypatch):
    real = Refiner.refine

    def sometimes(self, rollout, *arguments):
        if rollout.video.stem.endswith("002"):
            raise ValueError("too dark")
        return real(self, rollout, *arguments)

    monkeypatch.setattr(Refiner, "refine", sometimes)
    assert collect() == 1
    assert "episode 2 is not refined: ValueError: too dark; the same line tries again" in capsys.readouterr().out
    assert refined(tmp_path / "ds") == [0, 3]
    monkeypatch.setattr(Refiner, "refine", real)
    assert collect() == 0
    assert refined(tmp_path / "ds") == [0, 2, 3]


def test_another_refiner_or_other_frames_are_not_done(collect, tmp_path, release):
    assert collect(episodes=1) == 0
    store, known = Store(tmp_path / "ds"), Refinement(weights_hash(find_refiner(release)))
    assert known.is_done(store, 0) and list(known.todo(store)) == []
    assert not replace(known, refiner_hash="f" * 16).is_done(store, 0)
    assert not replace(known, seed=7).is_done(store, 0)
    values = json.loads(store.episode(0).read_text())
    values["recipe"]["frames_sha256"] = "0" * 64
    store.episode(0).write_text(json.dumps(values))
    assert list(known.todo(store)) == [0]
    record_file(store.root, 0).write_text("[]")
    assert not known.is_done(store, 0) and not known.is_done(store, 5)


def test_the_hash_is_of_the_weights(release, tmp_path):
    files = find_refiner(release)
    copy = replace(files, connectors=tmp_path)
    for path in files.connectors.iterdir():
        os.link(path, tmp_path / path.name) if path.suffix != ".json" else (tmp_path / path.name).write_text("{}")
    assert weights_hash(copy) != weights_hash(files) == weights_hash(find_refiner(release))


def test_a_queue_gives_what_has_come_until_it_is_closed():
    queue = Queue()
    items = iter(queue)
    assert next(items) is None
    queue.add(3)
    queue.add(1)
    assert [next(items), next(items), next(items)] == [3, 1, None]
    queue.add(2)
    queue.close()
    assert list(items) == [2]


def job():
    return RefineJob(None, Refinement("f" * 16), "rgb")


def test_an_interrupted_collection_lets_its_refiners_go(tmp_path, monkeypatch):
    def refine(job, store, items, say, stop):
        assert stop.wait(60)
        return False

    monkeypatch.setattr("sanawm_env.data.refinement.run.refine", refine)
    with pytest.raises(KeyboardInterrupt), refining_beside(job(), Store(tmp_path), print) as beside:
        beside.begin()
        raise KeyboardInterrupt
    assert not beside.complete and not [each for each in threading.enumerate() if each.name == "sanawm-refine"]


def test_what_ended_the_refining_comes_out_after_the_collection(tmp_path, monkeypatch):
    def refine(job, store, items, say, stop):
        raise RuntimeError("no worker could be made")

    monkeypatch.setattr("sanawm_env.data.refinement.run.refine", refine)
    ended = []
    with pytest.raises(RuntimeError, match="no worker"), refining_beside(job(), Store(tmp_path), print) as beside:
        beside.begin()
        beside.end()
        ended.append("the collection")
    assert ended


def test_refiners_come_with_the_first_episode_and_find_what_was_left(tmp_path, monkeypatch):
    begun = threading.Event()

    def refine(job, store, items, say, stop):
        begun.set()
        seen.extend(item for item in items if item is not None)
        return True

    seen = []
    monkeypatch.setattr("sanawm_env.data.refinement.run.refine", refine)
    monkeypatch.setattr(Refinement, "todo", lambda self, store: iter([7]))
    monkeypatch.setattr(Refinement, "wants", lambda self, store, number: number != 1)
    done = [Done(number, True, (), False, 1, 0, 1.0, 1.0, 1) for number in range(3)]
    with refining_beside(job(), Store(tmp_path), print) as beside:
        play = beside.play(lambda items: (result for result in [None, *done]))(iter([]))
        assert next(play) is None and not begun.is_set()
        assert next(play) is done[0] and begun.wait(60)
        assert list(play) == done[1:]
    assert seen == [7, 0, 2] and beside.complete

    seen.clear()
    with refining_beside(job(), Store(tmp_path), print) as beside:
        pass  # all was played before
    assert seen == [7] and beside.complete


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--refine-if", "distinct=6"), "use --keep distinct=BITS"),
        (("--refine-if", "pretty"), "unknown filter 'pretty'"),
        (("--refine-workers", "2"), "belongs to --ray"),
        (("--refine-offload", "model"), "there is none in use"),
    ],
)
def test_options_that_cannot_be(collect, capsys, options, words):
    assert collect(*options, episodes=1) == 2
    assert words in capsys.readouterr().err


def test_frames_that_do_not_suit_the_refiner(collect, tmp_path, capsys):
    assert collect(world="untrained") == 2
    assert "frames are 64x112; the refiner takes sides that are multiples of 32" in capsys.readouterr().err
    assert not (tmp_path / "ds").exists()


def test_refining_options_without_a_refiner(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(
            [
                "collect",
                "--policy",
                "random:smooth",
                "--episodes",
                "1",
                "--out",
                str(tmp_path),
                "--refine-if",
                "success",
            ]
        )
    assert end.value.code == 2 and "belong to --refine" in capsys.readouterr().err
    with pytest.raises(ValueError, match="use --keep"):
        check_only_if(("distinct=3",))


def test_a_folder_that_is_no_refiner_is_told_before_anything_is_written(collect, tmp_path, capsys):
    assert collect(refiner=tmp_path) == 2
    assert "is no whole refiner" in capsys.readouterr().err and not (tmp_path / "ds").exists()
