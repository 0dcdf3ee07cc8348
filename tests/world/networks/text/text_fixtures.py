"""A tiny Gemma-2 with its tokenizer, laid out on disk as the release lays out `gemma-2-2b-it`. No network."""

import json
from pathlib import Path

WORDS = (
    "a wide road through a forest on a sunny day, tall trees and long shadows",
    "the room is bright, its floor is wood and a window looks out on the sea",
    "a quiet street in the rain at night; red and blue lights on wet stones",
)


def write_text_encoder(folder, *, hidden_size=16, seed=0, vocab_size=500):
    """Write `config.json`, two shards with their index, `tokenizer.json` and `tokenizer_config.json`.

    Args:
        folder: Made if absent.
        hidden_size: Width of the embeddings, the world model's `caption_channels`; even.
        seed: Of the random weights.
        vocab_size: At most so many tokens: 4 special ones, 256 bytes, the rest learnt from `WORDS`.

    Returns:
        The folder as a `Path`.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import Gemma2Config, Gemma2ForCausalLM

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    known = [*special, *(f"<0x{i:02X}>" for i in range(256))]
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=known, max_token_length=6, show_progress=False)
    tokenizer.train_from_iterator(WORDS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing("<bos> $A", "<bos> $A <bos> $B", [("<bos>", 2)])
    tokenizer.save(str(folder / "tokenizer.json"))
    names = dict(zip(("pad_token", "eos_token", "bos_token", "unk_token"), special, strict=True))
    settings = {"tokenizer_class": "GemmaTokenizer", "add_bos_token": True, "add_eos_token": False, **names}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))

    config = Gemma2Config(
        vocab_size=tokenizer.get_vocab_size() + 1,  # GemmaTokenizer adds <mask>
        hidden_size=hidden_size,
        intermediate_size=2 * hidden_size,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=8,
        query_pre_attn_scalar=8,
        max_position_embeddings=2048,
        sliding_window=512,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Gemma2ForCausalLM(config)
        for value in model.parameters():
            torch.nn.init.normal_(value, std=0.3)  # the default is so small that all prompts look alike
    half = sum(value.nbytes for value in model.parameters()) // 3
    model.bfloat16().save_pretrained(folder, max_shard_size=half)
    return folder
