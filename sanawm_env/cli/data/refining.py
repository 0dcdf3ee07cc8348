"""Options of `sanawm collect` that let a second queue refine what is kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from sanawm_env.cli.common.cluster import RayWorkers

if TYPE_CHECKING:
    from sanawm_env.data.refinement.run import RefineJob

__all__ = ["Refining"]


@dataclass(frozen=True)
class Refining:
    """What is refined, and by whom."""

    refine: Path | None = None
    """Copy of SANA-WM_bidirectional or SANA-WM_streaming with its refiner: a second queue refines what is kept. The
    refined videos lie in OUT/sanawm/refined."""
    refine_if: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """With --refine: filters as of --keep, give it several times; only what passes all of them is refined."""
    refine_workers: int | None = None
    """With --refine and --ray: processes that refine; 1 otherwise."""
    refine_offload: Literal["none", "model", "sequential"] = "none"
    """Keep only one part (model) or one layer (sequential) of the refiner at a time on the GPU."""

    def job(self, codec: str, device: str, cluster: RayWorkers) -> RefineJob | None:
        """What the second queue does, or None; what would stop it after hours of collecting is told now.

        Args:
            codec: Of the refined videos.
            device: Where to refine without Ray.
            cluster: Ray, if it is used.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used.
        """
        if self.refine is None:
            if self.refine_if or self.refine_workers is not None or self.refine_offload != "none":
                raise ValueError("--refine-if, --refine-workers and --refine-offload belong to --refine; give it, too.")
            return None
        if self.refine_workers is not None and (cluster.ray is None or self.refine_workers < 1):
            raise ValueError("--refine-workers must be at least 1, and belongs to --ray; give --ray local, too.")
        from sanawm_env.data.refinement.run import RefineJob
        from sanawm_env.data.refinement.wanted import Refinement, check_only_if
        from sanawm_env.envs.options import as_device
        from sanawm_env.world.offline.refiner import check_ready
        from sanawm_env.world.offline.refiner_files import find_refiner, weights_hash

        check_only_if(self.refine_if)
        files = find_refiner(self.refine)
        if cluster.ray is None:
            check_ready(files, as_device(device), self.refine_offload)
        refinement = Refinement(weights_hash(files), tuple(self.refine_if))
        workers = self.refine_workers or 1
        return RefineJob(
            files,
            refinement,
            codec,
            device,
            self.refine_offload,
            cluster.ray,
            workers,
            cluster.threads,
        )  # fmt: skip
