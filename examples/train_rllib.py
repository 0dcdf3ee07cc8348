"""Train RLlib's PPO on PointNav: two processes dream, each in a world of its own, and one learns.

It shows how the pieces fit; for a policy that gets somewhere give it a few hundred iterations, or see
train_ppo_image_nav.py, which steps many worlds in one batch.

Needs the extra `rllib`. Run: python examples/train_rllib.py [--iterations 2] [--env-runners 2] [--out runs/rl/rllib]
"""

import os
from dataclasses import dataclass
from pathlib import Path

import tyro

import sanawm_env  # noqa: F401  before torch, which Ray loads: docs/explanation/busy-machine.md

# Before Ray is imported: a token between its processes, and nothing told to anybody.
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

import ray
from ray.rllib.algorithms.ppo import PPOConfig
from sanawm_env.bridges.rllib import register


@dataclass
class Args:
    """What to train, and for how long."""

    iterations: int = 10
    """Each collects `steps` environment steps, and learns from them."""
    env_runners: int = 2
    """Processes that act, each with a world of its own on one core."""
    steps: int = 256
    """Environment steps of an iteration, all processes together."""
    episode_steps: int = 40
    """Steps after which an episode is cut."""
    obs_size: tuple[int, int] = (9, 16)
    """Rows and columns of the pictures that the policy sees."""
    checkpoint: str = "tiny"
    """Built-in world or checkpoint folder."""
    seed: int = 0
    """Of everything that is drawn."""
    out: Path | None = None
    """Folder for the trained policy."""


def main(args: Args) -> None:
    world = {
        "id": "SanaWM/PointNav-v0",
        "checkpoint": args.checkpoint,
        "chunk_frames": 1,
        "obs_size": args.obs_size,
        "max_episode_steps": args.episode_steps,
        "device": "cpu",
    }
    config = (
        PPOConfig()
        .environment(register(), env_config=world)
        .env_runners(num_env_runners=args.env_runners, num_cpus_per_env_runner=1, rollout_fragment_length="auto")
        .learners(num_learners=0)
        .training(train_batch_size_per_learner=args.steps, minibatch_size=min(64, args.steps), num_epochs=4, lr=3e-4)
        .debugging(seed=args.seed, log_level="ERROR")
    )
    ray.init(
        # The learner works in this process; an env runner that waited for a core would wait for ever.
        num_cpus=max(args.env_runners, os.cpu_count() or 1),
        object_store_memory=200 * 2**20,
        include_dashboard=False,
        log_to_driver=False,
    )
    algorithm = config.build_algo()
    try:
        for iteration in range(1, args.iterations + 1):
            found = algorithm.train()
            acting, learning = found["env_runners"], found["learners"]["default_policy"]
            print(
                f"iteration {iteration}: {int(acting['num_env_steps_sampled_lifetime'])} steps, "
                f"return {acting.get('episode_return_mean', float('nan')):.3f}, "
                f"loss {float(learning['total_loss']):.3f}, {found['time_this_iter_s']:.0f} s",
                flush=True,
            )
        if args.out is not None:
            args.out.mkdir(parents=True, exist_ok=True)
            algorithm.save_to_path(str(args.out.resolve()))
            print(f"saved in {args.out}")
    finally:
        algorithm.stop()
        ray.shutdown()


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
