"""One switch: which kernels the pieces of a transformer's blocks run through."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Literal, get_args

from sanawm_env.world.networks.layers import PLAIN, Kernels

if TYPE_CHECKING:
    from sanawm_env.world.networks.transformer import SanaWMTransformer

__all__ = ["KERNELS", "KernelChoice", "kernels_of", "use_kernels"]

KernelChoice = Literal["plain", "triton", "fla"]
KERNELS: tuple[KernelChoice, ...] = get_args(KernelChoice)
"""`plain`: torch. `triton`: our own, for every piece. `fla`: flash-linear-attention's norms, gates and rotary turns;
its scans write token by token, and a frame here is written at once, so that the recurrence stays plain torch."""
_NEEDS = {"triton": ("triton", "triton"), "fla": ("fla", "fla-core")}


def kernels_of(choice: KernelChoice) -> Kernels:
    """The functions of a choice.

    Raises:
        ValueError: No such choice.
        ImportError: What it needs is not installed.
    """
    if choice not in KERNELS:
        raise ValueError(f"unknown kernels {choice!r}; use one of {', '.join(KERNELS)}.")
    if choice == "plain":
        return PLAIN
    for module in {"triton", _NEEDS[choice][0]}:
        if importlib.util.find_spec(module) is None:
            raise ImportError(
                f"kernels={choice!r} needs {module}, which is not installed; pip install 'sanawm_env[cuda]'."
            )
    if choice == "triton":
        from sanawm_env.world.accel.kernels import rows, scan

        return Kernels(
            scan=scan.frame_scan,
            features=rows.features,
            camera_features=rows.camera_features,
            leave_world=rows.leave_world,
            gated=rows.gated,
            gated_halves=rows.gated_halves,
            modulated=rows.modulated,
        )
    from sanawm_env.world.accel.kernels import fla

    return Kernels(features=fla.features, gated=fla.gated, gated_halves=fla.gated_halves, modulated=fla.modulated)


def use_kernels(transformer: SanaWMTransformer, choice: KernelChoice) -> None:
    """Run the blocks of `transformer` through other kernels from now on.

    The weights stay as they are; outputs are those of plain torch up to rounding. Calls with gradients and calls under
    torch.compile are plain torch whatever the choice. Record programs (`accel.capture`) after this call: a program
    keeps the kernels it was recorded with.

    Args:
        transformer: On a CUDA device; on another one Triton runs only interpreted (`TRITON_INTERPRET=1`), for tests.
        choice: One of `KERNELS`.

    Raises:
        ValueError: No such choice, or a device that it does not run on.
        ImportError: What it needs is not installed.
    """
    kernels = kernels_of(choice)
    device = transformer.x_embedder.proj.weight.device
    if choice != "plain" and device.type != "cuda" and not _interpreted():
        raise ValueError(
            f"kernels={choice!r} run on CUDA, and this transformer is on {device}; use 'plain', or move it first. "
            "TRITON_INTERPRET=1, set before Triton is imported, interprets them anywhere, very slowly, for tests."
        )
    transformer.kernels = kernels


def _interpreted() -> bool:
    import triton

    return bool(triton.knobs.runtime.interpret)
