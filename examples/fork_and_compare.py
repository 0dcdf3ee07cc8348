"""Fork one world into four, act differently in each, and watch them side by side.

All four share the same past, bit for bit: the model's whole memory is the environment's state.

Run: python examples/fork_and_compare.py [--out fork_and_compare.mp4] [--seed 4]
"""

from pathlib import Path

import numpy as np
import tyro

from sanawm_env import SanaWMEnv
from sanawm_env.video import tile, write_video

# Right, down, forward; rotations about those axes: in [-1, 1].
FUTURES = {
    "go on": [0, 0, 0.3, 0, 0, 0],
    "turn left": [0, 0, 0, 0, -0.6, 0],
    "turn right": [0, 0, 0, 0, 0.6, 0],
    "step back, look up": [0, 0, -0.3, 0.2, 0, 0],
}


def main(
    out: Path = Path("fork_and_compare.mp4"),
    seed: int = 4,
    shared_steps: int = 4,
    steps: int = 8,
    checkpoint: str = "small-reflect",
) -> None:
    """Write the video: top left, top right, bottom left, bottom right in the order of `FUTURES`.

    Args:
        out: The video.
        seed: Chooses the world.
        shared_steps: Steps before the fork.
        steps: Steps after it.
        checkpoint: Built-in name or checkpoint folder.
    """
    env = SanaWMEnv(checkpoint)
    _, info = env.reset(seed=seed)
    past = [info["frames"][-1:]]
    for _ in range(shared_steps):
        *_, info = env.step(FUTURES["go on"])
        past.append(info["frames"])

    clips = []
    for world, action in zip(env.fork(len(FUTURES)), FUTURES.values(), strict=True):
        frames = list(past)
        for _ in range(steps):
            *_, info = world.step(action)
            frames.append(info["frames"])
        clips.append(np.concatenate(frames))
    write_video(out, tile(clips, gap=4), fps=env.metadata["render_fps"])

    print(f"{out}: {len(clips[0])} frames, {', '.join(FUTURES)}")
    for name, clip in zip(FUTURES, clips, strict=True):
        apart = np.abs(clip[-1].astype(int) - clips[0][-1].astype(int)).mean()
        print(f"  {name:<20} differs from 'go on' by {apart:5.1f} of 255 in the last frame")


if __name__ == "__main__":
    tyro.cli(main)
