"""`sanawm bench`: make a bench, run a world over it, score videos."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sanawm_env.cli.common.world import check_encoder
from sanawm_env.cli.evaluation.evaluate import require
from sanawm_env.registration import DEFAULT_CHECKPOINT

__all__ = ["Bench", "MakeBench", "RunBench"]


@dataclass
class MakeBench:
    """Make a small bench of procedural scenes in the layout of SANA-WM-Bench."""

    out: Path = Path("bench")
    """Folder of the bench."""
    scenes: int = 24
    """How many; the three families take turns."""
    frames: int = 961
    """Length of the paths."""

    def run(self) -> None:
        """Do it; an interrupted call goes on."""
        from tqdm import tqdm

        from sanawm_env.evaluation.bench import make_bench

        with tqdm(total=self.scenes, unit="scene") as bar:
            make_bench(self.out, scenes=self.scenes, frames=self.frames, progress=lambda name: bar.update() and None)
        print(f"{self.out}: {self.scenes} scenes, two splits")


@dataclass
class RunBench:
    """Generate the videos of a split that are missing, score all of them, and print one JSON line.

    A checkpoint that is conditioned on text is told each scene's own prompt.
    """

    bench: Path = Path("bench")
    """Root of SANA-WM-Bench, or of one made by `sanawm bench make`."""
    split: Literal["simple_60s", "hard_60s"] = "simple_60s"
    """Which paths."""
    method: str = "sanawm_env"
    """Results go to <results>/<method>."""
    results: Path = Path("results")
    """Folder of all methods' results."""
    checkpoint: Annotated[str, tyro.conf.arg(aliases=["-c"])] = DEFAULT_CHECKPOINT
    """Built-in name, checkpoint folder, release or `untrained`; `none` only scores videos that are there."""
    limit: int | None = None
    """First so many scenes only."""
    text_encoder: Path | None = None
    """Folder of gemma-2-2b-it, for checkpoints with text; otherwise beside the checkpoint, or from the Hub."""
    steps: int | None = None
    """Sampler steps per chunk; the checkpoint's schedule otherwise."""
    device: str = "auto"
    """cpu, cuda, or auto."""

    def run(self) -> None:
        """Do it; an interrupted call goes on.

        Raises:
            BenchError, ValueError, FileNotFoundError: Something that cannot be used, before any video is made.
        """
        from tqdm import tqdm

        from sanawm_env.envs.options import sampler_sigmas
        from sanawm_env.evaluation.bench import ResultFolder, read_bench
        from sanawm_env.evaluation.bench.run import generate, score
        from sanawm_env.evaluation.captions import Captions
        from sanawm_env.world.model import WorldModel

        require("evo", "skimage")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"--limit must be at least 1; got {self.limit}.")
        check_encoder(self.text_encoder)
        scenes = read_bench(self.bench, self.split)[: self.limit]
        results = ResultFolder(self.results / self.method)
        names = [scene.id for scene in scenes]
        if self.checkpoint != "none":
            world = WorldModel.load(self.checkpoint, self.device)
            sigmas = sampler_sigmas(world.config.sigmas, self.steps, None)
            captions = Captions(world, text_encoder=self.text_encoder)
            missing = results.missing(self.split, names)
            with tqdm(total=len(missing), unit="video", file=sys.stderr) as bar:
                generate(
                    world, scenes, results,
                    sigmas=sigmas, captions=captions, name=self.checkpoint,
                    progress=lambda name: bar.update() and None,
                )  # fmt: skip
        with tqdm(total=len(scenes), unit="scored", file=sys.stderr) as bar:
            summary = score(scenes, results, progress=lambda name: bar.update() and None)
        print(json.dumps(summary, allow_nan=False))


Bench = Annotated[MakeBench, tyro.conf.subcommand("make")] | Annotated[RunBench, tyro.conf.subcommand("run")]
"""`sanawm bench make|run`."""
