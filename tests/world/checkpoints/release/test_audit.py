"""Releases that do not fit together: each refused before anything is loaded, with the file's name."""

import json
import shutil
import warnings

import pytest
import torch
from safetensors.torch import load_file, save_file

from sanawm_env.world.checkpoints.local import resolve
from sanawm_env.world.checkpoints.release.load import read_release
from sanawm_env.world.model import WorldModel

pytest.importorskip("diffusers")
from tests.world.checkpoints.release.release_fixtures import WRITERS, write_vae


def load(folder, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return WorldModel.load(folder, **options)


def test_audit_lists_everything_at_once(copy):
    folder = copy("bidirectional")
    path = folder / "dit" / "sana_wm_1600m_720p.safetensors"
    state = load_file(path)
    del state["t_block.1.bias"], state["blocks.1.attn.conv_k_cam.weight"]
    state["blocks.0.attn.extra.weight"] = torch.zeros(1)
    state["x_embedder.proj.bias"] = torch.zeros(3)
    save_file(state, path)
    with pytest.raises(ValueError) as caught:
        load(folder)
    for part in (
        str(path),
        "2 missing: blocks.1.attn.conv_k_cam.weight, t_block.1.bias",
        "1 unexpected: blocks.0.attn.extra.weight",
        "x_embedder.proj.bias (3,) instead of (32,)",
        "of one release",
    ):
        assert part in str(caught.value)


def test_config_and_weights_disagree(copy):
    folder = copy("bidirectional")
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("_D4", "_D6"))
    with pytest.raises(ValueError, match=r"missing: blocks\.4\."):
        load(folder)
    folder = copy("diffusers")
    path = folder / "transformer" / "config.json"
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | {"num_layers": 2}))
    with pytest.raises(ValueError, match=r"unexpected: blocks\.2\."):
        load(folder)
    path.write_text(json.dumps(values | {"hidden_size": "wide"}))
    with pytest.raises(ValueError, match="makes no world"):
        load(folder)
    path.write_text(json.dumps(values | {"_class_name": "UNet2DModel"}))
    with pytest.raises(ValueError, match="describes a UNet2DModel"):
        load(folder)


def test_vae_of_the_release_must_stream(written, copy, tmp_path):
    folder = copy("bidirectional")
    shutil.rmtree(folder / "ltx2_causal_vae")
    with pytest.raises(
        ValueError, match=r"the decoder in vae/ looks at later frames; copy the folder ltx2_causal_vae/"
    ):
        load(folder)
    shutil.rmtree(folder / "vae")
    with pytest.raises(ValueError, match=r"no VAE that can stream: it has none; copy the folder ltx2_causal_vae/"):
        load(folder)
    write_vae(folder / "vae", causal=True)
    assert read_release(folder).hash() == read_release(written["bidirectional"]).hash()


def test_vae_without_statistics(copy):
    """One published copy of the VAE lacks its two buffers: latents could not be normalised."""
    folder = copy("streaming")
    path = folder / "ltx2_causal_vae" / "diffusion_pytorch_model.safetensors"
    state = load_file(path)
    del state["latents_mean"], state["latents_std"]
    save_file(state, path)
    with pytest.raises(ValueError, match="2 missing: latents_mean, latents_std"):
        load(folder)


@pytest.mark.parametrize("layout", WRITERS)
def test_missing_files(copy, layout):
    """As after a download that did not end: the error names the file."""
    folder = copy(layout)
    release = read_release(folder)
    needed = [*release.files.weight_files, release.files.vae / "config.json"]
    needed += {
        "streaming": [],
        "diffusers": [folder / "transformer" / "config.json"],
    }.get(layout, [folder / "config.yaml"])
    for path in needed:
        kept = path.read_bytes()
        path.unlink()
        with pytest.raises((FileNotFoundError, ValueError), match=r"missing|not complete|no VAE that can stream"):
            load(folder)
        path.write_bytes(kept)
    assert load(folder).checkpoint == release.hash()


def test_two_candidates(copy):
    folder = copy("bidirectional")
    shutil.copy(folder / "dit" / "sana_wm_1600m_720p.safetensors", folder / "dit" / "another.safetensors")
    with pytest.raises(ValueError, match=r"has 2 \.safetensors files; leave the one"):
        load(folder)


def test_resolve_tells_what_a_folder_lacks(written, tmp_path):
    assert resolve(written["diffusers"]) == written["diffusers"]
    with pytest.raises(FileNotFoundError, match=r"no config\.json, and is no SANA-WM release"):
        resolve(tmp_path)
    with pytest.raises(ValueError, match="root folder of a SANA-WM release"):
        resolve(written["streaming"] / "sana_dit" / "model.pt")
