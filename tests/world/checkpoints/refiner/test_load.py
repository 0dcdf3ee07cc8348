"""Weights of stage 2 from both layouts, and one clear error for each thing that is wrong with them."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from sanawm_env.world.checkpoints.refiner.attach import find_refiner, load_refiner
from sanawm_env.world.checkpoints.refiner.files import find_stream
from sanawm_env.world.checkpoints.refiner.load import load_networks
from sanawm_env.world.checkpoints.refiner.options import RefinerOptions, read_options
from tests.world.checkpoints.refiner.refiner_files import states, write_raw, write_stream

PART = "refiner_diffusers/transformer"


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return write_stream(tmp_path_factory.mktemp("release"))


def load(folder, **options):
    return load_networks(find_stream(folder), dtype=torch.float32, **options)


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(value, b[name]) for name, value in a.items())


def test_both_layouts_give_the_same_networks(release, tmp_path):
    first, second = load(release), load(write_raw(tmp_path / "ltx-2-19b.safetensors"))
    for mine, theirs, wanted in zip(first[:2], second[:2], states(), strict=True):
        assert same(mine.state_dict(), theirs.state_dict()) and mine.config == theirs.config
        assert mine.state_dict().items() and all(torch.equal(v, wanted[n]) for n, v in mine.state_dict().items())
    assert load(release / "refiner_diffusers").checkpoint == first.checkpoint != second.checkpoint
    assert load_networks(find_stream(release)).transformer.dtype == torch.bfloat16


def lora(tmp_path, **changes):
    """Of two modules, one of them sound's; None leaves a half out."""
    halves = {"lora_A": torch.randn(2, 16), "lora_B": torch.randn(16, 2)}
    kept = {name: value for name, value in (halves | changes).items() if value is not None}
    modules = ("diffusion_model.transformer_blocks.1.attn1.to_v", "diffusion_model.audio")
    held = {f"{module}.{name}.weight": value.clone() for module in modules for name, value in kept.items()}
    save_file(held, tmp_path / "lora.safetensors")
    return tmp_path / "lora.safetensors", halves["lora_B"] @ halves["lora_A"]


def test_a_lora_is_merged_and_part_of_the_hash(release, tmp_path):
    path, change = lora(tmp_path)
    plain, merged = load(release), load(release, lora=path, lora_strength=0.5)
    name = "transformer_blocks.1.attn1.to_v.weight"
    before, after = plain.transformer.state_dict(), merged.transformer.state_dict()
    assert torch.allclose(after.pop(name), before.pop(name) + 0.5 * change) and same(before, after)
    assert len({plain.checkpoint, merged.checkpoint, load(release, lora=path).checkpoint}) == 3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_B": None}, "only one of their two halves"),
        ({"lora_A": torch.ones(2, 8)}, "belongs to another model"),
        ({"lora_A": torch.ones(3, 16)}, "ranks 2 and 3"),
    ],
)
def test_half_a_lora_and_another_models(release, tmp_path, changes, message):
    path, _ = lora(tmp_path, **changes)
    with pytest.raises(ValueError, match=message):
        load(release, lora=path)
    save_file(
        {"diffusion_model.no.lora_A.weight": torch.ones(1), "diffusion_model.no.lora_B.weight": torch.ones(1)}, path
    )
    with pytest.raises(ValueError, match="none of the LoRA's 1 modules"):
        load(release, lora=path)
    save_file({"lora_unet_x.alpha": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="is neither"):
        load(release, lora=path)


@pytest.mark.parametrize(
    ("part", "config", "message"),
    [
        (
            "transformer",
            {"num_attention_heads": 4, "cross_attention_dim": 32},
            "does not fit its config.*of another shape",
        ),
        ("transformer", {"num_layers": 3}, "does not fit its config.*missing"),
        ("transformer", {"cross_attention_dim": 99}, "odd widths"),
        ("transformer", {"gated_attn": True}, "LTX-2.3 or later"),
        ("transformer", {"cross_attn_mod": True}, "LTX-2.3 or later"),
        ("transformer", {"rope_type": "interleaved"}, "another layout"),
        ("transformer", {"caption_channels": 20}, "of different models"),
        ("connectors", {"per_modality_projections": True}, "LTX-2.3 or later"),
        ("connectors", {"video_connector_num_attention_heads": 5}, "do not fit"),
        ("connectors", {"text_proj_in_factor": 4}, "does not fit its config"),
    ],
)
def test_other_widths_and_generations(tmp_path, part, config, message):
    with pytest.raises(ValueError, match=message):
        load(write_stream(tmp_path, **{part: config}))


def test_weights_of_a_later_generation_and_damaged_ones(tmp_path):
    folder = write_stream(tmp_path / "release")
    shard = folder / PART / "a.safetensors"
    held = load_file(shard)
    save_file(held | {"transformer_blocks.0.attn1.to_gate_logits.weight": torch.ones(1)}, shard)
    with pytest.raises(ValueError, match=r"LTX-2\.3 or later"):
        load(folder)
    shard.write_bytes(shard.read_bytes()[:-9])
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        load(folder)
    shard.unlink()
    with pytest.raises(FileNotFoundError, match="is missing"):
        load(folder)
    raw = write_raw(tmp_path / "raw.safetensors")
    whole = load_file(raw)
    save_file({"x": torch.ones(1)}, raw)
    with pytest.raises(ValueError, match="no LTX-2 video transformer"):
        load(raw)
    save_file({n: v for n, v in whole.items() if "embeddings_connector" not in n}, raw)
    with pytest.raises(ValueError, match="no text connectors"):
        load(raw)


def test_what_is_not_there(release, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has no whole refiner, it lacks .*transformer and .*connectors"):
        find_stream(tmp_path)
    with pytest.raises(FileNotFoundError, match="holds no text encoder"):
        find_stream(release, tmp_path)
    with pytest.raises(FileNotFoundError, match="no folder in which"):
        find_refiner(RefinerOptions())
    with pytest.raises(FileNotFoundError, match="no LoRA"):
        find_refiner(RefinerOptions(lora="nowhere"), release)
    refiner = load_refiner(find_refiner(RefinerOptions(), release), dtype=torch.float32)
    with pytest.raises(FileNotFoundError, match="has no text encoder; give refiner="):
        refiner.encode("a road")


def test_options():
    assert read_options(None) is None and read_options("stream") == RefinerOptions()
    read = read_options(json.loads('{"folder": "x", "kv_max_frames": 4, "kv_dtype": "fp8"}'))
    assert read == RefinerOptions("x", kv_max_frames=4, kv_dtype="fp8") and read_options(read) is read
    assert read.settings(16.0).history_frames == 3 and read.settings(16.0).kv_dtype == torch.float8_e4m3fn
    for given, message in (
        ("x", "must be None, 'stream' or a mapping"),
        (True, "must be None"),
        ({"size": 1}, "refiner has no 'size'; there are folder"),
        ({"kv_dtype": "int8"}, "kv_dtype"),
        ({"kv_max_frames": 0}, "kv_max_frames"),
        ({"kv_max_frames": 2.5}, "kv_max_frames"),
    ):
        with pytest.raises(ValueError, match=message):
            read_options(given)
