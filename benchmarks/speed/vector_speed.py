"""How fast are many slots of one model, against as many copies of the single environment?

    python benchmarks/speed/vector_speed.py

Three ways to run N worlds take turns, step by step, with the same seeds and actions:

    exact     `SanaWMVectorEnv(exact=True)`: slots one after another, bit for bit like single environments
    fast      `SanaWMVectorEnv(exact=False)`: slots in one forward
    copies    N times `gym.make` in Stable-Baselines3's `DummyVecEnv`, each with a model of its own

The last line printed is one JSON object:

    results[N].frames_per_s         frames generated per second, over all slots, for each of the three
    results[N].step_ms_median       of one step of all slots, which other programs on the machine disturb less
    results[N].fast_over_copies     ratio of frames per second; likewise exact_over_copies
    results[N].exact_identical      whether `exact` and `copies` gave the same observations, bit for bit
    results[N].fast_difference      largest difference of `fast` from `exact`, in levels of 255 ...
    results[N].fast_changed         ... and the share of values that differ, after the last step
    memory.state_bytes              state of one slot
    memory.held_per_added_slot      bytes of tensors and frames that the environment keeps per slot
    memory.rss_per_added_slot       growth of the process's memory per slot, between the fewest slots and the most,
                                    each in a fresh process; for all three ways
    memory.peak_per_added_slot      likewise of the most memory it ever had, which includes activations
"""

from __future__ import annotations

import gc
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[2]))  # as a script it finds only its own folder

from benchmarks import hardware, print_line
from benchmarks.core_speed import UNTRAINED, resident_bytes

WAYS = ("exact", "fast", "copies")


@dataclass(frozen=True)
class Args:
    """Time vector environments against copies of the single one."""

    slots: tuple[int, ...] = (1, 2, 4, 8, 16)
    """Numbers of slots."""
    checkpoint: str = "tiny"
    """Built-in name or folder; `untrained` is a small world of random weights, for tests."""
    chunk_frames: int | None = None
    """Latent frames per step; the checkpoint's default if not given."""
    sampler_steps: int | None = None
    """Model calls per chunk; the checkpoint's schedule if not given."""
    steps: int = 10
    """Timed steps of each way, after one that is not."""
    memory: bool = True
    """Measure memory, too: six more processes."""
    seed: int = 0
    """Of the first slot, and of the random actions."""
    threads: int | None = None
    """Threads of torch; its own choice if not given."""
    device: str = "auto"
    """Where to compute."""

    def __post_init__(self) -> None:
        if not self.slots or min(self.slots) < 1 or self.steps < 1:
            raise ValueError(f"slots and steps must be at least 1; got {self.slots} and {self.steps}.")


def measure(args: Args) -> dict[str, Any]:
    """Run the benchmark."""
    import torch

    _set_threads(args)
    results = {str(n): compare(args, n) for n in args.slots}
    device = args.device if args.device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    return {
        "results": results,
        "memory": memory(args) if args.memory and len(set(args.slots)) > 1 else None,
        "steps": args.steps,
        "device": device,
        "gpu": torch.cuda.get_device_name(device) if device.startswith("cuda") else None,
        "hardware": hardware(torch.get_num_threads()),
        "torch": torch.__version__,
        "settings": asdict(args),
    }


def compare(args: Args, slots: int) -> dict[str, Any]:
    """All three ways with so many slots, in turns."""
    worlds = {way: begin(args, way, slots) for way in WAYS}
    rng = np.random.default_rng(args.seed)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    seen: dict[str, Any] = {}
    identical = True
    for _ in tqdm(range(args.steps + 1), unit="step", desc=f"{slots} slots", file=sys.stderr):
        actions = rng.uniform(-1, 1, (slots, 6)).astype(np.float32)
        for way, (step, _) in worlds.items():
            clock = time.perf_counter()
            seen[way] = step(actions)
            seconds[way].append(time.perf_counter() - clock)
        identical = identical and np.array_equal(seen["exact"], seen["copies"])
    timed = {way: values[1:] for way, values in seconds.items()}
    frames = slots * worlds["exact"][1].frames_per_step * args.steps
    rates = {way: frames / sum(values) for way, values in timed.items()}
    difference = np.abs(seen["fast"].astype(int) - seen["exact"])
    return {
        "frames_per_s": {way: round(rate, 2) for way, rate in rates.items()},
        "step_ms_median": {way: round(statistics.median(values) * 1e3, 2) for way, values in timed.items()},
        "exact_over_copies": round(rates["exact"] / rates["copies"], 3),
        "fast_over_copies": round(rates["fast"] / rates["copies"], 3),
        "exact_identical": bool(identical),
        "fast_difference": int(difference.max()),
        "fast_changed": round(float((difference > 0).mean()), 5),
    }


def begin(args: Args, way: str, slots: int) -> tuple[Callable[[Any], Any], Any]:
    """Make and reset one way; its step, which gives all last frames, and the environment."""
    import gymnasium as gym

    import sanawm_env

    checkpoint: Any = sanawm_env.WorldModel.untrained() if args.checkpoint == UNTRAINED else args.checkpoint
    arguments: dict[str, Any] = {
        "checkpoint": checkpoint,
        "chunk_frames": args.chunk_frames,
        "sampler_steps": args.sampler_steps,
        "max_episode_steps": -1,
    }
    if args.checkpoint != UNTRAINED:
        arguments["device"] = args.device
    if way != "copies":
        envs: Any = gym.make_vec("SanaWM-v0", slots, "vector_entry_point", exact=way == "exact", **arguments)
        envs.reset(seed=args.seed)
        return (lambda actions: envs.step(actions)[0]), envs
    from stable_baselines3.common.vec_env import DummyVecEnv

    copies: Any = DummyVecEnv([lambda: gym.make("SanaWM-v0", **arguments)] * slots)
    copies.seed(args.seed)
    copies.reset()
    return (lambda actions: copies.step(actions)[0]), copies


def memory(args: Args) -> dict[str, Any]:
    """Memory per added slot of the three ways, between the fewest slots and the most."""
    few, many = min(args.slots), max(args.slots)
    found: dict[str, Any] = {"from_slots": few, "to_slots": many, "rss_per_added_slot": {}, "peak_per_added_slot": {}}
    for way in WAYS:
        less, more = (_in_fresh_process(args, way, slots) for slots in (few, many))
        for key in ("rss", "peak"):
            found[f"{key}_per_added_slot"][way] = round((more[key] - less[key]) / (many - few))
        if way == "exact":
            found["state_bytes"] = less["state_bytes"]
            found["held_per_added_slot"] = round((more["held"] - less["held"]) / (many - few))
    return found


def occupy(args: Args, way: str, slots: int) -> dict[str, int]:
    """Memory of this process with one way at work."""
    _set_threads(args)
    step, envs = begin(args, way, slots)
    rss = []
    for _ in range(3):
        step(np.zeros((slots, 6), np.float32))
        gc.collect()
        rss.append(resident_bytes())
    kilo = 1 if sys.platform == "darwin" else 1024
    # Linux counts the two apart, in batches: a process at its peak may be told less for the peak than for now.
    peak = max(rss[-1], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * kilo)
    result = {"rss": rss[-1], "peak": peak}
    if way != "copies":
        moments = envs.unwrapped.snapshot()
        result["state_bytes"] = moments[0].nbytes
        result["held"] = envs.unwrapped.state.nbytes + sum(m.frames.nbytes + m.frame_c2w.nbytes for m in moments)
    return result


def _in_fresh_process(args: Args, way: str, slots: int) -> dict[str, int]:
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        return pool.submit(occupy, args, way, slots).result()


def _set_threads(args: Args) -> None:
    import torch

    if args.threads is not None:
        torch.set_num_threads(args.threads)


def main(argv: Sequence[str] | None = None) -> None:
    print_line(measure, Args, __doc__, argv, (ValueError, OSError, ImportError))


if __name__ == "__main__":
    main()
