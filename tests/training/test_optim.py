"""Optimizer, weight average and the training state on disk."""

import pytest
import torch
from safetensors.torch import load_file

from sanawm_env.training.optim import EMA, MuonAdamW
from sanawm_env.training.store import load_state, save_state


def small_model():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.GELU(), torch.nn.Linear(16, 4))


def train(model, optimizer, steps, ema=None):
    x, y = torch.randn(64, 8, generator=torch.Generator().manual_seed(1)), torch.arange(64).remainder(4)
    for step in range(steps):
        loss = torch.nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if ema is not None:
            ema.update(model, step)
    return loss.item()


def test_both_rules_learn():
    model = small_model()
    optimizer = MuonAdamW(model, 0.02, 5e-3)
    assert len(optimizer.param_groups) == 2
    first = train(model, optimizer, 1)
    assert train(model, optimizer, 150) < 0.5 * first


class Mixed(torch.nn.Module):
    """Matrices, kernels, a table that goes to Adam by its name, vectors, and one without a gradient."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        shapes = {"wide": (8, 24), "tall": (24, 8), "kernel": (16, 8, 3, 1), "x_embedder": (6, 6), "bias": (16,),
                  "unused": (4, 4)}  # fmt: skip
        for name, shape in shapes.items():
            setattr(self, name, torch.nn.Parameter(0.1 * torch.randn(shape, generator=generator)))


def written_out(name, p, grad, memory, count, lr_muon, lr_adam):
    """One update as Jordan et al. 2024 and Kingma and Ba 2015 have it, the way this project trained its worlds."""
    if p.ndim < 2 or name == "x_embedder":
        first, second = (
            memory.setdefault("first", torch.zeros_like(p)),
            memory.setdefault("second", torch.zeros_like(p)),
        )
        first.lerp_(grad, 0.1)
        second.lerp_(grad.square(), 0.02)
        return p - lr_adam * (first / (1 - 0.9**count)) / ((second / (1 - 0.98**count)).sqrt() + 1e-8)
    momentum = memory.setdefault("momentum", torch.zeros_like(p))
    momentum.lerp_(grad, 0.05)
    x = grad.lerp(momentum, 0.95).flatten(1).bfloat16()
    rows, columns = x.shape
    x = x.mT if rows > columns else x
    x = x / (x.norm() + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=-4.7750, alpha=2.0315), x, beta=3.4445)
    x = (x.mT if rows > columns else x).float().view_as(p)
    return p * (1 - lr_muon * 0.01) - lr_muon * max(1.0, rows / columns) ** 0.5 * x


def test_updates_are_those_that_trained_the_built_in_worlds():
    model = Mixed()
    optimizer = MuonAdamW(model, 0.02, 5e-3)
    generator, memory = torch.Generator().manual_seed(1), {}
    for count in (1, 2, 3):
        wanted = {}
        for name, p in model.named_parameters():
            if name != "unused":
                p.grad = torch.randn(p.shape, generator=generator)
                wanted[name] = written_out(name, p.detach(), p.grad, memory.setdefault(name, {}), count, 0.02, 5e-3)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        optimizer.step()
        for name, p in model.named_parameters():
            if name == "unused":
                assert torch.equal(p, before[name])
            else:
                moved = (wanted[name] - before[name]).norm()
                limit = 1e-5 if name in ("bias", "x_embedder") else 0.02  # Muon works in bf16
                assert (p - wanted[name]).norm() < limit * moved, name
                assert p.data_ptr() == getattr(model, name).data_ptr() and moved > 0


def test_run_folders_of_before_load(tmp_path):
    """Names and shapes in state.safetensors are as they were."""
    model = Mixed()
    optimizer, ema = MuonAdamW(model, 0.02, 5e-3), EMA(model, 0.9)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    save_state(tmp_path, model, optimizer, ema, {"step": 1})
    found = load_file(tmp_path / "state.safetensors")
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    adam = ("bias", "x_embedder")
    wanted = {f"{part}.{name}": shape for name, shape in shapes.items() for part in ("model", "ema")}
    wanted |= {f"optimizer.momentum.{name}": shape for name, shape in shapes.items() if name not in adam}
    wanted |= {f"optimizer.{key}.{name}": shapes[name] for name in adam for key in ("first", "second")}
    wanted |= {f"optimizer.count.{name}": () for name in adam}
    assert {name: tuple(value.shape) for name, value in found.items()} == wanted


def test_scale_lr_is_relative_to_the_base():
    optimizer = MuonAdamW(small_model(), 0.02, 5e-3)
    optimizer.scale_lr(0.5)
    optimizer.scale_lr(0.25)
    assert sorted(group["lr"] for group in optimizer.param_groups) == pytest.approx([0.25 * 5e-3, 0.25 * 0.02])


def test_resume_is_the_same_as_not_stopping(tmp_path):
    one = small_model()
    optimizer, ema = MuonAdamW(one, 0.02, 5e-3), EMA(one, 0.9)
    train(one, optimizer, 5, ema)
    save_state(tmp_path, one, optimizer, ema, {"step": 5})
    two = small_model()
    optimizer_two, ema_two = MuonAdamW(two, 0.02, 5e-3), EMA(two, 0.9)
    assert load_state(tmp_path, two, optimizer_two, ema_two) == {"step": 5}
    train(one, optimizer, 5, ema)
    train(two, optimizer_two, 5, ema_two)
    for a, b in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.equal(a, b)
    assert all(torch.equal(ema.values[name], ema_two.values[name]) for name in ema.values)


def test_an_empty_folder_is_a_new_run_and_a_foreign_one_is_refused(tmp_path):
    model = small_model()
    optimizer, ema = MuonAdamW(model, 0.02, 5e-3), EMA(model, 0.9)
    assert load_state(tmp_path, model, optimizer, ema) is None
    save_state(tmp_path, model, optimizer, ema, {})
    other = torch.nn.Linear(3, 3)
    with pytest.raises(ValueError, match="another shape"):
        load_state(tmp_path, other, MuonAdamW(other, 0.1, 0.1), EMA(other, 0.9))


def test_ema_follows():
    model = small_model()
    ema = EMA(model, 0.5)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(1.0)
    start = {name: value.clone() for name, value in ema.values.items()}
    ema.update(model, step=1000)
    for name, p in model.named_parameters():
        assert torch.allclose(ema.values[name], start[name] + 0.5 * (p - start[name]))
