"""Options of commands that can share their work out through Ray."""

from __future__ import annotations

__all__ = ["check_sharing", "give_memory_back"]


def check_sharing(ray: str | None, workers: int | None, threads: int | None) -> None:
    """Refuse options that cannot be, before anything is loaded.

    Raises:
        ValueError: `--workers` or `--threads` without `--ray`, a number below 1, an address that is none, or Ray is
            not installed.
    """
    for name, value in (("--workers", workers), ("--threads", threads)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}.")
    if ray is None:
        if workers or threads:
            raise ValueError("--workers and --threads belong to --ray; give --ray local, too, or leave them out.")
        return
    from sanawm_env.data.execution.ray_session import check_address

    check_address(ray)


def give_memory_back() -> None:
    """Let workers on this machine's GPU have what a deleted world took there."""
    import torch

    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
