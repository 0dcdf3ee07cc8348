"""What one of Ray's processes takes, and how many of them a cluster has room for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from sanawm_env.data.execution.place import threads_of_workers
from sanawm_env.world.accel.threads import SPIN_COUNT

__all__ = ["Room", "describe_resources"]


@dataclass(frozen=True)
class Room:
    """For processes with a model each."""

    gpus: float
    """Of each process."""
    threads: int
    """Of each process, and the cores that it takes."""
    count: int
    """How many the whole cluster has room for, at least 1."""

    @classmethod
    def of(cls, ray: Any, threads: int | None, gpus: float | None = None) -> Room:
        """What the cluster has.

        Args:
            ray: The module, connected.
            threads: Of each process; see `threads_of_workers`.
            gpus: Of each process; None is 1 where the cluster has any, otherwise 0.

        Raises:
            ValueError: It has no room for a single one.
        """
        total = ray.cluster_resources()
        gpus = gpus if gpus is not None else (1 if total.get("GPU", 0) >= 1 else 0)
        threads = threads_of_workers(threads)
        count = int(total.get("GPU", 0) // gpus if gpus else total.get("CPU", 0) // threads)
        if count < 1:
            need = f"{gpus:g} GPU(s)" if gpus else f"{threads} core(s)"
            raise ValueError(
                f"the Ray cluster has no room for a worker, which takes {need}; it has {describe_resources(total)}."
            )
        return cls(gpus, threads, count)

    def options(self) -> dict[str, Any]:
        """Of an actor that Ray starts again as often as it dies."""
        variables = {
            "OMP_NUM_THREADS": str(self.threads),
            "GOMP_SPINCOUNT": os.environ.get("GOMP_SPINCOUNT", SPIN_COUNT),
        }
        return {
            "num_cpus": self.threads,
            "num_gpus": self.gpus,
            "max_restarts": -1,
            "runtime_env": {"env_vars": variables},
        }


def describe_resources(total: dict[str, float]) -> str:
    """In words."""
    return ", ".join(f"{total.get(name, 0):g} {name}" for name in ("CPU", "GPU"))
