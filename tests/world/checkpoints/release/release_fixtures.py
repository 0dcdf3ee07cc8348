"""The published repositories at a tiny size, every file in its real place and format. No network."""

import functools
import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.networks.vae.ltx import LTXVAEConfig, LTXVideoVAE

MODEL = SanaWMConfig(
    depth=4, hidden_size=32, head_dim=16, in_channels=8, caption_channels=16, text_length=12, pos_embed_tokens=6
)
"""Buffers of the release included; block 3 is a softmax block, as in the release."""
VAE = LTXVAEConfig(
    latent_channels=8,
    block_out_channels=(8, 16, 32, 64),
    decoder_block_out_channels=(8, 16, 32),
    layers_per_block=(1, 1, 1, 1, 1),
    decoder_layers_per_block=(1, 1, 1, 1),
    spatial_compression_ratio=32,
    temporal_compression_ratio=8,
)
IMAGE_SIZE = 64
"""Makes frames of 64x96 px."""
YAML = """
model:
  model: {model}
  image_size: {size}
  mixed_precision: bf16
  attn_type: {attention}
  camctrl_type: {camera}
  softmax_every_n: 4
  mlp_acts: [silu, silu, null]
vae:
  vae_type: {vae}
  vae_latent_dim: 8
scheduler:
  predict_flow_v: true
  inference_flow_shift: 9.8
"""


@functools.cache
def weights(seed=0):
    """State dict of a transformer in which every tensor matters, under NVlabs' names, in float32."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = SanaWMTransformer(MODEL)
        for name, value in model.state_dict().items():
            if name.endswith(("norm.weight", "norm_cam.weight")):
                value.uniform_(0.7, 1.3)
            elif name.endswith("A_log"):
                value.uniform_(-2, -1)
            else:
                value.normal_(std=0.3 if value.ndim < 2 else value[0].numel() ** -0.5)
    return model.state_dict()


@functools.cache
def vae_weights(seed=0):
    """State dict of the VAE in bfloat16, as released."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        vae = LTXVideoVAE(VAE)
        vae.latents_mean.normal_()
        vae.latents_std.uniform_(0.5, 2.0)
    return vae.bfloat16().state_dict()


def write_vae(folder, *, causal=True, seed=0):
    """`config.json` and weights as diffusers saves an LTX-2 VAE."""
    values = VAE.to_diffusers() | {"decoder_causal": causal}
    values = {"_class_name": "AutoencoderKLLTX2Video", "_diffusers_version": "0.37.0.dev0", **values}
    _json(folder / "config.json", values)
    save_file(dict(vae_weights(seed)), folder / "diffusion_pytorch_model.safetensors", {"format": "pt"})


def write_streaming(folder, seed=0):
    """`SANA-WM_streaming`, with the config that upstream looks for in a local bundle."""
    folder = Path(folder)
    (folder / "sana_dit").mkdir(parents=True)
    generator = {f"model.{name}": value for name, value in weights(seed).items()}
    critic = {name: torch.zeros_like(value) for name, value in generator.items()}
    steps = [1000, 960, 889, 727, 0]
    state = {"generator": generator, "critic": critic, "step": 3000, "denoising_step_list": steps}
    torch.save(state, folder / "sana_dit" / "model.pt")
    write_vae(folder / "ltx2_causal_vae")
    text = _yaml("SanaMSVideoCamCtrlStreaming_tiny_P1_D4", "ChunkCausalGDNTriton", "LTX2VAE_diffusers_causal")
    (folder / "sana_wm_streaming_tiny.yaml").write_text(text)
    _elsewhere(folder, "refiner_diffusers")
    return folder


def write_bidirectional(folder, seed=0):
    """`SANA-WM_bidirectional`: its VAE's decoder is not causal."""
    folder = Path(folder)
    (folder / "dit").mkdir(parents=True)
    save_file(dict(weights(seed)), folder / "dit" / "sana_wm_1600m_720p.safetensors")
    write_vae(folder / "vae", causal=False)
    text = _yaml("SanaMSVideoCamCtrl_tiny_P1_D4", "BidirectionalGDNTriton", "LTX2VAE_diffusers")
    (folder / "config.yaml").write_text(text)
    _elsewhere(folder, "refiner")
    return folder


def write_chunk_causal(folder, seed=0):
    """`SANA-WM_chunk_causal`: no VAE at all."""
    folder = Path(folder)
    (folder / "dit").mkdir(parents=True)
    save_file(dict(weights(seed)), folder / "dit" / "sana_wm_chunk_causal_1600m_720p.safetensors")
    text = _yaml("SanaMSVideoCamCtrl_tiny_P1_D4", "ChunkCausalGDNTriton", "LTX2VAE_diffusers")
    (folder / "config.yaml").write_text(text)
    return folder


def write_diffusers(folder, seed=0, *, shards=False, causal=False):
    """`SANA-WM_bidirectional-diffusers`, the transformer saved by diffusers itself."""
    from diffusers.models.transformers.transformer_sana_wm import SanaWMTransformer3DModel

    folder = Path(folder)
    folder.mkdir(parents=True)
    parts = {"transformer": "SanaWMTransformer3DModel", "vae": "AutoencoderKLLTX2Video"}
    parts |= {"scheduler": "FlowMatchEulerDiscreteScheduler"}
    index = {"_class_name": "SanaWMPipeline", **{name: ["diffusers", kind] for name, kind in parts.items()}}
    _json(folder / "model_index.json", index)
    model = SanaWMTransformer3DModel(
        in_channels=MODEL.in_channels,
        num_layers=MODEL.depth,
        hidden_size=MODEL.hidden_size,
        num_attention_heads=MODEL.heads,
        linear_head_dim=MODEL.head_dim,
        caption_channels=MODEL.caption_channels,
        image_size=IMAGE_SIZE,
    )
    names = {"t_embedder.mlp.0": "t_embedder.linear_1", "t_embedder.mlp.2": "t_embedder.linear_2"}
    state = {}
    for name, value in weights(seed).items():
        theirs = next((new + name.removeprefix(old) for old, new in names.items() if name.startswith(old)), name)
        state[theirs] = value
    del state["pos_embed"], state["y_embedder.y_embedding"]
    model.load_state_dict(state)
    model.save_pretrained(folder / "transformer", max_shard_size="100KB" if shards else "10GB")
    write_vae(folder / "vae", causal=causal)
    _json(folder / "scheduler" / "scheduler_config.json", {"_class_name": "FlowMatchEulerDiscreteScheduler"})
    return folder


WRITERS = {
    "streaming": write_streaming,
    "bidirectional": write_bidirectional,
    "chunk_causal": write_chunk_causal,
    "diffusers": write_diffusers,
}


def write(layout, folder):
    """A layout, with the streaming release's VAE put into it where its own cannot stream."""
    WRITERS[layout](folder)
    if layout != "streaming":
        write_vae(folder / "ltx2_causal_vae")
    return folder


def _yaml(model, attention, vae):
    camera = attention.replace("Triton", "UCPESinglePathLiteLABothTriton")
    return YAML.format(model=model, size=IMAGE_SIZE, attention=attention, camera=camera, vae=vae)


def _elsewhere(folder, refiner):
    """Files of stage 2 that loading stage 1 must pass by."""
    for part in ("transformer", "connectors"):
        _json(folder / refiner / part / "config.json", {"_class_name": "LTX2VideoTransformer3DModel"})
        (folder / refiner / part / "diffusion_pytorch_model.safetensors").write_bytes(b"not for stage 1")


def _json(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values))
