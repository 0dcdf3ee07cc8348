"""Plan by forking the world: MPPI imagines futures in copies of it, and does what went best.

There is no model of the model here: every candidate is a fork of the environment itself, all of them in one batched
forward, and the environment is left as it was.

Run: python examples/plan_with_mppi.py [--task ImageNav] [--seed 3] [--frame-budget 768] [--out plan_with_mppi.mp4]
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import gymnasium as gym
import numpy as np
import tyro
from sanawm_env.policies import make_policy

import sanawm_env  # noqa: F401  registers the ids
from sanawm_env.video import write_video


@dataclass
class Args:
    """Settings of the run."""

    task: Literal["PointNav", "ImageNav", "FollowPath", "Explore", "LoopClosure"] = "PointNav"
    """What to do in the world."""
    seed: int = 0
    """Chooses the world, the goal and the planner's draws."""
    steps: int = 12
    """Steps until the episode is given up."""
    frame_budget: int = 768
    """Frames that one decision may imagine."""
    horizon: int = 3
    """Steps of an imagined future."""
    checkpoint: str = "tiny"
    """Built-in name or checkpoint folder."""
    out: Path = Path("plan_with_mppi.mp4")
    """The video of what was done."""


def main(args: Args) -> None:
    limit = {"max_episode_steps": args.steps, "episode_seconds": None}
    env = gym.make(f"SanaWM/{args.task}-v0", checkpoint=args.checkpoint, **limit)
    planner = make_policy("planner:mppi", seed=args.seed, frame_budget=args.frame_budget, horizon=args.horizon)

    observation, info = env.reset(seed=args.seed)
    planner.begin(env, observation, info)
    seen, total, ended = [info["frames"][-1:]], 0.0, False
    while not ended:
        action = planner.act(observation, info)
        observation, reward, terminated, truncated, info = env.step(action)
        ended, total = terminated or truncated, total + float(reward)
        seen.append(info["frames"])
        terms = ", ".join(f"{name} {value:+.2f}" for name, value in info["reward_terms"].items())
        print(f"step {len(seen) - 1:2d}: reward {reward:+.2f} ({terms}), imagined {planner.frames} frames so far")

    frames = np.concatenate(seen)
    write_video(args.out, frames, fps=env.unwrapped.model.config.fps)
    print(f"success: {info['success']}, return {total:.2f}, path {info['path_length']:.2f} m")
    print(f"frames: {len(frames) - 1} acted, {planner.frames} imagined; {args.out}")


if __name__ == "__main__":
    main(tyro.cli(Args))
