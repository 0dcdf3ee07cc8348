"""Learn to find the place where a picture was taken: PPO from scratch, on a CPU, in under an hour.

Everything that the policy sees is dreamt up by the built-in world model, the goal picture included. The run is measured
against random actions on worlds that training never visits; the curve is in OUT/curve.png.

Run: python examples/train_ppo_image_nav.py [--out runs/rl/ppo_image_nav] [--minutes 50] [--seed 0]
"""

from dataclasses import dataclass
from pathlib import Path

import tyro
from sanawm_env.policies.sb3 import curve
from sanawm_env.policies.sb3.evaluator import Evaluator, random_act
from sanawm_env.policies.sb3.settings import TrainSettings
from sanawm_env.policies.sb3.train import train
from stable_baselines3 import PPO


@dataclass
class Args:
    """What to train, and for how long."""

    out: Path = Path("runs/rl/ppo_image_nav")
    """Folder for the curve, the model and the settings."""
    minutes: float = 50.0
    """Wall-clock minutes of training with its evaluations; the final test comes on top."""
    steps: int = 100_000
    """Environment steps, if the minutes suffice."""
    envs: int = 8
    """Worlds that are stepped together."""
    seed: int = 0
    """Of everything that is drawn in training."""
    episode_steps: int = 40
    """Steps after which an episode is cut."""
    eval_every: int = 8192
    """Steps between evaluations."""
    eval_episodes: int = 20
    """Episodes of an evaluation."""
    test_seed: int = 1_000_000
    """Reset seed of the first world of the final test; neither training nor the curve uses these."""
    test_episodes: int = 30
    """Episodes of the final test."""
    obs_size: tuple[int, int] = (36, 64)
    """Rows and columns of the pictures that the policy sees."""
    checkpoint: str = "tiny"
    """Built-in world or checkpoint folder."""
    resume: bool = False
    """Go on with the run in `out`."""


def main(args: Args) -> None:
    settings = TrainSettings(
        out=args.out,
        algo="ppo",
        task="ImageNav",
        steps=args.steps,
        minutes=args.minutes,
        envs=args.envs,
        seed=args.seed,
        max_episode_steps=args.episode_steps,
        eval_every=args.eval_every,
        eval_episodes=args.eval_episodes,
        obs_size=args.obs_size,
        checkpoint=args.checkpoint,
        resume=args.resume,
    )
    points = train(settings)
    print(f"{points[-1].steps:,} steps in {points[-1].minutes:.0f} minutes; the curve is {args.out / 'curve.png'}")

    evaluator = Evaluator(settings, range(args.test_seed, args.test_seed + args.test_episodes))
    model = PPO.load(args.out / "model.zip", device="cpu")
    trained = evaluator.evaluate(lambda observations: model.predict(observations, deterministic=True)[0])
    random = evaluator.evaluate(random_act(evaluator, args.seed))
    print(f"final test, {args.test_episodes} new worlds, means with 95 % intervals over them:")
    for measure in ("success", "spl", "soft_spl", "return"):
        gain = [a - b for a, b in zip(trained[measure], random[measure], strict=True)]
        rows = {"trained": trained[measure], "random": random[measure], "difference": gain}
        cells = ("{}: {:.3f} [{:.3f}, {:.3f}]".format(name, *curve.interval(values)) for name, values in rows.items())
        print(f"  {measure:<9}", "   ".join(cells))


if __name__ == "__main__":
    main(tyro.cli(Args, description=__doc__))
