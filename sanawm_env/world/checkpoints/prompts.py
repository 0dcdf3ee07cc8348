"""`Prompts`: what a prompt means to a world: text embeddings, or one warning that it has no effect."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

if TYPE_CHECKING:
    from sanawm_env.world.model import WorldModel

__all__ = ["Prompts", "Text"]

Text: TypeAlias = "tuple[Tensor, Tensor]"
"""Embeddings `(1, L, channels)` and mask `(1, L)` of one prompt."""


class Prompts:
    """Reads prompts for one world. An environment keeps the embeddings of those it has read.

    Args:
        model: The world.
        checkpoint: Name or folder that the world was loaded from; its text encoder may lie beside it. None where the
            world was given as an object.
        text_encoder: Folder of the text encoder; None looks beside the checkpoint, then on the Hub.
    """

    def __init__(self, model: WorldModel, checkpoint: str | Path | None, text_encoder: str | Path | None) -> None:
        """See the class."""
        config = model.config
        self._name, self._model = config.name, config.model
        self._device, self._dtype = model.device, model.dtype
        self._checkpoint, self._folder = checkpoint, text_encoder
        self._known: dict[str, Text] = {}
        self._warned = False
        if text_encoder is not None and not self._model.caption_channels:
            raise ValueError(f"checkpoint {self._name!r} was trained without text; leave text_encoder out.")

    def read(self, prompt: Any) -> Text | None:
        """The embedding of a prompt; None for a world without text.

        A world with text and no prompt gets the empty prompt.

        Raises:
            ValueError: No string.
            FileNotFoundError, ImportError, ConnectionError, MemoryError: See `model.text.encode_prompts` and
                `model.release_hub.fetch_text_encoder`.
        """
        if prompt is not None and not isinstance(prompt, str):
            raise ValueError(f"prompt must be a string; got {type(prompt).__name__}.")
        if not self._model.caption_channels:
            if prompt and not self._warned:
                warnings.warn(
                    f"the prompt has no effect: checkpoint {self._name!r} was trained without text.", stacklevel=5
                )
                self._warned = True
            return None
        words = prompt or ""
        if words not in self._known:
            self._known[words] = self._encode(words)
        return self._known[words]

    def _encode(self, words: str) -> Text:
        from sanawm_env.world.networks.text.encoder import encode_prompts

        model = self._model
        encoder, tokenizer = self.folders()
        return encode_prompts(
            [words],
            encoder,
            tokenizer=tokenizer,
            length=model.text_length,
            channels=model.caption_channels,
            device=self._device,
            dtype=self._dtype,
        )

    def folders(self) -> tuple[Path, Path]:
        """Folders of the encoder and of its tokenizer."""
        from sanawm_env.world.checkpoints.local import resolve
        from sanawm_env.world.checkpoints.release.files import text_encoder_folders
        from sanawm_env.world.checkpoints.release.hub import fetch_text_encoder, is_repo_id

        if self._folder is not None:
            return Path(self._folder), Path(self._folder)
        if self._checkpoint is not None:
            if found := text_encoder_folders(resolve(self._checkpoint)):
                return found
            if is_repo_id(str(self._checkpoint)) and not Path(self._checkpoint).exists():
                fetched = fetch_text_encoder()
                return fetched, fetched
        raise FileNotFoundError(
            f"checkpoint {self._name!r} is conditioned on text and no text encoder lies beside it; give "
            "text_encoder=folder of gemma-2-2b-it (the Hub has it as Efficient-Large-Model/gemma-2-2b-it)."
        )
