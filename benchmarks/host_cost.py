"""What the host pays for a step beside the networks: milliseconds per slot, Python calls and files.

    python benchmarks/host_cost.py

The transformer and the video autoencoder are replaced by null modules that return tensors of the right shapes, so
that what is left is the environment, the task and the bookkeeping of the world. The last line is JSON:

* `ms_per_slot`: median milliseconds per slot and step of `num_envs` slots in one forward, without a task.
* `ms_per_slot_task`: the same with PointNav.
* `..._small_frames`: both with frames of 32x48 pixels. The difference is work per pixel, from the decoder's floats to
  bytes and to observations, most of which a GPU does where there is one.
* `calls_per_step`, `files_per_step`: Python calls inside the package, and files that they are in, of one
  `env.step` without a task; `..._task` with PointNav.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sanawm_env  # before torch: docs/explanation/busy-machine.md

# isort: split
import numpy as np
import torch
import tyro

sys.path.append(str(Path(__file__).resolve().parents[1]))  # as a script it finds only its own folder

from benchmarks import hardware
from sanawm_env import SanaWMEnv, SanaWMVectorEnv, WorldModel

PACKAGE = Path(sanawm_env.__file__).parent


@dataclass
class Args:
    """What to measure."""

    num_envs: int = 16
    """Slots."""
    steps: int = 60
    """Steps of each of the repeats."""
    repeats: int = 5
    """The median of these counts."""
    checkpoint: str = "tiny"
    """Whose shapes."""
    verbose: bool = False
    """Also print the calls of each file."""


def null_world(checkpoint: str, batched: bool) -> WorldModel:
    """The world with networks that compute nothing: zero velocities, grey frames, memories of the right shapes."""
    world = WorldModel.load(checkpoint)
    world.batched = batched
    outputs: dict[tuple[int, ...], torch.Tensor] = {}

    def forward(x: torch.Tensor, timesteps: torch.Tensor, **given: Any) -> tuple[torch.Tensor, Any]:
        cache = given.get("cache")
        if not given.get("commit"):
            return x, None
        return x, dataclasses.replace(cache, frames=cache.frames + x.shape[2])

    def decode(latents: torch.Tensor, tails: Any, *views: Any) -> tuple[torch.Tensor, Any]:
        stride = world.vae.spatial_stride
        rows, columns = latents.shape[-2] * stride, latents.shape[-1] * stride
        shape = (len(latents), 3, latents.shape[2] * world.vae.temporal_stride, rows, columns)
        if shape not in outputs:
            outputs[shape] = latents.new_zeros(shape)
        return outputs[shape], tails

    world.transformer.forward = forward  # type: ignore[method-assign]
    world.vae.decode = decode
    return world


def milliseconds(args: Args, task: str | None) -> float:
    """Median milliseconds per slot and step of a vector environment."""
    world = null_world(args.checkpoint, True)
    envs = SanaWMVectorEnv(args.num_envs, world, task=task, chunk_frames=1, max_episode_steps=-1, obs_mode="frame")
    envs.reset(seed=0)
    actions = np.random.default_rng(0).uniform(-1, 1, (args.steps, args.num_envs, 6)).astype(np.float32)
    actions[..., 2] = -np.abs(actions[..., 2])  # away from every goal
    envs.step(actions[0])
    taken = []
    for _ in range(args.repeats):
        begin = time.perf_counter()
        for action in actions:
            envs.step(action)
        taken.append((time.perf_counter() - begin) / args.steps / args.num_envs * 1e3)
    return statistics.median(taken)


def calls(args: Args, task: str | None) -> tuple[int, int]:
    """Python calls within the package of one `env.step`, and the number of files that they are in."""
    env = SanaWMEnv(null_world(args.checkpoint, False), task=task, chunk_frames=1, sigmas=(1.0, 0.0))
    env.reset(seed=0)
    action = np.array([0.1, 0, -0.5, 0, 0.2, 0], np.float32)
    env.step(action)
    seen: list[str] = []

    def count(frame: Any, event: str, argument: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(str(PACKAGE)):
            seen.append(frame.f_code.co_filename)

    sys.setprofile(count)
    try:
        env.step(action)
    finally:
        sys.setprofile(None)
    if args.verbose:
        for name, times in Counter(seen).most_common():
            print(f"{times:5d}  {Path(name).relative_to(PACKAGE)}", file=sys.stderr)
    return len(seen), len(set(seen))


def main(args: Args) -> dict[str, Any]:
    """Measure, and print the line."""
    torch.set_num_threads(1)
    line: dict[str, Any] = {"ms_per_slot": milliseconds(args, None), "ms_per_slot_task": milliseconds(args, "PointNav")}
    small = dataclasses.replace(args, checkpoint="untrained")
    line["ms_per_slot_small_frames"] = milliseconds(small, None)
    line["ms_per_slot_task_small_frames"] = milliseconds(small, "PointNav")
    line["calls_per_step"], line["files_per_step"] = calls(args, None)
    line["calls_per_step_task"], line["files_per_step_task"] = calls(args, "PointNav")
    line |= {"num_envs": args.num_envs, "checkpoint": args.checkpoint, "hardware": hardware(torch.get_num_threads())}
    print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in line.items()}))
    return line


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
