"""A tiny refiner on disk, in the releases' layout or in Lightricks', sound and all."""

import json

import torch
from safetensors.torch import save_file

from sanawm_env.world.checkpoints.refiner.keys import from_raw
from tests.world.networks.refiner.refiner_models import CONFIG, CONNECTOR, connector, transformer

TRANSFORMER_JSON = {
    "_class_name": "LTX2VideoTransformer3DModel",
    "in_channels": CONFIG.channels,
    "out_channels": CONFIG.channels,
    "num_layers": CONFIG.layers,
    "num_attention_heads": CONFIG.heads,
    "attention_head_dim": CONFIG.head_dim,
    "cross_attention_dim": CONFIG.width,
    "caption_channels": CONFIG.caption_channels,
    "rope_type": "split",
    "audio_in_channels": 4,
}
CONNECTORS_JSON = {
    "_class_name": "LTX2TextConnectors",
    "caption_channels": CONNECTOR.channels,
    "text_proj_in_factor": CONNECTOR.states,
    "video_connector_num_attention_heads": CONNECTOR.heads,
    "video_connector_attention_head_dim": CONNECTOR.head_dim,
    "video_connector_num_layers": CONNECTOR.layers,
    "video_connector_num_learnable_registers": CONNECTOR.registers,
    "rope_type": "split",
}
SOUND = {"audio_proj_in.weight": torch.ones(2, 4), "transformer_blocks.0.audio_to_video_attn.to_q.bias": torch.ones(2)}
RAW = {
    "proj_in": "patchify_proj",
    "time_embed": "adaln_single",
    "norm_q": "q_norm",
    "norm_k": "k_norm",
    "video_connector": "video_embeddings_connector",
}


def states():
    return transformer().state_dict() | SOUND, connector().state_dict() | {"audio_connector.x": torch.ones(1)}


def write_stream(folder, **changes):
    """The releases' layout: `refiner_diffusers/` with `transformer/` (in two shards) and `connectors/`."""
    video, text = states()
    configs = {"transformer": TRANSFORMER_JSON, "connectors": CONNECTORS_JSON}
    for part, config in configs.items():
        place = folder / "refiner_diffusers" / part
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps(config | changes.get(part, {})))
    names = sorted(video)
    shards = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    place = folder / "refiner_diffusers" / "transformer"
    for file, held in shards.items():
        save_file({name: video[name].contiguous() for name in held}, place / file)
    index = {"weight_map": {name: file for file, held in shards.items() for name in held}}
    (place / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))
    save_file(text, folder / "refiner_diffusers" / "connectors" / "diffusion_pytorch_model.safetensors")
    return folder


def raw_name(name):
    if name.startswith("text_proj_in"):
        raw = name.replace("text_proj_in", "text_embedding_projection.aggregate_embed")
    else:
        parts = [RAW.get(part, part) for part in name.split(".")]
        if parts[0] == "video_embeddings_connector":
            parts = ["transformer_1d_blocks" if part == "transformer_blocks" else part for part in parts]
        raw = "model.diffusion_model." + ".".join(parts)
    assert from_raw(raw) == name
    return raw


def write_raw(path):
    """Lightricks' layout: one file, the sizes of a head in its header."""
    video, text = (part.state_dict() for part in (transformer(), connector()))
    about = {"attention_head_dim": CONFIG.head_dim, "connector_attention_head_dim": CONNECTOR.head_dim}
    sound = {"model.diffusion_model.audio_patchify_proj.weight": torch.ones(2, 4)}
    metadata = {"config": json.dumps({"transformer": about | {"rope_type": "split"}})}
    save_file({raw_name(name): value for name, value in {**video, **text}.items()} | sound, path, metadata)
    return path
