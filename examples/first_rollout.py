"""Make the environment, walk through a world for 40 steps, and write what was seen as a video.

Run: python examples/first_rollout.py [--out first_rollout.mp4] [--seed 4]
"""

from pathlib import Path

import gymnasium as gym
import numpy as np
import tyro

import sanawm_env  # noqa: F401  registers the ids
from sanawm_env.video import VideoWriter


def main(
    out: Path = Path("first_rollout.mp4"), seed: int = 4, steps: int = 40, checkpoint: str = "small-reflect"
) -> None:
    """Write the video.

    Args:
        out: The video.
        seed: Chooses the world.
        steps: Environment steps.
        checkpoint: Built-in name or checkpoint folder.
    """
    env = gym.make("SanaWM-v0", checkpoint=checkpoint)
    _, info = env.reset(seed=seed)
    with VideoWriter(out, fps=env.metadata["render_fps"]) as video:
        video.write(info["frames"][-1:])
        for step in range(steps):
            # Right, down, forward in shares of max_translation; rotations about those axes.
            turn = 0.5 * np.sin(step / 4)
            action = np.array([0, 0, 0.15, 0, turn, 0], dtype=np.float32)
            _, _, terminated, truncated, info = env.step(action)
            video.write(info["frames"])
            if terminated or truncated:
                break
    x, _, z = info["c2w"][:3, 3]
    print(
        f"{out}: {video.frames} frames, {info['time']:.1f} s of world time; the camera is {z:.1f} m ahead and "
        f"{x:.1f} m to the right of its start; the state has {info['state_bytes']:,} bytes"
    )
    env.close()


if __name__ == "__main__":
    tyro.cli(main)
