"""`sanawm data generate`: posed clips of known truth from textured worlds."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = ["Generate"]


@dataclass
class Generate:
    """Make a dataset of posed clips (RGB, metric depth, poses, intrinsics) from textured worlds of another package.

    What is there already stays, so an interrupted call goes on where it stopped. Prints one JSON line.
    """

    source: Literal["labmaze", "vizdoom"]
    """`labmaze`: DeepMind Lab's mazes and textures, drawn by MuJoCo (Apache-2.0); `vizdoom`: Freedoom's levels
    (BSD-3)."""
    out: Path
    """Folder of the dataset."""
    clips: int = 200
    """Clips to train on."""
    held_out: int = 16
    """Clips to evaluate on, of scenes that no training takes."""
    seed: int = 0
    """First scene seed of the clips to train on."""
    frames: int = 97
    """Frames of a clip, at 16 frames/s."""
    size: tuple[int, int] = (128, 224)
    """Rows and columns, pixels."""

    def run(self) -> None:
        """Do it.

        Raises:
            ValueError: What is missing, or an option that cannot be used.
        """
        from tqdm import tqdm

        from sanawm_env.files import check_writable
        from sanawm_env.scenes.external.generate import Plan, generate

        plan = Plan(self.source, self.clips, self.held_out, self.seed, self.frames, *self.size)
        check_writable(self.out, inside=self.out.is_dir())
        count, made = generate(plan, self.out)
        total = len(plan.seeds)
        for _ in tqdm(made, initial=total - count, total=total, unit="clip"):
            pass
        print(json.dumps({"out": str(self.out), "clips": self.clips, "held_out": self.held_out, "made": count}))
