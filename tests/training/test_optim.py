"""Optimizer, weight average and the training state on disk."""

import pytest
import torch

from sanawm_env.training.optim import EMA, MuonAdamW, orthogonalise
from sanawm_env.training.store import load_state, save_state


@pytest.mark.parametrize("shape", [(2, 40, 40), (1, 24, 60), (3, 60, 24)])
def test_orthogonalise_levels_the_spectrum(shape):
    torch.manual_seed(0)
    before = torch.randn(shape) * torch.logspace(0, -2, shape[-1])
    values = torch.linalg.svdvals(orthogonalise(before))
    # Muon's coefficients trade exactness for speed: singular values end between about 0.7 and 1.2.
    assert values.max() < 1.35
    assert values.quantile(0.25) > 0.5
    assert torch.linalg.svdvals(before / before.flatten(1).norm(dim=1)[:, None, None]).median() < 0.2


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
    assert {group["rule"] for group in optimizer.param_groups} == {"muon", "adam"}
    first = train(model, optimizer, 1)
    assert train(model, optimizer, 150) < 0.5 * first


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
