"""Search on stage 1, refine the branch that somebody looks at.

Random shooting: many futures of one moment, imagined side by side by stage 1 alone, scored by how near they come to
a goal. The best one is lived again from that moment, now with the streaming refiner: stage 1 makes the same latents,
and stage 2 begins cold, at whichever frame the moment is. Without --refiner nothing is refined.

Run: python examples/refine_the_winner.py [--out winner.mp4] [--count 8] [--steps 4] [--refiner FOLDER]
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import tyro
from sanawm_env.policies.planners.noise import correlated

from sanawm_env import SanaWMEnv, SanaWMVectorEnv, WorldModel
from sanawm_env.evaluation.metrics.drift import is_collapsed
from sanawm_env.evaluation.policy.cost import Meter, RolloutQuality, Thresholds, cost_per_useful
from sanawm_env.video import write_video
from sanawm_env.world.checkpoints.refiner.attach import find_refiner, load_refiner
from sanawm_env.world.checkpoints.refiner.options import RefinerOptions


def main(
    out: Path = Path("winner.mp4"),
    count: int = 8,
    steps: int = 4,
    before: int = 1,
    seed: int = 4,
    max_drift: float = 0.2,
    checkpoint: str = "tiny",
    device: str = "auto",
    refiner: Path | None = None,
    prompt: str = "",
    kv_max_frames: int = 11,
) -> None:
    """Write the winner's frames, and print what a useful future costs.

    Args:
        out: Video of the best future: refined, where there is a refiner.
        count: Futures.
        steps: Of each.
        before: Steps to the moment from which they branch.
        seed: Of scene, goal, noise and actions.
        max_drift: A future is useful if its picture drifts less (`info["drift"]`), and the camera comes nearer.
        checkpoint: Built-in name or checkpoint folder.
        device: cpu, cuda, or auto.
        refiner: A release with its refiner, or the refiner's own folder.
        prompt: For the refiner.
        kv_max_frames: Latent frames that the refiner remembers.
    """
    world = WorldModel.load(checkpoint, device)
    env = SanaWMEnv(world, task="PointNav", chunk_frames=3, episode_seconds=None)
    env.reset(seed=seed)
    for _ in range(before):
        _, _, _, _, info = env.step([0, 0, 1, 0, 0, 0])
    here = env.snapshot()
    far = env.restore(here)[1]["distance_to_goal"]

    plans = np.clip(correlated(np.random.default_rng(seed), count, steps, 0.9), -1, 1).astype(np.float32)
    if env.action_space.shape == (7,):  # the last component would call STOP
        plans = np.concatenate([plans, np.full((count, steps, 1), -1, np.float32)], axis=2)
    with Meter(world.device) as search:
        envs = SanaWMVectorEnv.of(env, count)
        for t in range(steps):
            _, _, _, _, info = envs.step(plans[:, t])
    gains = far - info["distance_to_goal"]
    outcomes = [
        RolloutQuality(
            search.seconds / count,
            drift=float(info["drift"][i]),
            collapsed=is_collapsed(info["frames"][i]) or not gains[i] > 0,
        )
        for i in range(count)
    ]
    useful = cost_per_useful(outcomes, Thresholds(max_rot_err_deg=None, max_trans_err=None, max_drift=max_drift))
    winner = int(np.argmax(gains))
    each = useful.seconds_per_useful
    print(
        f"stage 1: {count} futures of {steps} steps in {search.seconds:.1f} s, {useful.useful} useful, "
        + ("none to pay for" if each is None else f"{each:.2f} s per useful one")
        + f"; number {winner} comes {gains[winner]:.2f} m nearer"
    )
    if refiner is None:
        frames = [env.step(action)[4]["frames"] for action in plans[winner]]
        write_video(out, np.concatenate(frames), world.config.fps)
        print(f"{out}: the winner, not refined: no --refiner given")
        return
    options = RefinerOptions(folder=refiner, kv_max_frames=kv_max_frames)
    seen = world.with_refiner(load_refiner(find_refiner(options), world.device, world.dtype, world.config.fps))
    assert seen.refiner is not None
    text = seen.refiner.encode(prompt)
    with Meter(world.device) as lived:
        cold = replace(here, state=seen.begin_refining(here.state, text))
        branch = SanaWMEnv(seen, task="PointNav", chunk_frames=3, episode_seconds=None)
        branch.restore(cold)
        frames = [branch.step(action)[4]["frames"] for action in plans[winner]]
    write_video(out, np.concatenate(frames), world.config.fps)
    total, all_of_them = search.seconds + lived.seconds, count * lived.seconds
    print(
        f"{out}: the winner with stage 2 in {lived.seconds:.1f} s; search and winner {total:.1f} s per rollout that is "
        f"shown, {all_of_them:.1f} s if every future were refined"
    )


if __name__ == "__main__":
    tyro.cli(main)
