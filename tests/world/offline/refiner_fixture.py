"""Stage 2 of the release at a tiny size, laid out as `SANA-WM_bidirectional` lays it out. No network."""


def write_refiner(folder):
    """`vae/` and `refiner/` with `transformer/`, `connectors/` and `text_encoder/` (Gemma-3 and its tokenizer)."""
    import torch
    from diffusers import SanaWMLTX2RefinerTransformer3DModel
    from diffusers.pipelines.ltx2.connectors import LTX2TextConnectors
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    from tests.world.checkpoints.release.release_fixtures import write_vae
    from tests.world.networks.text.text_fixtures import write_text_encoder

    torch.manual_seed(0)
    root = folder / "refiner"
    transformer = SanaWMLTX2RefinerTransformer3DModel(
        in_channels=8,
        out_channels=8,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        audio_in_channels=4,
        audio_out_channels=4,
        audio_num_attention_heads=2,
        audio_attention_head_dim=8,
        audio_cross_attention_dim=16,
        num_layers=2,
        caption_channels=16,
        rope_type="split",
    )
    for value in transformer.parameters():
        torch.nn.init.normal_(value, std=0.2)
    transformer.bfloat16().save_pretrained(root / "transformer")
    connectors = LTX2TextConnectors(
        caption_channels=16,
        text_proj_in_factor=3,
        video_connector_num_attention_heads=2,
        video_connector_attention_head_dim=8,
        video_connector_num_layers=1,
        video_connector_num_learnable_registers=8,
        audio_connector_num_attention_heads=2,
        audio_connector_attention_head_dim=8,
        audio_connector_num_layers=1,
        audio_connector_num_learnable_registers=8,
        rope_type="split",
    )
    connectors.bfloat16().save_pretrained(root / "connectors")
    words = write_text_encoder(root / "text_encoder")
    for path in [*words.glob("*.safetensors*"), words / "config.json"]:
        path.unlink()
    text = {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "vocab_size": 600,
        "query_pre_attn_scalar": 8,
    }
    vision = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 28,
        "patch_size": 14,
    }
    config = Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=599)
    Gemma3ForConditionalGeneration(config).bfloat16().save_pretrained(words)
    write_vae(folder / "vae", causal=False)
    return folder
