"""Options of commands that can work through Ray."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RayOptions", "RayReplicas", "RayWorkers", "give_memory_back"]


@dataclass(frozen=True)
class RayOptions:
    """Where Ray's processes are, and how many threads each has."""

    ray: str | None = None
    """Share the work out through Ray: `local` (processes of this machine), `auto` (the cluster that this machine
    belongs to) or its address HOST:PORT. Needs the extra `ray`; see docs/how-to/ray.md."""
    threads: int | None = None
    """With --ray: threads of each process; OMP_NUM_THREADS or 1 otherwise. Another number gives other last bits."""

    def check(self) -> None:
        """Refuse options that cannot be, before anything is loaded.

        Raises:
            ValueError: A number without `--ray`, or below 1; an address that is none; Ray is not installed.
        """
        numbers = {f"--{name}": value for name, value in vars(self).items() if name != "ray"}
        for name, value in numbers.items():
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}.")
        if self.ray is None:
            if any(numbers.values()):
                raise ValueError(f"{' and '.join(numbers)} belong to --ray; give --ray local, too, or leave them out.")
            return
        from sanawm_env.data.execution.ray_session import check_address

        check_address(self.ray)

    @property
    def process_threads(self) -> int | None:
        """Threads of each of Ray's processes; None without Ray."""
        from sanawm_env.data.execution import threads_of_workers

        return None if self.ray is None else threads_of_workers(self.threads)


@dataclass(frozen=True)
class RayWorkers(RayOptions):
    """For work lists."""

    workers: int | None = None
    """With --ray: processes, each with a model of its own; one for each GPU, or core, otherwise."""


@dataclass(frozen=True)
class RayReplicas(RayOptions):
    """For servers."""

    replicas: int | None = None
    """With --ray: processes, each with a model of its own; one for each GPU, or 2 where there is none, otherwise."""


def give_memory_back() -> None:
    """Let workers on this machine's GPU have what a deleted world took there."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
