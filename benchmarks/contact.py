"""How well does contact know what a robot would run into? Held-out scenes, against their true geometry.

    python benchmarks/contact.py --seeds 20000000:20000040

Each scene's true first frame begins a world. From places along a short walk ahead, which keeps clear of the true
geometry, a body is offered moves of a full step in all directions. The scene says which of them come nearer to a
surface than the body's radius ("hits"), and contact says, from depth alone, which it would shorten. The last line
printed is one JSON object:

    blocked_of_hits            share of hits that contact shortens, of those whose contact point frame 0 shows
    shortened_of_free          share of free moves that it shortens, of those whose way frame 0 shows
    kept_of_hits               share of hits after which the body, stopped by contact, cuts less than 5 cm into things
    hits, free                 numbers of moves that these are shares of
    ..._95                     their 95 % bootstrap intervals; scenes are drawn, as moves of one scene err alike
    ..._beyond                 the same of all other moves: behind the camera, beside its view, or hidden
    depth_median_error         median of |depth / true depth - 1| over the pixels of all places; and within 1.5 m
    depth_median_bias          median of depth / true depth - 1
    scale_median_error         median over scenes of |s - 1|; s is the median of depth / true depth in frame 0
    by_family, by_step         the same for each family of scenes, and after so many steps of the walk
    by_margin                  the same for bodies with other margins, m
    median_scaled              the same if frame 0's depth is divided by s: how much is due to an unknown scale?
    true_depth                 the same with the true depth of frame 0 and of the present place: is the rest right?
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sanawm_env  # noqa: F401  before torch: docs/explanation/busy-machine.md

# isort: split
import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))  # as a script it finds only its own folder

from benchmarks import hardware, print_line
from benchmarks.core_speed import UNTRAINED
from benchmarks.worlds.contact_shares import Move, depth_error, interval, median, summarize
from benchmarks.worlds.contact_truth import Truth, places_along
from benchmarks.worlds.obey_camera import parse_seeds
from sanawm_env.camera.pose import action_to_delta, geodesic
from sanawm_env.envs.sensors.anchored_depth import AnchoredDepth
from sanawm_env.envs.sensors.contact import Body, free_path
from sanawm_env.envs.sensors.points import seen_points
from sanawm_env.registration import DEFAULT_CHECKPOINT
from sanawm_env.scenes import EVAL_SEEDS, first_frame, render_scene, sample_scenes
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel

Array = NDArray[np.float64]

ROOM = 0.03
"""Metres that the walk keeps between the body's side and everything."""
AHEAD = 0.7
"""Cosine of the angle from the camera's axis within which it walks."""
REACH = 1.5
"""Metres beyond which nothing can meet a body within a step."""


@dataclass(frozen=True)
class Args:
    """Offer a body moves in held-out scenes and compare what contact does with what is there."""

    seeds: str = "20000000:20000040"
    """Scene seeds, first:last+1."""
    checkpoint: str = DEFAULT_CHECKPOINT
    """Built-in name or folder of an anchored world; `untrained` is a small one of random weights, for tests."""
    walk: int = 5
    """Steps of the walk; moves are offered before the first and after each."""
    moves: int = 24
    """Moves offered at each place."""
    body: Body = field(default_factory=Body)
    """Who moves."""
    margins: tuple[float, ...] = (-0.05, 0.05, 0.1, 0.2)
    """Other margins to report, m."""
    device: str = "auto"
    """Where to compute."""

    def __post_init__(self) -> None:
        if self.walk < 0 or self.moves < 1:
            raise ValueError(f"walk must be at least 0 and moves at least 1; got {self.walk} and {self.moves}.")


def measure(args: Args) -> dict[str, Any]:
    """Try all scenes.

    Raises:
        ValueError, FileNotFoundError: An argument that cannot be used; says what to change.
    """
    import gymnasium as gym

    seeds = parse_seeds(args.seeds)
    held_out = seeds.start in EVAL_SEEDS and seeds.stop - 1 in EVAL_SEEDS
    if not held_out:
        print(f"note: scenes outside {EVAL_SEEDS} may not be held out", file=sys.stderr)
    world: Any = {"checkpoint": args.checkpoint, "device": args.device}
    if args.checkpoint == UNTRAINED:
        world = {"checkpoint": WorldModel.untrained(small_config(anchored=True, max_translation=0.05))}
    env = gym.make("SanaWM-v0", **world, sensors=("depth",), max_episode_steps=-1, episode_seconds=None)
    began = time.perf_counter()
    moves: list[Move] = []
    pixels: list[Array] = []
    scales: list[float] = []
    for seed in tqdm(seeds, unit="scene", file=sys.stderr):
        found, seen, scale = try_scene(env, seed, args)
        moves += found
        pixels.append(seen)
        scales.append(scale)
    families, steps = sorted({m.family for m in moves}), range(args.walk + 1)
    return {
        **summarize(moves),
        "blocked_of_hits_95": interval([m for m in moves if m.hit and m.seen]),
        "shortened_of_free_95": interval([m for m in moves if not m.hit and m.seen]),
        **depth_error(np.concatenate(pixels, axis=1)),
        "scale_median_error": median(np.abs(np.array(scales) - 1)),
        "by_family": {name: summarize([m for m in moves if m.family == name]) for name in families},
        "by_step": {str(step): summarize([m for m in moves if m.step == step]) for step in steps},
        "by_margin": {str(margin): summarize(moves, f"margin {margin}") for margin in args.margins},
        "median_scaled": summarize(moves, "median_scaled"),
        "true_depth": summarize(moves, "true_depth"),
        "seeds": f"{seeds.start}:{seeds.stop}",
        "held_out": held_out,
        "checkpoint": args.checkpoint,
        "body": vars(args.body),
        "walk": args.walk,
        "moves": args.moves,
        "hardware": hardware(torch.get_num_threads()),
        "seconds": round(time.perf_counter() - began, 1),
    }


def try_scene(env: Any, seed: int, args: Args) -> tuple[list[Move], Array, float]:
    """All moves of one scene, depth beside true depth `(2, pixels)`, and the scale of frame 0's depth."""
    simulator = env.unwrapped.simulation
    config = simulator.model.config
    image, camera, scene, pose = first_frame(seed, config.height, config.width)
    family = sample_scenes([seed], config.height, config.width)[2][0]
    start, intrinsics = pose.double().numpy(), camera.double().numpy()
    depth = render_scene(scene, pose[None], camera, config.height, config.width)[1][0].double().numpy()
    truth = Truth(scene, start, intrinsics, depth, args.body)
    _, info = env.reset(seed=seed, options={"image": image, "intrinsics": intrinsics})
    both = np.isfinite(info["depth"]) & np.isfinite(depth)
    scale = float(np.median(info["depth"][both] / depth[both]))

    rng = np.random.default_rng([seed, 5])
    moves, pixels = [], []
    for step in range(args.walk + 1):
        c2w, cases = info["c2w"], points_of_cases(env, truth, scale, info)
        pixels.append(np.stack([info["depth"].ravel(), truth.true_depth(c2w).ravel()]))
        ahead = []
        for action in propose(rng, args.moves):
            delta = action_to_delta(action, simulator.max_translation, simulator.max_rotation)
            path = geodesic(c2w, delta, simulator.frames_per_step)
            moves.append(judge(truth, cases, c2w, path, args, (seed, family, step)))
            if action[2] > AHEAD and truth.room(places_along(c2w, path)).min() >= ROOM:
                ahead.append(action)
        if step < args.walk:
            # Where nothing ahead is free it turns on the spot.
            action = ahead[rng.integers(len(ahead))] if ahead else np.array([0, 0, 0, 0, 1.0, 0])
            _, _, _, _, info = env.step(action.astype(np.float32))
    return moves, np.concatenate(pixels, axis=1), scale


def points_of_cases(env: Any, truth: Truth, scale: float, info: dict[str, Any]) -> dict[str, Array]:
    """What contact knows: as it is, if frame 0's depth had the right scale, and if depth were true."""
    moment, c2w, camera = env.unwrapped.snapshot(), info["c2w"], truth.intrinsics
    first = moment.state.first_disparity
    scaled = moment.state.changed(first_disparity=first * scale)
    (now,) = AnchoredDepth(env.unwrapped.model).depth(scaled, [moment.frames[-1]])
    known = {
        "": seen_points(info["depth"], camera, c2w, first[0].cpu().numpy()),
        "median_scaled": seen_points(now, camera, c2w, first[0].cpu().numpy() * scale),
        "true_depth": seen_points(truth.true_depth(c2w), camera, c2w, 1 / truth.depth[::2, ::2]),
    }
    near = {name: np.abs(points - c2w[:3, 3]).max(-1) < REACH for name, points in known.items()}
    return {name: points[near[name]] for name, points in known.items()}


def propose(rng: np.random.Generator, count: int) -> Array:
    """Actions `(count, 6)`: a full step in directions all round, in the camera's plane, with some turn to a side."""
    angle = 2 * np.pi * (np.arange(count) + rng.random()) / count
    actions = np.zeros((count, 6))
    actions[:, 0], actions[:, 2] = np.sin(angle), np.cos(angle)
    actions[:, 4] = rng.uniform(-1, 1, count)
    return actions


def judge(
    truth: Truth, cases: dict[str, Array], c2w: Array, path: Array, args: Args, place: tuple[int, str, int]
) -> Move:
    """One move against the truth."""
    places = places_along(c2w, path)
    true_room = truth.room(places)
    hit = true_room < 0
    seen = truth.shows_contact(places[hit.argmax()]) if hit.any() else truth.shows_way(path[:, :3, 3])
    tried = {name: (points, args.body) for name, points in cases.items()}
    tried |= {f"margin {margin}": (cases[""], replace(args.body, margin=margin)) for margin in args.margins}
    shares = {name: free_path(points, c2w, path, body)[0] for name, (points, body) in tried.items()}
    room = {name: float(true_room[: 1 + int(share * (len(places) - 1))].min()) for name, share in shares.items()}
    return Move(*place, bool(hit.any()), seen, shares, room)


def main(argv: Sequence[str] | None = None) -> None:
    print_line(measure, Args, __doc__, argv)


if __name__ == "__main__":
    main()
