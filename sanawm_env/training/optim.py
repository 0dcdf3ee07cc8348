"""Muon for matrices, AdamW for everything else, and an exponential moving average of the weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

# Tables, embedders and output layers are not "hidden matrices"; Muon's authors leave them to Adam.
_ADAM_NAMES = re.compile(r"embedder|final_layer|scale_shift_table|beta_proj|gate_proj|conv_k|depth_conv|t_block")


def orthogonalise(matrices: Tensor) -> Tensor:
    """Nearest semi-orthogonal matrices by five Newton-Schulz steps in bf16 (Jordan et al. 2024, Muon).

    Args:
        matrices: `(n, rows, columns)`.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    x = x / (x.float().square().sum((-2, -1), keepdim=True).sqrt() + 1e-7).to(x.dtype)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).float()


class MuonAdamW(torch.optim.Optimizer):
    """One optimizer, two rules: `muon` groups hold matrices, the others get AdamW."""

    def __init__(self, model: nn.Module, lr_muon: float, lr_adam: float, weight_decay: float = 0.01) -> None:
        muon: list[Tensor] = []
        adam: list[Tensor] = []
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                is_matrix = parameter.ndim >= 2 and not _ADAM_NAMES.search(name)
                (muon if is_matrix else adam).append(parameter)
        groups = [
            {"params": muon, "rule": "muon", "lr": lr_muon, "weight_decay": weight_decay},
            {"params": adam, "rule": "adam", "lr": lr_adam, "weight_decay": 0.0},
        ]
        for group in groups:
            group["base_lr"] = group["lr"]
        super().__init__([g for g in groups if g["params"]], {})

    def scale_lr(self, factor: float) -> None:
        """Set every learning rate to `factor` times its base value."""
        for group in self.param_groups:
            group["lr"] = group["base_lr"] * factor

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update all parameters that have gradients."""
        for group in self.param_groups:
            live = [p for p in group["params"] if p.grad is not None]
            (self._muon if group["rule"] == "muon" else self._adam)(group, live)

    def _muon(self, group: dict[str, Any], params: list[Tensor], momentum: float = 0.95) -> None:
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = {}
        for p in params:
            buffer = self.state[p].setdefault("momentum", torch.zeros_like(p))
            assert p.grad is not None
            buffer.lerp_(p.grad, 1 - momentum)
            update = p.grad.lerp(buffer, momentum).flatten(1)  # Nesterov
            by_shape.setdefault((update.shape[0], update.shape[1]), []).append((p, update))
        for (rows, columns), members in by_shape.items():
            updates = orthogonalise(torch.stack([u for _, u in members]))
            scale = max(1.0, rows / columns) ** 0.5
            for (p, _), update in zip(members, updates, strict=True):
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update.view_as(p), alpha=-group["lr"] * scale)

    def _adam(self, group: dict[str, Any], params: list[Tensor], betas: tuple[float, float] = (0.9, 0.98)) -> None:
        for p in params:
            state = self.state[p]
            if "first" not in state:
                state["first"], state["second"] = torch.zeros_like(p), torch.zeros_like(p)
                state["count"] = torch.zeros(())
            state["count"] += 1
            count = float(state["count"])
            state["first"].lerp_(p.grad, 1 - betas[0])
            state["second"].lerp_(p.grad.square(), 1 - betas[1])  # type: ignore[union-attr]
            first = state["first"] / (1 - betas[0] ** count)
            second = (state["second"] / (1 - betas[1] ** count)).sqrt_().add_(1e-8)
            p.addcdiv_(first, second, value=-group["lr"])


class EMA:
    """Moving average of a model's parameters, with the usual faster start."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: p.detach().clone().float() for name, p in model.state_dict().items()}

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        """Move towards the current weights; `step` counts from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, p in model.state_dict().items():
            if p.is_floating_point():
                self.values[name].lerp_(p.float(), 1 - decay)


def clip_gradients(parameters: Iterable[Tensor], limit: float) -> float:
    """Clip the global gradient norm and return it as it was."""
    return float(nn.utils.clip_grad_norm_(list(parameters), limit))
