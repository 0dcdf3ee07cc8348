"""What does collecting cost beside stepping, and what does a minute of video take?

    OMP_NUM_THREADS=1 python benchmarks/collect_speed.py

Rounds take turns: `sanawm collect`'s worker plays episodes into a new folder, with its encoder, its filters and the
index at the end; then a bare `SanaWMEnv` steps the same episodes with the actions that were recorded.

The last line printed is one JSON object:

    collect_over_bare               frames per second of collecting over those of bare stepping, median of the rounds
    cpu_over_bare                   likewise per second of processor time, which the encoder's thread adds to: what is
                                    left on a machine without a free core; other programs disturb it less
    rounds[i].collect, .bare        frames per second
    rounds[i].stepping              of collecting without the index at the end, which a long run writes once
    codecs[name].mb_per_minute      of world time, video alone (1 MB = 1e6 bytes)
    codecs[name].psnr_db            against the frames, all values of all frames together; null is exact
    codecs[name].frames_per_s       of encoding alone, statistics included
    bytes_per_episode               of everything else: recipe, arrays, index
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[1]))  # as a script it finds only its own folder

from benchmarks import hardware
from benchmarks.core_speed import UNTRAINED


@dataclass(frozen=True)
class Args:
    """Time collecting against bare stepping."""

    checkpoint: str = "tiny"
    """Built-in name or folder; `untrained` is a small world of random weights, for tests."""
    task: str = "PointNav"
    """What is played."""
    policy: str = "random:smooth"
    """Who plays; one that costs little, for it is not what is measured."""
    rounds: int = 5
    """Of each."""
    episodes: int = 4
    """To a round."""
    steps: int = 20
    """To an episode."""
    slots: int = 1
    """Episodes at a time."""
    codec: str = "h264-444"
    """While collecting."""


def measure(args: Args) -> dict[str, Any]:
    """Everything that the JSON line holds."""
    import torch

    from sanawm_env.data.collection.plan import Plan
    from sanawm_env.envs.env import SanaWMEnv
    from sanawm_env.tasks import TASKS
    from sanawm_env.world.model import WorldModel

    untrained = args.checkpoint == UNTRAINED
    world = WorldModel.untrained() if untrained else WorldModel.load(args.checkpoint)
    env: dict[str, Any] = {"max_episode_steps": args.steps}
    plan = Plan(
        checkpoint=args.checkpoint,
        checkpoint_hash=world.checkpoint,
        task=json.loads(json.dumps(TASKS[args.task]().to_dict())),
        policy=args.policy,
        env=env,
        keep=("length=0.1", "drift=1000"),
        codec=args.codec,
        episodes=args.episodes,
    )
    bare = SanaWMEnv(world, task=args.task, **env)
    bare.reset(seed=1)
    bare.step(np.zeros(6))  # the first step is slower
    rounds, video, beside = [], np.zeros((0, 1, 1, 3), np.uint8), 0
    for _ in range(args.rounds):
        with tempfile.TemporaryDirectory() as folder:
            worked = time.process_time()
            done, stepping, whole, beside = _collect(world, plan, Path(folder) / "ds", args.slots)
            cpu = time.process_time() - worked
        frames = sum(each["recipe"]["frames"] for each in done.values())
        began, worked = time.perf_counter(), time.process_time()
        for values in done.values():
            video = _step(bare, values["recipe"])
        seconds, cpu_bare = time.perf_counter() - began, time.process_time() - worked
        rounds.append(
            {
                "collect": frames / whole,
                "stepping": frames / stepping,
                "bare": frames / seconds,
                "cpu_collect": frames / cpu,
                "cpu_bare": frames / cpu_bare,
            }
        )
        print(f"collect {rounds[-1]['collect']:.1f}, bare {rounds[-1]['bare']:.1f} frames/s", file=sys.stderr)
    return {
        "collect_over_bare": statistics.median(each["collect"] / each["bare"] for each in rounds),
        "cpu_over_bare": statistics.median(each["cpu_collect"] / each["cpu_bare"] for each in rounds),
        "stepping_over_bare": statistics.median(each["stepping"] / each["bare"] for each in rounds),
        "rounds": rounds,
        "codecs": {name: _codec(name, video) for name in ("h264-444", "rgb", "h264")},
        "bytes_per_episode": beside / args.episodes,
        "frame_size": list(video.shape[1:3]),
        "args": asdict(args),
        "hardware": hardware(torch.get_num_threads()),
    }


def _collect(world: Any, plan: Any, root: Path, slots: int) -> tuple[dict[int, Any], float, float, int]:
    """Items, seconds until all were on the disk, with the index, and bytes beside the videos."""
    from sanawm_env.data.collection.run import collect
    from sanawm_env.data.collection.store import Store
    from sanawm_env.data.collection.worker import Worker

    ended = 0.0
    with Store(root).opened() as store:
        worker = Worker(world, plan, store, slots)
        store.begin(plan)

        def play(items: Any) -> Any:
            nonlocal ended
            yield from worker.play(items)
            ended = time.perf_counter()

        began = time.perf_counter()
        collect(plan, store, play, say=lambda line: None)
        whole = time.perf_counter() - began
        videos = sum(path.stat().st_size for path in root.rglob("*.mp4"))
        return store.done(), ended - began, whole, store.size() - videos


def _step(env: Any, recipe: dict[str, Any]) -> NDArray[np.uint8]:
    """The episode by a bare environment; its frames."""
    _, info = env.reset(seed=recipe["seed"])
    frames = [info["frames"][-1:]]
    for action in recipe["actions"]:
        frames.append(env.step(np.array(action, np.float32))[-1]["frames"])
    return np.concatenate(frames)


def _codec(name: str, frames: NDArray[np.uint8]) -> dict[str, Any]:
    from sanawm_env.data.episode import VideoFile
    from sanawm_env.data.storage.encode import ClipWriter

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        began = time.perf_counter()
        with ClipWriter(path, 16.0, name) as clip:
            clip.write(frames)
        seconds, size = time.perf_counter() - began, path.stat().st_size
        back = np.concatenate(list(VideoFile(path)))
    error = float(np.square(back.astype(np.float64) - frames).mean())
    return {
        "mb_per_minute": size / 1e6 / (len(frames) / 16.0) * 60,
        "psnr_db": 10 * float(np.log10(255**2 / error)) if error > 0 else None,
        "frames_per_s": len(frames) / seconds,
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print one JSON line."""
    args = tyro.cli(Args, description=__doc__, args=argv)
    print(json.dumps(measure(args)))


if __name__ == "__main__":
    main()
