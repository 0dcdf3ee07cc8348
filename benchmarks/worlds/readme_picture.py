"""The moving picture at the top of the README: two worlds, each forked into three futures.

Every row is one world. Its three futures share the first steps, bit for bit; then one looks to the left, one walks
on and one looks to the right. Nothing is chosen or retouched frame by frame: these are the frames of `env.step`.

Run: python benchmarks/worlds/readme_picture.py [--out docs/images/futures.webp] [--sheet sheet.png]
"""

from pathlib import Path

import numpy as np
import tyro
from numpy.typing import NDArray
from PIL import Image

from sanawm_env import SanaWMEnv
from sanawm_env.video import tile

# Right, down, forward; rotations about those axes: in [-1, 1].
TOGETHER = [0, 0, 0.25, 0, 0, 0]
FUTURES = ([-0.1, 0, 0.1, 0, -0.35, 0], [0, 0, 0.35, 0, 0, 0], [0.1, 0, 0.1, 0, 0.35, 0])

Frames = NDArray[np.uint8]


def futures(env: SanaWMEnv, seed: int, shared_steps: int, steps: int) -> list[Frames]:
    """One clip `(T, H, W, 3)` for each of `FUTURES`, all with the same beginning."""
    _, info = env.reset(seed=seed)
    past = [info["frames"][-1:]]
    for _ in range(shared_steps):
        past.append(env.step(TOGETHER)[-1]["frames"])
    clips = []
    for fork, action in zip(env.fork(len(FUTURES)), FUTURES, strict=True):
        clips.append(np.concatenate(past + [fork.step(action)[-1]["frames"] for _ in range(steps)]))
    return clips


def main(
    out: Path = Path("docs/images/futures.webp"),
    seeds: tuple[int, ...] = (1, 24),
    shared_steps: int = 1,
    steps: int = 4,
    quality: int = 70,
    sheet: Path | None = None,
) -> None:
    """Write the picture, and say how large it is.

    Args:
        out: The animated WebP.
        seeds: One world, and one row, for each.
        shared_steps: Steps before the fork, of 12 frames each.
        steps: Steps after it.
        quality: Of the WebP, 0 to 100.
        sheet: A still picture of every sixth frame, to look the animation over.
    """
    env = SanaWMEnv()
    clips = [clip for seed in seeds for clip in futures(env, seed, shared_steps, steps)]
    frames = tile(clips, columns=len(FUTURES), gap=4)
    pictures = [Image.fromarray(frame) for frame in frames]
    # The end stands for a while, so that the eye sees where the picture begins again.
    duration = round(1000 / env.model.config.fps)
    durations = [duration] * (len(pictures) - 1) + [1000]
    pictures[0].save(
        out, save_all=True, append_images=pictures[1:], duration=durations, loop=0, quality=quality, method=6
    )
    if sheet is not None:
        Image.fromarray(np.concatenate(frames[::6], axis=0)).save(sheet)
    print(f"{out}: {len(frames)} frames of {frames.shape[2]} x {frames.shape[1]}, {out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    tyro.cli(main)
