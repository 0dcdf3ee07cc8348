"""How fast is the default environment, and does it stay as fast and as small?

    python benchmarks/core_speed.py

The last line printed is one JSON object:

    frames_per_s        frames generated per second of `env.step`, from the early window to the end of the late one
    time_ratio          mean step time of the late window (steps 490-510) over the early one (steps 10-30)
    time_ratio_median   likewise with medians, which other programs on the machine disturb less
    rss_ratio           the ratio of means of the process's resident memory
    state_bytes_start   size of the recurrent state after reset
    state_bytes_end     and after the last step
    make_reset_s        `gym.make` and the first `reset` of a fresh process, imports not included ...
    import_torch_s      ... which take this long for torch ...
    import_s            ... and this long for gymnasium, sanawm_env and what they need beyond torch
    snapshot_ms, restore_ms, fork8_ms   medians; fork8 makes eight environments
    state_fork8_ms      median of `WorldState.fork(8)`, one state with eight slots, all tensors copied
    replay_identical    whether all frames after a restore equal those of the first run, bit for bit
"""

from __future__ import annotations

import hashlib
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))  # as a script it finds only its own folder

from benchmarks import hardware, print_line

UNTRAINED = "untrained"
REPEATS = 15
"""Repetitions behind each median."""


@dataclass(frozen=True)
class Args:
    """Time the core: stepping, state size, snapshot, restore, fork and exact replay."""

    checkpoint: str = "small-reflect"
    """Built-in name or folder; `untrained` is a small world of random weights, for tests."""
    chunk_frames: int | None = None
    """Latent frames per step; the checkpoint's default if not given."""
    sampler_steps: int | None = None
    """Model calls per chunk; the checkpoint's schedule if not given."""
    steps: int = 1000
    """Random steps taken."""
    early: tuple[int, int] = (10, 30)
    """First and last step (not included) of the early window."""
    late: tuple[int, int] = (490, 510)
    """First and last step (not included) of the late window."""
    replay: bool = True
    """Restore a snapshot of an early step and play the rest again. `--no-replay` also ends the run after the
    late window."""
    replay_from: int = 10
    """Step after which the snapshot is taken."""
    replay_steps: int = 200
    """Steps played again at most."""
    seed: int = 0
    """Of the episode and of the random actions."""
    threads: int | None = None
    """Threads of torch; its own choice if not given."""

    def __post_init__(self) -> None:
        windows = (*self.early, *self.late)
        if not (0 <= windows[0] < windows[1] <= windows[2] < windows[3] <= self.steps):
            raise ValueError(f"need 0 <= early < late <= steps; got {self.early}, {self.late} and {self.steps}.")
        if self.replay and not (0 < self.replay_from < self.steps and self.replay_steps > 0):
            raise ValueError(f"replay_from must lie in 1..{self.steps - 1}, replay_steps above 0.")


def measure(args: Args) -> dict[str, Any]:
    """Run the benchmark; the first call of a process measures its imports, too."""
    clock = time.perf_counter()
    import torch

    torch_seconds, clock = _lap(clock)
    import gymnasium as gym
    import numpy as np

    import sanawm_env

    import_seconds, clock = _lap(clock)
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    checkpoint: Any = args.checkpoint
    if checkpoint == UNTRAINED:
        checkpoint = sanawm_env.WorldModel.untrained()
    clock = time.perf_counter()
    env: Any = gym.make(
        "SanaWM-v0",
        checkpoint=checkpoint,
        chunk_frames=args.chunk_frames,
        sampler_steps=args.sampler_steps,
        episode_seconds=None,
    )
    _, info = env.reset(seed=args.seed)
    make_reset, _ = _lap(clock)
    bytes_start = info["state_bytes"]

    rng = np.random.default_rng(args.seed)
    steps = args.steps if args.replay else args.late[1]
    actions = rng.uniform(-1, 1, (steps, 6)).astype(np.float32)
    seconds, memory, prints = [], [], []
    moment = None
    for i in tqdm(range(steps), unit="step", file=sys.stderr):
        clock = time.perf_counter()
        _, _, _, _, info = env.step(actions[i])
        seconds.append(_lap(clock)[0])
        memory.append(resident_bytes())
        if args.replay and i < args.replay_from + args.replay_steps:
            prints.append(_fingerprint(info["frames"]))
        if args.replay and i + 1 == args.replay_from:
            moment = env.unwrapped.snapshot()
    bytes_end = info["state_bytes"]

    world = env.unwrapped
    here = world.snapshot()
    result: dict[str, Any] = {
        "frames_per_s": round(
            world.frames_per_step * (args.late[1] - args.early[0]) / sum(seconds[args.early[0] : args.late[1]]),
            2,
        ),
        "time_ratio": round(_ratio(seconds, args), 4),
        "time_ratio_median": round(_ratio(seconds, args, statistics.median), 4),
        "rss_ratio": round(_ratio(memory, args), 4),
        "state_bytes_start": bytes_start,
        "state_bytes_end": bytes_end,
        "make_reset_s": round(make_reset, 3),
        "import_torch_s": round(torch_seconds, 3),
        "import_s": round(import_seconds, 3),
        "snapshot_ms": _median_ms(world.snapshot),
        "restore_ms": _median_ms(lambda: world.restore(here)),
        "fork8_ms": _median_ms(lambda: world.fork(8)),
        "state_fork8_ms": _median_ms(lambda: here.state.fork(8)),
    }
    if moment is not None:
        replayed = args.replay_from + min(args.replay_steps, steps - args.replay_from)
        world.restore(moment)
        again = []
        for i in tqdm(range(args.replay_from, replayed), unit="step", desc="replay", file=sys.stderr):
            again.append(_fingerprint(env.step(actions[i])[4]["frames"]))
        result["replay_identical"] = again == prints[args.replay_from : replayed]
        result["replay_steps"] = len(again)
    env.close()
    return result | {
        "step_ms_median": round(statistics.median(seconds[args.early[0] :]) * 1e3, 3),
        "steps": steps,
        "chunk_frames": world.frames_per_step // world.model.vae.temporal_stride,
        "frames_per_step": world.frames_per_step,
        "sigmas": list(world.sigmas),
        "frame_size": [world.model.config.height, world.model.config.width],
        "checkpoint": args.checkpoint,
        "checkpoint_hash": world.model.checkpoint,
        "device": str(world.model.device),
        "hardware": hardware(torch.get_num_threads()),
        "torch": torch.__version__,
        "settings": asdict(args),
    }


def resident_bytes() -> int:
    """Memory of this process that is in RAM; its peak where the system does not tell the present value."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _lap(since: float) -> tuple[float, float]:
    """Seconds since a moment, and the present one."""
    now = time.perf_counter()
    return now - since, now


def _ratio(
    values: Sequence[float], args: Args, average: Callable[[Sequence[float]], float] = statistics.fmean
) -> float:
    return average(values[slice(*args.late)]) / average(values[slice(*args.early)])


def _median_ms(call: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEATS):
        clock = time.perf_counter()
        call()
        seconds.append(_lap(clock)[0])
    return round(statistics.median(seconds) * 1e3, 4)


def _fingerprint(frames: Any) -> bytes:
    return hashlib.sha256(frames.tobytes()).digest()


def main(argv: Sequence[str] | None = None) -> None:
    print_line(measure, Args, __doc__, argv)


if __name__ == "__main__":
    main()
