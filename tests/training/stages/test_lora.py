"""LoRA on a tiny release in its own layout: loss falls, frames change, and the base stays what it is."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("peft", reason="peft (extra `lora`) is not installed")
pytest.importorskip("diffusers", reason="diffusers (extra `release`) is not installed")

from safetensors.torch import load_file, save_file

from sanawm_env.training.clips.release_latents import ReleaseClips
from sanawm_env.training.losses.release import chunk_indices
from sanawm_env.training.run import main, with_values
from sanawm_env.training.stages.lora import LoraTrainConfig, _Run, read_texts
from sanawm_env.world.accel.fused import fuse_projections
from sanawm_env.world.checkpoints.adapters import LoraSettings, add_lora, is_adapter, read_adapter
from sanawm_env.world.checkpoints.local import load_modules, resolve
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.layers import ConvLayer
from tests.world.checkpoints.release.release_fixtures import write_streaming
from tests.world.networks.text.text_fixtures import write_text_encoder

STEPS = 10


def train(base, out, *more):
    """Run the command for no time: clips are coded, the adapter is written as it is."""
    main(["lora", "--base", str(base), "--text-encoder", str(base / "gemma"), "--out", str(out), "--minutes", "0",
          "--clips", "1", "--latents", "7", "--lora.rank", "4", "--lr", "0.01", "--warmup", "1", "--dtype", "float32",
          "--no-compile-renderer", *more])  # fmt: skip


def open_run(out, clips=None):
    """The run in a folder, as the command opens it."""
    values = json.loads(((clips or out) / "train.json").read_text())
    values.pop("base_hash")
    config = replace(with_values(LoraTrainConfig(), values), out=out, minutes=60.0)
    loaded = load_modules(resolve(config.base), "cpu", torch.float32)
    world = WorldModel(loaded.config, loaded.transformer, loaded.vae, loaded.checkpoint)
    data = ReleaseClips((clips or out) / "clips", (64, 96), world.token_grid, 8, seed=0)
    return _Run(config, loaded, data, read_texts(config, world), chunk_indices(config.latents, 3))


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = write_streaming(tmp_path_factory.mktemp("base") / "SANA-WM_streaming")
    write_text_encoder(folder / "gemma")
    return folder


@pytest.fixture(scope="module")
def trained(base, tmp_path_factory):
    out = tmp_path_factory.mktemp("lora") / "run"
    train(base, out)
    run = open_run(out)
    for _ in range(STEPS):  # a number of steps, for a clock would decide otherwise on a busy machine
        run.step(0.0)
        run.progress["step"] += 1
    run.save()
    return out


def step(world, state=None):
    """Frames of the first chunk, and the state after it."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (1, world.config.height, world.config.width, 3), np.uint8)
    text = torch.randn(1, 12, 16, generator=torch.Generator().manual_seed(0))
    state, _ = world.start(image, [[60.0, 60.0, 48.0, 32.0]], [3], text)
    poses = np.tile(np.eye(4), (1, 24, 1, 1))
    poses[:, :, 2, 3] = 0.05 * np.arange(1, 25)
    state, frames = world.step(state, poses)
    return frames, state


def load(base, **options):
    return WorldModel.load(base, dtype="float32", **options)


def test_frames_change_and_the_base_stays(base, trained):
    before = load(base)
    weights = {name: value.clone() for name, value in before.transformer.state_dict().items()}
    plain, state = step(before)
    merged = load(base, adapter=trained / "adapter")
    changed, after = step(merged)
    beside = load(base, adapter=trained / "adapter", merge_adapter=False)
    kept, other = step(beside)
    assert not np.array_equal(plain, changed)
    assert np.abs(changed.astype(int) - kept).max() <= 2  # the same world, rounded otherwise
    assert after.checkpoint == other.checkpoint != state.checkpoint
    adapter = read_adapter(trained / "adapter")
    assert adapter.hash in after.checkpoint_name and "lora" in after.checkpoint_name
    with pytest.raises(ValueError, match="belongs to checkpoint"):
        before.check_state(after)

    again = load(base, adapter=None)
    assert again.checkpoint == before.checkpoint and np.array_equal(step(again)[0], plain)
    for name, value in again.transformer.state_dict().items():
        assert torch.equal(value, weights[name])
    # Merged, it has the very layers and names of its base; beside, the base's weights are those of the files.
    assert merged.transformer.state_dict().keys() == weights.keys()
    assert isinstance(merged.transformer.blocks[0].mlp.inverted_conv, ConvLayer)
    point = "blocks.0.mlp.point_conv.conv.weight"
    assert not torch.equal(merged.transformer.state_dict()[point], weights[point])
    assert torch.equal(beside.transformer.blocks[0].attn.qkv.base_layer.weight, weights["blocks.0.attn.qkv.weight"])


def test_loss_falls(trained, tmp_path):
    losses = []
    for run in (open_run(tmp_path, trained), open_run(trained)):
        run.generator.manual_seed(5)
        with torch.no_grad():
            losses.append(sum(run.loss().item() for _ in range(4)) / 4)
    assert losses[1] < 0.9 * losses[0]


def test_an_adapter_folder_stands_for_both(base, trained):
    world = WorldModel.load(trained / "adapter", dtype="float32")
    assert is_adapter(trained / "adapter") and world.checkpoint == load(base, adapter=trained / "adapter").checkpoint


def test_a_second_call_goes_on(base, trained, capsys):
    coded = {path: path.stat().st_mtime_ns for path in (trained / "clips").glob("*.safetensors")}
    weights = load_file(trained / "adapter" / "adapter_model.safetensors")
    train(base, trained)
    assert "in all" in capsys.readouterr().out  # the memory plan comes first
    assert json.loads((trained / "progress.json").read_text())["step"] == STEPS
    assert {path: path.stat().st_mtime_ns for path in (trained / "clips").glob("*.safetensors")} == coded
    now = load_file(trained / "adapter" / "adapter_model.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in now.items())
    with pytest.raises(ValueError, match="holds clips of other settings"):
        train(base, trained, "--latents", "4")


def test_adapters_that_do_not_belong_are_refused(base, trained, tmp_path):
    other = write_streaming(tmp_path / "other", seed=1)
    with pytest.raises(ValueError, match=r"was trained on .*SANA-WM_streaming"):
        load(other, adapter=trained / "adapter")
    with pytest.raises(FileNotFoundError, match="an adapter folder, as `sanawm train lora` writes it"):
        load(base, adapter=tmp_path)
    with pytest.raises(ValueError, match="takes merged adapters only"):
        WorldModel.load(base, adapter=trained / "adapter", precision="int8", merge_adapter=False)
    half = tmp_path / "half"
    half.mkdir()
    for path in (trained / "adapter").iterdir():
        (half / path.name).write_bytes(path.read_bytes())
    tensors = load_file(half / "adapter_model.safetensors")
    save_file(dict(list(tensors.items())[1:]), half / "adapter_model.safetensors")
    with pytest.raises(ValueError, match="does not fit its adapter_config"):
        load(base, adapter=half)
    (half / "adapter_model.safetensors").write_bytes(b"1234")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load(base, adapter=half)
    with pytest.raises(ValueError, match="merge_adapter=True"):
        fuse_projections(load(base, adapter=trained / "adapter", merge_adapter=False).transformer)
    with pytest.raises(ValueError, match="is no release"):
        main(["lora", "--base", "tiny", "--out", str(tmp_path / "x"), "--dtype", "float32"])
    assert not (tmp_path / "x").exists()


def test_recomputing_gives_the_same_gradients(base):
    grads = []
    for recompute in (False, True):
        net = load(base).transformer
        torch.manual_seed(0)
        trained = add_lora(net, LoraSettings(rank=2))
        for value in trained:
            value.data.normal_(std=0.1)
        net.recompute = recompute
        x, text = torch.randn(1, 8, 4, 2, 3), torch.randn(1, 12, 16)
        net(x, torch.full((1, 4), 500.0), text=text)[0].square().mean().backward()
        grads.append([value.grad for value in trained if value.grad is not None])
    assert len(grads[0]) == len(grads[1]) > 0
    for one, two in zip(*grads, strict=True):
        torch.testing.assert_close(one, two)
