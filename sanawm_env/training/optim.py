"""Muon for matrices, AdamW for everything else, and an exponential moving average of the weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Tables, embedders and output layers are not "hidden matrices"; Muon's authors leave them to Adam.
_ADAM_NAMES = re.compile(r"embedder|final_layer|scale_shift_table|beta_proj|gate_proj|conv_k|depth_conv|t_block")


_KEYS = {"momentum": "momentum_buffer", "first": "exp_avg", "second": "exp_avg_sq", "count": "step"}
"""Names in training's files to those of PyTorch's optimizers."""


class MuonAdamW:
    """PyTorch's Muon for hidden matrices and its AdamW for all other parameters, as one optimizer.

    The model must lie on its device already.
    """

    def __init__(self, model: nn.Module, lr_muon: float, lr_adam: float, weight_decay: float = 0.01) -> None:
        """Share the model's trained parameters out.

        Args:
            model: What is trained.
            lr_muon: Learning rate of matrices.
            lr_adam: Learning rate of everything else.
            weight_decay: Of matrices.

        Raises:
            ImportError: PyTorch before 2.9, which has no Muon.
        """
        try:
            from torch.optim import Muon
        except ImportError:
            raise ImportError("training needs torch.optim.Muon; pip install 'torch>=2.9'.") from None
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        # Muon takes matrices only. To it a convolution's kernel is one, by a view that shares the memory.
        self._flat = {
            p: p.detach().flatten(1) for name, p in trained.items() if p.ndim >= 2 and not _ADAM_NAMES.search(name)
        }
        others = [p for p in trained.values() if p not in self._flat]
        self._model, self._parts = model, list[torch.optim.Optimizer]()
        if self._flat:
            self._parts.append(Muon(list(self._flat.values()), lr_muon, weight_decay))
        if others:
            self._parts.append(torch.optim.AdamW(others, lr_adam, betas=(0.9, 0.98), weight_decay=0.0))
        for group in self.param_groups:
            group["base_lr"] = group["lr"]

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of both optimizers."""
        return [group for part in self._parts for group in part.param_groups]

    def scale_lr(self, factor: float) -> None:
        """Set every learning rate to `factor` times its base value."""
        for group in self.param_groups:
            group["lr"] = group["base_lr"] * factor

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients."""
        self._model.zero_grad(set_to_none)

    def step(self) -> None:
        """Update all parameters that have gradients."""
        for p, flat in self._flat.items():
            flat.grad = None if p.grad is None else p.grad.flatten(1)
        for part in self._parts:
            part.step()

    def tensors(self) -> dict[str, Tensor]:
        """What it remembers, by `<what>.<name of the parameter>`, in the parameter's shape or a number."""
        found = {}
        for name, p in self._model.named_parameters():
            state = self._state(p)
            for key, theirs in _KEYS.items():
                if theirs in state:
                    found[f"{key}.{name}"] = state[theirs] if key == "count" else state[theirs].view_as(p)
        return found

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Remember what `tensors` gave."""
        for name, p in self._model.named_parameters():
            for key, theirs in _KEYS.items():
                if (value := tensors.get(f"{key}.{name}")) is not None:
                    own = value if key == "count" else value.to(p.device).view_as(self._flat.get(p, p))
                    self._state(p)[theirs] = own

    def _state(self, p: nn.Parameter) -> dict[str, Any]:
        part, key = (self._parts[0], self._flat[p]) if p in self._flat else (self._parts[-1], p)
        return part.state[key]


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
