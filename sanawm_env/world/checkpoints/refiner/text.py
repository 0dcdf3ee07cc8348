"""Prompts to the refiner's text: Gemma-3, all of its hidden states, and the connectors (docs/model.md, "Refiner")."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sanawm_env.world.checkpoints.release.weights import read_json
from sanawm_env.world.networks.refiner.connectors import TextConnector, pack
from sanawm_env.world.networks.text.cache import Entry, default_cache, entry_key, load_entry, store_entry
from sanawm_env.world.networks.text.encoder import encoder_fingerprint

__all__ = ["LENGTH", "HiddenStates", "RefinerPrompts", "connect"]

LENGTH = 1024
"""Text tokens that the refiner reads."""
EXTRA = 'pip install "sanawm_env[release]"'


class HiddenStates:
    """A loaded Gemma-3; gives the hidden states of prompts."""

    def __init__(self, folder: Path, device: torch.device | str, dtype: torch.dtype) -> None:
        """Load it.

        Raises:
            ImportError: transformers is not installed.
            ValueError: No Gemma-3, or files that cannot be read.
        """
        try:
            from transformers import AutoTokenizer, Gemma3ForConditionalGeneration
        except ImportError as error:
            raise ImportError(f"encoding a prompt for the refiner needs transformers: {EXTRA}") from error
        load: Any = Gemma3ForConditionalGeneration.from_pretrained
        try:
            self.model = load(folder, dtype=dtype, local_files_only=True, use_safetensors=True).eval().to(device)
            self._tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise MemoryError(f"the refiner's text encoder does not fit on {device}; encode on the CPU.") from error
            raise ValueError(f"the text encoder in {folder} cannot be read ({error}); download it again.") from error

    @torch.inference_mode()
    def __call__(self, prompt: str, device: torch.device | str) -> tuple[Tensor, Tensor]:
        """States `(1, LENGTH, channels, layers + 1)` and mask `(1, LENGTH)` of a prompt, padded at the left."""
        inputs = self._tokenizer(
            [prompt.strip()], padding="max_length", padding_side="left", max_length=LENGTH, truncation=True,
            add_special_tokens=True, return_tensors="pt",
        )  # fmt: skip
        ids, mask = inputs.input_ids.to(device), inputs.attention_mask.to(device)
        states = self.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        return torch.stack(states, dim=-1), mask


@torch.inference_mode()
def connect(connectors: TextConnector, states: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Text `(1, LENGTH, channels)` of hidden states.

    Raises:
        ValueError: Of another encoder.
    """
    config = connectors.config
    if states.shape[2:] != (config.channels, config.states):
        raise ValueError(
            f"the text encoder gives {states.shape[3]} states of {states.shape[2]} channels, the refiner reads "
            f"{config.states} of {config.channels}; give Gemma-3 12B, the release's own."
        )
    return connectors(pack(states, mask).to(dtype), mask).to(dtype)


class RefinerPrompts:
    """Prompts of one refiner; remembered in memory and on disk."""

    def __init__(
        self, connectors: TextConnector, refiner: str, encoder: Path | None, device: torch.device, dtype: torch.dtype
    ) -> None:
        """Nothing is loaded before the first prompt.

        Args:
            connectors: Of the refiner.
            refiner: Hash of its weights.
            encoder: Folder of Gemma-3; None encodes nothing.
            device: Where the encoder runs.
            dtype: Of its weights, and of the text.
        """
        self._connectors, self._refiner, self._encoder = connectors, refiner, encoder
        self._device, self._dtype = device, dtype
        self._known: dict[str, Tensor] = {}

    def __call__(self, prompt: str) -> Tensor:
        """Text `(1, LENGTH, channels)` on the CPU.

        Raises:
            FileNotFoundError: There is no text encoder.
            ImportError, MemoryError, ValueError: See `HiddenStates`.
        """
        words = prompt.strip()
        if words not in self._known:
            self._known[words] = self._encode(words)
        return self._known[words]

    def _encode(self, words: str) -> Tensor:
        folder = self._encoder
        if folder is None:
            raise FileNotFoundError(
                "the refiner reads text, the empty prompt, too, and has no text encoder; give refiner={'text_encoder': "
                "folder of Gemma-3 12B} (gemma3_12b/ of Efficient-Large-Model/SANA-WM_streaming)."
            )
        if (kind := read_json(folder / "config.json").get("model_type")) != "gemma3":
            raise ValueError(
                f"the text encoder in {folder} is a {kind!r}, the refiner reads 'gemma3'; give Gemma-3 12B."
            )
        recipe = {"encoder": encoder_fingerprint(folder), "refiner": self._refiner, "dtype": str(self._dtype)}
        key, place = entry_key(recipe, words), default_cache()
        if (entry := load_entry(place, key, LENGTH)) is not None:
            return entry.values[None]
        encoder = HiddenStates(folder, self._device, self._dtype)
        try:
            states, mask = (part.cpu() for part in encoder(words, self._device))
        except torch.OutOfMemoryError as error:
            raise MemoryError(f"the refiner's text encoder does not fit on {self._device}.") from error
        finally:
            del encoder
            gc.collect()
            if self._device.type == "cuda":
                torch.cuda.empty_cache()
        text = connect(self._connectors, states, mask, self._dtype)
        store_entry(place, key, Entry(text[0], torch.ones(LENGTH, dtype=torch.bool), ""))
        return text
