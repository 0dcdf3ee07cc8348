"""How many sessions does one server hold, and what does the way over the socket cost?

    python benchmarks/server_load.py
    python benchmarks/server_load.py --ray local --replicas 2

A server runs in a process of its own, on loopback; clients that each wait for an answer before they ask again run in
threads of this one. The last line printed is one JSON object:

    sessions_at_16fps          sessions that get 16 frames/s each, from the step rate of the fullest load
    p95_ms[N], p50_ms[N]       from a step's request to its decoded answer, with N sessions at once
    frames_per_s[N]            frames generated per second, over all sessions
    fps_min_over_max           the slowest session's rate by the fastest's, the least of evenness[N]
    session_bytes              of one session's present in the server's memory; snapshot_bytes of one snapshot
    overhead_ms                round trip of a step over the time that the model took for it, median, one session
    overhead_share             by the step's time
    local_ms, remote_ms        [best, median] of a step of a local and of a remote environment, taken in turns
    paired_ms                  remote_ms - local_ms
    same_bits                  whether `same_steps` steps gave the bits of a local environment
    kill_gap_s                 with --ray: seconds from its replica's SIGKILL amid those steps to the next answer
    sessions_per_replica[N]    with --ray
    hardware
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Any
from urllib.request import urlopen

import numpy as np
import tyro

sys.path.append(str(Path(__file__).resolve().parents[1]))  # as a script it finds only its own folder

from benchmarks import hardware
from sanawm_env.cli.common.cluster import RayReplicas
from sanawm_env.client import RemoteSanaWMEnv


@dataclass(frozen=True)
class Args:
    """Load a session server with bounded clients."""

    sessions: tuple[int, ...] = (1, 4, 16)
    """Numbers of sessions at once."""
    checkpoint: str = "tiny"
    """Built-in name or folder."""
    chunk_frames: int = 1
    """Latent frames per step."""
    sampler_steps: int | None = None
    """Model calls per chunk; None is the checkpoint's."""
    seconds: float = 20.0
    """Of load for each number of sessions."""
    same_steps: int = 200
    """Steps to compare with a local environment; 0 compares none."""
    pairs: int = 200
    """Steps of a local and of a remote environment in turns; 0 takes none."""
    cluster: Annotated[RayReplicas, tyro.conf.OmitArgPrefixes] = field(default_factory=RayReplicas)
    """Replicas of `sanawm serve --ray`."""


@contextmanager
def serve(args: Args) -> Iterator[str]:
    """A server process; gives its address."""
    command = [sys.executable, "-m", "sanawm_env.cli", "serve", "--checkpoint", args.checkpoint, "--port", "0"]
    command += ["--max-sessions", str(max(args.sessions) + 1), "--no-warmup"]
    command += [f"--{name}={value}" for name, value in vars(args.cluster).items() if value is not None]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            address = process.stdout.readline().strip()
            while args.cluster.ray and any(each["state"] != "ready" for each in replicas(address)):
                time.sleep(0.2)
            yield address
        finally:
            process.terminate()


def replicas(address: str) -> list[dict[str, Any]]:
    """Of a server with --ray: what it tells of them."""
    with urlopen(address.replace("/?", "/api/replicas?")) as answer:
        found: list[dict[str, Any]] = json.load(answer)["replicas"]
    return found


def load(
    address: str, args: Args, count: int, settings: dict[str, Any], spread: dict[int, list[int]]
) -> tuple[list[float], list[float], list[float]]:
    """Latencies in ms of all steps, the model's part of each, and steps/s of each session; sessions by replica."""
    envs = [RemoteSanaWMEnv(address, **settings) for _ in range(count)]
    for seed, env in enumerate(envs):
        env.reset(seed=seed)
        env.step(np.zeros(6))
    waits: list[list[float]] = [[] for _ in envs]
    models: list[list[float]] = [[] for _ in envs]
    if args.cluster.ray:
        spread[count] = [len(each["sessions"]) for each in replicas(address)]
    begin, end = time.perf_counter(), time.perf_counter() + args.seconds

    def drive(k: int) -> None:
        actions = np.random.default_rng(k)
        while (now := time.perf_counter()) < end:
            answer = envs[k]._required.ask("step", action=actions.uniform(-1, 1, 6).tolist())
            waits[k].append(1e3 * (time.perf_counter() - now))
            models[k].append(answer["step_ms"])

    threads = [threading.Thread(target=drive, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.perf_counter() - begin
    for env in envs:
        env.close()
    return list(chain(*waits)), list(chain(*models)), [len(each) / seconds for each in waits]


def same_bits(address: str, args: Args, settings: dict[str, Any], found: dict[str, Any]) -> bool:
    """Whether a remote environment gives what a local one does; with --ray its replica is killed half-way."""
    from sanawm_env import SanaWMEnv

    remote, local = RemoteSanaWMEnv(address, **settings), SanaWMEnv(args.checkpoint, **settings)
    pair = remote.reset(seed=7), local.reset(seed=7)
    same = np.array_equal(pair[0][0], pair[1][0])
    actions = np.random.default_rng(7)
    for k in range(args.same_steps):
        action = actions.uniform(-1, 1, 6).astype(np.float32)
        killed = args.cluster.ray is not None and k == args.same_steps // 2
        if killed:
            has = next(each for each in replicas(address) if remote._required.id in each["sessions"])
            os.kill(has["pid"], signal.SIGKILL)
        began = time.perf_counter()
        mine = remote.step(action)
        if killed:
            found["kill_gap_s"] = round(time.perf_counter() - began, 2)
        theirs = local.step(action)
        same = same and mine[1:4] == theirs[1:4] and mine[4].keys() == theirs[4].keys()
        same = same and np.array_equal(mine[0], theirs[0])
        same = same and all(np.array_equal(mine[4][key], theirs[4][key]) for key in theirs[4])
    remote.close()
    return bool(same)


def paired(address: str, args: Args, settings: dict[str, Any]) -> dict[str, list[float]]:
    """A local and a remote environment in turns, so that whatever else the machine does hits both."""
    from sanawm_env import SanaWMEnv

    envs = {"local": SanaWMEnv(args.checkpoint, **settings), "remote": RemoteSanaWMEnv(address, **settings)}
    for env in envs.values():
        env.reset(seed=7)
        env.step(np.zeros(6, np.float32))
    times: dict[str, list[float]] = {name: [] for name in envs}
    actions = np.random.default_rng(7)
    for k in range(args.pairs):
        action = actions.uniform(-1, 1, 6).astype(np.float32)
        for name in list(envs) if k % 2 else reversed(list(envs)):
            began = time.perf_counter()
            envs[name].step(action)
            times[name].append(1e3 * (time.perf_counter() - began))
    envs["remote"].close()
    found = {f"{name}_ms": [round(min(each), 2), round(statistics.median(each), 2)] for name, each in times.items()}
    found["paired_ms"] = [round(b - a, 2) for a, b in zip(found["local_ms"], found["remote_ms"], strict=True)]
    return found


def main(argv: list[str] | None = None) -> None:
    """Measure, and print one JSON line."""
    args = tyro.cli(Args, args=argv, description=__doc__)
    settings: dict[str, Any] = {"chunk_frames": args.chunk_frames, "episode_seconds": None}
    if args.sampler_steps is not None:
        settings["sampler_steps"] = args.sampler_steps
    if threads := args.cluster.process_threads:
        import torch

        torch.set_num_threads(threads)  # the local environment's sums are then those of the replicas
    found: dict[str, Any] = {"checkpoint": args.checkpoint, "chunk_frames": args.chunk_frames}
    spread: dict[int, list[int]] = {}
    tables: dict[str, dict[int, float]] = {name: {} for name in ("p50_ms", "p95_ms", "frames_per_s", "evenness")}
    with serve(args) as address:
        probe = RemoteSanaWMEnv(address, **settings)
        probe.reset(seed=0)
        frames, fps = probe.frames_per_step, probe._required.facts["fps"]
        found["snapshot_bytes"] = probe.snapshot().nbytes
        probe.step(np.zeros(6))
        found["session_bytes"] = 2 * found["snapshot_bytes"]  # the present, and the moment before the last step
        probe.close()
        for count in args.sessions:
            waits, models, rates = load(address, args, count, settings, spread)
            tables["p50_ms"][count] = round(float(np.percentile(waits, 50)), 2)
            tables["p95_ms"][count] = round(float(np.percentile(waits, 95)), 2)
            tables["frames_per_s"][count] = round(frames * sum(rates), 2)
            tables["evenness"][count] = round(min(rates) / max(rates), 3)
            if count == 1:
                found["overhead_ms"] = round(statistics.median(np.subtract(waits, models)), 2)
                found["overhead_share"] = round(found["overhead_ms"] / statistics.median(models), 4)
            print(f"{count} sessions: {frames * sum(rates):.1f} frames/s", file=sys.stderr)
        if args.pairs:
            found |= paired(address, args, settings)
        if args.same_steps:
            found["same_steps"], found["same_bits"] = args.same_steps, same_bits(address, args, settings, found)
    found |= tables | ({"sessions_per_replica": spread} if spread else {})
    found["sessions_at_16fps"] = int(tables["frames_per_s"][max(args.sessions)] / fps)
    found["fps_min_over_max"] = min(tables["evenness"].values())
    found["hardware"] = hardware(int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count() or 1)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
