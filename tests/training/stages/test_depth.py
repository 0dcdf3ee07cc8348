"""Training of the depth network: its pictures, its loss, and a short run that learns and resumes."""

import json

import pytest
import torch
from safetensors.torch import save_file

from sanawm_env.training.clips.codec import load_depth
from sanawm_env.training.stages import depth
from sanawm_env.training.stages.depth import VIEWS, DepthTrainConfig, depth_loss, render_views, train_depth
from sanawm_env.world.networks.anchor.depth import DepthNet, log_disparity

CONFIG = DepthTrainConfig(height=32, width=48, batch=6, minutes=0.0001, compile_renderer=False)


def test_views_come_with_their_depth():
    image, intrinsics, target = render_views(CONFIG, range(9_000_500, 9_000_503))
    assert image.shape == (3 * VIEWS, 3, 32, 48)
    assert image.abs().max() <= 1.0
    assert intrinsics.shape == (3 * VIEWS, 4)
    assert target.shape == (3 * VIEWS, 16, 24)
    assert torch.isfinite(target).all()
    assert (target >= log_disparity(torch.tensor(torch.inf)) - 1e-4).all()
    assert not torch.allclose(image[0], image[1]), "the views of a scene differ"


def test_loss_is_zero_for_the_truth_and_counts_edges():
    truth = torch.randn(2, 8, 8)
    assert depth_loss(truth, truth) == 0
    assert torch.isclose(depth_loss(truth + 0.3, truth), torch.tensor(0.3)), "a shift has no edges"
    assert depth_loss(truth + 0.3 * torch.eye(8), truth) > 0.3 / 8


def test_batch_must_hold_whole_scenes():
    with pytest.raises(ValueError, match="multiple of 6"):
        train_depth(DepthTrainConfig(batch=7))


def test_a_run_saves_and_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr("sanawm_env.training.stages.depth.HELD_OUT", range(9_000_000, 9_000_002))
    first_drawn = []

    class Views(depth._Views):
        def __init__(self, config, scenes, posed):
            first_drawn.append(scenes.next_seed)
            super().__init__(config, scenes, posed)

    monkeypatch.setattr(depth, "_Views", Views)
    config = DepthTrainConfig(**{**vars(CONFIG), "out": tmp_path})
    train_depth(config)
    first = load_depth(tmp_path)
    DepthNet().load_state_dict(first)
    steps = json.loads((tmp_path / "progress.json").read_text())["step"]
    train_depth(config)
    after = json.loads((tmp_path / "progress.json").read_text())
    assert after["step"] > steps
    # A scene makes six views, and every view is drawn four times.
    assert first_drawn[-1] == 6_000_000 + len(range(0, steps, 4)), "a later call goes on where the one before ended"
    del after["next_seed"]
    (tmp_path / "progress.json").write_text(json.dumps(after))  # as folders of before have it
    train_depth(config)
    assert first_drawn[-1] == 6_000_000 + after["clips"]
    assert any(not torch.equal(value, load_depth(tmp_path)[name]) for name, value in first.items())
    assert (tmp_path / "sheet.png").exists()
    (tmp_path / "progress.json").unlink()  # a network that somebody put there is trained from step 0
    train_depth(config)
    assert first_drawn[-1] == 6_000_000
    save_file({"other": torch.zeros(1)}, tmp_path / "depth.safetensors")
    with pytest.raises(ValueError, match="holds a network of another shape; choose another --out"):
        train_depth(config)


def test_gradient_descent_finds_depth():
    torch.manual_seed(0)
    image, intrinsics, target = render_views(CONFIG, range(9_000_500, 9_000_501))
    net = DepthNet()
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    losses = []
    for _ in range(40):
        loss = depth_loss(net(image, intrinsics), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]
