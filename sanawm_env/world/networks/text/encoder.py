"""Prompts to text embeddings: Gemma-2, run once per prompt, freed, and remembered on disk (docs/model.md, "Text").

The released models were trained on the hidden states of `gemma-2-2b-it` under a fixed instruction that is put
before the user's words. Which of the many positions reach the model is part of the recipe:

1. instruction + prompt are tokenised together, right padded to `len(instruction) + length - 2` tokens;
2. of the last hidden state, position 0 and the last `length - 1` positions are kept, and so is the mask.

`transformers` (extra `release`) is imported when a prompt is encoded that no file remembers, not before.
"""

from __future__ import annotations

import gc
import hashlib
import json
import warnings
from collections.abc import Iterable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sanawm_env.world.networks.text.cache import Entry, default_cache, entry_key, load_entry, store_entry

__all__ = ["INSTRUCTION_SHA256", "encode_prompts", "encoder_fingerprint", "release_instruction"]

INSTRUCTION_SHA256 = "62b9ab89eebb0ac5ee4d264bf96bf19d2b81f504bc3852500efeaf5a34d638b1"
"""Of the instruction that the released models were trained with, its lines joined by newlines."""
EXTRA = 'pip install "sanawm_env[release]"'
_PIECE = 1 << 16
_PIECES = 64


def encode_prompts(
    prompts: Sequence[str],
    folder: str | PathLike[str],
    *,
    tokenizer: str | PathLike[str] | None = None,
    length: int = 300,
    instruction: str | None = None,
    channels: int | None = None,
    multiple: int = 1,
    device: torch.device | str = "cpu",
    dtype: torch.dtype = torch.bfloat16,
    cache: str | PathLike[str] | None = None,
    use_cache: bool = True,
) -> tuple[Tensor, Tensor]:
    """Text conditioning for `WorldModel.start`.

    Each prompt is run by itself, so its embedding does not depend on its neighbours. The encoder is loaded once
    for all prompts that no cache file answers, and freed before this returns.

    Args:
        prompts: One per slot. A prompt that is too long is cut at its end, with a warning that quotes the rest.
        folder: Encoder and tokenizer as Hugging Face lays them out: `config.json`, `*.safetensors`,
            `tokenizer.json`, `tokenizer_config.json`.
        tokenizer: Folder of the tokenizer's two files, where they lie apart (diffusers' layout).
        length: Text tokens L of the model, `SanaWMConfig.text_length`.
        instruction: Put before every prompt; None is the release's, `""` is none (negative prompts have none).
        channels: Width that the model expects, checked before the encoder is loaded; None checks nothing.
        multiple: L is rounded up to a multiple of it with hidden positions (8 for NVFP4).
        device: Where the encoder runs. 5.2 GB in bfloat16 for the release's.
        dtype: Type of the encoder's weights.
        cache: Folder of remembered embeddings; None is `text_cache.default_cache()`.
        use_cache: Neither read nor write files if False.

    Returns:
        `(B, L, channels)` in `dtype` and `(B, L)` bool, on the CPU.

    Raises:
        FileNotFoundError: The folder or one of its files is missing.
        ImportError: transformers (or, for the release's instruction, diffusers) is not installed.
        MemoryError: The encoder does not fit on the device.
        TypeError: A prompt is not a string.
        ValueError: No Gemma-2, damaged or foreign weights, or a tokenizer that does not begin with `<bos>`.
    """
    if isinstance(prompts, str) or not all(isinstance(prompt, str) for prompt in prompts):
        raise TypeError("prompts must be a sequence of strings, one per slot; wrap a single one: [prompt].")
    if not prompts or length < 2 or multiple < 1:
        raise ValueError(
            f"need at least one prompt, length >= 2 and multiple >= 1; got {len(prompts)}, {length}, {multiple}."
        )
    folder = Path(folder)
    words = folder if tokenizer is None else Path(tokenizer)
    _check_folder(folder, words, channels)
    place = Path(cache) if cache is not None else default_cache()
    # The release's instruction is named by its hash: a remembered prompt needs neither diffusers nor transformers.
    name = INSTRUCTION_SHA256 if instruction is None else hashlib.sha256(instruction.encode()).hexdigest()
    recipe = {"encoder": encoder_fingerprint(folder, words), "instruction": name, "length": length, "dtype": str(dtype)}
    keys = {prompt: entry_key(recipe, prompt) for prompt in prompts}
    found: dict[str, Entry] = {}
    for prompt, key in keys.items():
        if use_cache and (entry := load_entry(place, key, length)) is not None:
            found[prompt] = entry
    if missing := [prompt for prompt in keys if prompt not in found]:
        text = release_instruction() if instruction is None else instruction
        for prompt, entry in zip(missing, _run(missing, folder, words, text, length, device, dtype), strict=True):
            found[prompt] = entry
            if use_cache:
                store_entry(place, keys[prompt], entry)
    for prompt in keys:
        if cut := found[prompt].cut:
            warnings.warn(
                f"prompt too long: the model reads {length} text tokens, so its end is left out: {cut!r}. Shorten it.",
                stacklevel=2,
            )
    values = torch.stack([found[prompt].values for prompt in prompts])
    mask = torch.stack([found[prompt].mask for prompt in prompts])
    pad = -length % multiple
    return torch.nn.functional.pad(values, (0, 0, 0, pad)), torch.nn.functional.pad(mask, (0, pad))


def release_instruction() -> str:
    """The instruction of the released models, as diffusers' pipeline ships it, checked against its known hash.

    Raises:
        ImportError: diffusers or transformers is not installed.
        ValueError: This diffusers has another text.
    """
    try:
        from diffusers.pipelines.sana_wm.pipeline_sana_wm import DEFAULT_CHI_PROMPT
    except ImportError as error:
        raise ImportError(
            f"the release's prompt instruction comes with diffusers and transformers: {EXTRA}; or pass instruction="
        ) from error
    text = "\n".join(DEFAULT_CHI_PROMPT)
    if hashlib.sha256(text.encode()).hexdigest() != INSTRUCTION_SHA256:
        raise ValueError(
            "this diffusers has another prompt instruction than the models were trained with; install the version "
            f"of the extra: {EXTRA}; or pass instruction= with the checkpoint's own chi_prompt."
        )
    return text


def encoder_fingerprint(folder: str | PathLike[str], tokenizer: str | PathLike[str] | None = None) -> str:
    """Hash that names an encoder folder: small files whole, of large ones the size and 64 pieces of 64 KiB.

    Reading all of the release's 5 GB would take longer than encoding a prompt.

    Args:
        folder: See `encode_prompts`.
        tokenizer: Likewise.
    """
    digest = hashlib.sha256()
    for path in sorted(_parts(Path(folder), Path(tokenizer or folder)), key=lambda path: path.name):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            if size <= _PIECE * _PIECES:
                digest.update(file.read())
                continue
            for i in range(_PIECES):
                file.seek(i * (size - _PIECE) // (_PIECES - 1))
                digest.update(file.read(_PIECE))
    return digest.hexdigest()


def _parts(folder: Path, tokenizer: Path) -> Iterable[Path]:
    """Files that decide about an embedding."""
    yield folder / "config.json"
    yield from (tokenizer / name for name in ("tokenizer.json", "tokenizer_config.json"))
    yield from folder.glob("*.safetensors")


def _check_folder(folder: Path, tokenizer: Path, channels: int | None) -> None:
    """Refuse a folder that is no Gemma-2 before gigabytes are read."""
    weights = list(folder.glob("*.safetensors"))
    missing = [path.name for path in _parts(folder, tokenizer) if not path.is_file()] + (
        [] if weights else ["*.safetensors"]
    )
    if missing:
        raise FileNotFoundError(
            f"the text encoder {str(folder)!r} lacks {', '.join(missing)}; give the folder of a complete download "
            "of gemma-2-2b-it (weights as safetensors, pickles are not read)."
        )
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        kind, width = config["model_type"], config["hidden_size"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / 'config.json'} is no model config ({error}); download it again.") from None
    if kind != "gemma2":
        raise ValueError(f"the text encoder in {folder} is a {kind!r}, SANA-WM reads 'gemma2'; give gemma-2-2b-it.")
    if channels is not None and width != channels:
        raise ValueError(
            f"the text encoder in {folder} is {width} wide, the world model expects {channels}; "
            "give the encoder that belongs to the checkpoint."
        )


def _run(
    prompts: Sequence[str],
    folder: Path,
    words: Path,
    instruction: str,
    length: int,
    device: torch.device | str,
    dtype: torch.dtype,
) -> list[Entry]:
    """Load the encoder, run every prompt, free the encoder."""
    tokenizer = _tokenizer(words)
    # The last token of the instruction stays in sight: position 0, that one and length - 2 of the user's.
    longest = len(tokenizer(instruction).input_ids) + length - 2 if instruction else length
    # The tokens are made first: a bad tokenizer must not cost a minute of loading.
    texts = [_tokens(tokenizer, instruction + prompt, longest) for prompt in prompts]
    model: Any = None
    entries = []
    try:
        model = _model(folder, device, dtype)
        with torch.inference_mode():
            for ids, mask, cut in texts:
                hidden = model(input_ids=ids.to(device), attention_mask=mask.to(device)).last_hidden_state[0].cpu()
                kept = torch.cat((hidden[:1], hidden[hidden.shape[0] - length + 1 :]))
                seen = torch.cat((mask[0, :1], mask[0, mask.shape[1] - length + 1 :])).bool()
                entries.append(Entry(kept.contiguous().clone(), seen.clone(), cut))
    except torch.OutOfMemoryError as error:
        raise MemoryError(
            f"the text encoder ({_weight_bytes(folder) / 1e9:.1f} GB of weights) does not fit on {device}; "
            f"encode on the CPU instead, device='cpu' ({str(error).splitlines()[0]})."
        ) from error
    finally:
        del model
        gc.collect()
        if torch.device(device).type == "cuda":
            torch.cuda.empty_cache()
    return entries


def _tokens(tokenizer: Any, text: str, longest: int) -> tuple[Tensor, Tensor, str]:
    """Ids and mask `(1, longest)`, right padded, and what of the text had to be left out."""
    whole = tokenizer(text, return_offsets_mapping=True)
    ids, offsets = whole.input_ids, whole.offset_mapping
    if not ids or ids[0] != tokenizer.bos_token_id:
        raise ValueError(
            "the text encoder's tokenizer does not begin a text with <bos>, which the model's first text position "
            "needs; download tokenizer.json and tokenizer_config.json again."
        )
    cut = text[offsets[longest][0] :] if len(ids) > longest else ""
    ids = ids[:longest]
    pad = longest - len(ids)
    mask = [1] * len(ids) + [0] * pad
    return torch.tensor([ids + [tokenizer.pad_token_id] * pad]), torch.tensor([mask]), cut


def _tokenizer(folder: Path) -> Any:
    try:
        from transformers import AutoTokenizer
    except ImportError as error:
        raise ImportError(f"encoding a prompt needs transformers: {EXTRA}") from error
    return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def _model(folder: Path, device: torch.device | str, dtype: torch.dtype) -> Any:
    from safetensors import SafetensorError
    from transformers import Gemma2Model

    load: Any = Gemma2Model.from_pretrained
    try:
        model, report = load(
            folder,
            local_files_only=True,
            use_safetensors=True,
            dtype=dtype,
            # Gemma-2 caps its attention logits, which torch's fused attention cannot.
            attn_implementation="eager",
            output_loading_info=True,
        )
    except (SafetensorError, OSError, RuntimeError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise ValueError(
            f"the weights of the text encoder in {folder} are damaged ({error}); download again."
        ) from error
    # transformers only logs these, and goes on with random numbers.
    wrong = sorted(map(str, [*report["missing_keys"], *report.get("mismatched_keys", ())]))
    if wrong:
        raise ValueError(
            f"the text encoder's weights in {folder} do not fit their config.json: {len(wrong)} tensors are "
            f"missing or of another shape, the first are {wrong[:3]}; download again."
        )
    return model.eval().to(device)


def _weight_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
