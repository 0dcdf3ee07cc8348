"""`sanawm refine`: the release's second stage on chosen finished rollouts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from sanawm_env.cli.common.console import report
from sanawm_env.cli.common.outputs import check_outputs, check_sidecars

if TYPE_CHECKING:
    from sanawm_env.world.offline.refiner_files import RefinedRecord, Rollout

__all__ = ["Refine"]


@dataclass
class Refine:
    """Refine finished rollouts with the LTX-2 refiner: name them, or choose the best of a score file.

    Each gives <stem>_refined.mp4 and its record, <stem>_refined.json. What is finished is skipped, so an interrupted
    run is taken up by the same command.
    """

    refiner: Path
    """Copy of SANA-WM_bidirectional or SANA-WM_streaming with its refiner, or the refiner's own folder."""
    rollouts: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Recipes or videos of `sanawm rollout` or `sanawm render`."""
    scores: Path | None = None
    """JSON lines with `recipe` (or `video`) and numbers, in place of names; see --best and --by."""
    best: int | None = None
    """How many of --scores."""
    by: str | None = None
    """Field of --scores to choose by; the largest are the best."""
    lowest: bool = False
    """The smallest are the best."""
    prompt: str | None = None
    """Text for all; otherwise each recipe's own, or none."""
    out: Path | None = None
    """Folder of the results; otherwise beside each rollout."""
    text_encoder: Path | None = None
    """Folder of Gemma-3; otherwise the release's."""
    vae: Path | None = None
    """Folder of the VAE; otherwise the release's."""
    seed: int = 42
    """Of the refiner's noise."""
    offload: Literal["none", "model", "sequential"] = "none"
    """Keep only one part (model) or one layer (sequential) at a time on the GPU."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    dtype: str = "bfloat16"
    """float32 or bfloat16."""

    def run(self) -> None:
        """Do it.

        Raises:
            ValueError, FileNotFoundError, ImportError, MemoryError: An option or machine that cannot be used.
        """
        from sanawm_env.envs.options import as_device, as_dtype
        from sanawm_env.world.offline.refiner import Refiner
        from sanawm_env.world.offline.refiner_files import find_refiner, finished, record_of, write_refined

        chosen = self._chosen()
        files = find_refiner(self.refiner, self.text_encoder, self.vae)
        work: list[tuple[Rollout, Path, RefinedRecord]] = []
        for rollout in chosen:
            folder = rollout.video.parent if self.out is None else self.out
            prompt = self.prompt if self.prompt is not None else str(rollout.recipe.get("prompt") or "")
            record = record_of(rollout, files, prompt, self.seed)
            work.append((rollout, folder / f"{rollout.video.stem}_refined.mp4", record))
        if len({out for _, out, _ in work}) < len(work):
            raise ValueError("two rollouts would be written to the same file; name each once, or leave --out out.")
        reads: list[tuple[str, Path | None]] = [("rollout", path) for each in chosen for path in each.files]
        reads += [("--scores", self.scores), ("--refiner", self.refiner), ("--vae", self.vae)]
        reads += [("--text-encoder", self.text_encoder)]
        for _, out, _ in work:
            check_outputs([out, out.with_suffix(".json")], reads)
            check_sidecars(out.with_suffix(".json"), ["sanawm_env.refined"])
        todo = [item for item in work if not finished(item[1], item[2])]
        if skipped := len(work) - len(todo):
            report(f"{skipped} of {len(work)} rollouts are refined already")
        if not todo:
            return
        if self.out is not None:
            self.out.mkdir(parents=True, exist_ok=True)
        dtype = as_dtype(self.dtype)
        assert dtype is not None
        refiner = Refiner(files, as_device(self.device), dtype, self.offload)
        for rollout, out, record in todo:
            began = time.perf_counter()
            write_refined(refiner.refine(rollout, record.prompt, self.seed), out, rollout.recipe["fps"], record)
            report(f"{out}: {record.frames} frames, refined in {time.perf_counter() - began:.1f} s")

    def _chosen(self) -> list[Rollout]:
        from sanawm_env.world.offline.refiner_files import choose, find_rollout

        if bool(self.rollouts) == (self.scores is not None):
            raise ValueError("name rollouts, or give --scores with --best and --by; one of the two.")
        if self.seed < 0:
            raise ValueError(f"--seed must not be negative; got {self.seed}.")
        if self.scores is None:
            if self.best is not None or self.by is not None:
                raise ValueError("--best and --by choose from a score file; give --scores too.")
            return [find_rollout(path) for path in self.rollouts]
        if self.best is None or self.by is None:
            raise ValueError("--scores needs --best, how many, and --by, the field.")
        return [find_rollout(path) for path in choose(self.scores, self.best, self.by, lowest=self.lowest)]
