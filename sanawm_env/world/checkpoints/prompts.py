"""`Prompts`: from the words of a prompt to what a world with text takes; a world without text takes no prompt."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

if TYPE_CHECKING:
    from sanawm_env.world.model import WorldModel

__all__ = ["Prompts", "Text", "takes_prompts"]

Text: TypeAlias = "tuple[Tensor, Tensor]"
"""Embeddings `(1, L, channels)` and mask `(1, L)` of one prompt."""


def takes_prompts(world: WorldModel) -> bool:
    """Whether a prompt has an effect: on the world itself, or on its refiner."""
    return world.config.reads_text or world.refiner is not None


class Prompts:
    """Reads prompts for one world, each of them once.

    The text encoder is looked for in `text_encoder`, in `WorldModel.text_encoder`, beside the checkpoint that the world
    was loaded from, and for a checkpoint of the Hub there, in this order.
    """

    def __init__(self, world: WorldModel, text_encoder: str | Path | None = None) -> None:
        """Encode nothing yet.

        Args:
            world: Who reads.
            text_encoder: Folder of `gemma-2-2b-it` in place of the world's own.

        Raises:
            ValueError: A text encoder for a world without text.
        """
        self.reads = world.config.reads_text
        """Whether the world's first stage is conditioned on text."""
        self._takes = takes_prompts(world)
        self._name, self._model = world.config.name, world.config.model
        self._device, self._dtype, self._source = world.device, world.dtype, world.source
        given = world.text_encoder if text_encoder is None else text_encoder
        self._folder = None if given is None else Path(given).absolute()
        self._known: dict[str, Text] = {}
        if self._folder is not None and not self.reads:
            raise ValueError(f"checkpoint {self._name!r} was trained without text; leave text_encoder out.")

    def check(self, prompt: Any) -> None:
        """Refuse what can be no prompt of this world, before anything is encoded.

        Raises:
            ValueError: No string, or words for a world without text and refiner, where they would have no effect.
        """
        if prompt is not None and not isinstance(prompt, str):
            raise ValueError(f"prompt must be a string; got {type(prompt).__name__}.")
        if prompt and not self._takes:
            raise ValueError(
                f"checkpoint {self._name!r} was trained without text, a prompt would have no effect; leave the prompt "
                "out, or load a world with text such as Efficient-Large-Model/SANA-WM_streaming."
            )

    def read(self, prompt: str | None) -> Text | None:
        """The embedding of a prompt; None for a world without text.

        A world with text and no prompt gets the empty prompt.

        Raises:
            ValueError: See `check`.
            FileNotFoundError, ImportError, ConnectionError, MemoryError: There is no text encoder, or it cannot run;
                see `networks.text.encoder.encode_prompts` and `checkpoints.release.hub.fetch_text_encoder`.
        """
        self.check(prompt)
        if not self.reads:
            return None
        words = prompt or ""
        if words not in self._known:
            self._known[words] = self._encode(words)
        return self._known[words]

    def texts(self, *prompts: str | None) -> list[Text] | None:
        """One text for each path, as `world.rollout` takes them; None for a world without text. Errors: `read`."""
        found = [self.read(prompt) for prompt in prompts]
        return [text for text in found if text is not None] or None

    def _encode(self, words: str) -> Text:
        from sanawm_env.world.networks.text.encoder import encode_prompts

        encoder, tokenizer = self.folders()
        return encode_prompts(
            [words],
            encoder,
            tokenizer=tokenizer,
            length=self._model.text_length,
            channels=self._model.caption_channels,
            device=self._device,
            dtype=self._dtype,
        )

    def folders(self) -> tuple[Path, Path]:
        """Folders of the encoder and of its tokenizer.

        Raises:
            FileNotFoundError: There are none.
            ImportError, ConnectionError: See `checkpoints.release.hub.fetch_text_encoder`.
        """
        from sanawm_env.world.checkpoints.local import resolve
        from sanawm_env.world.checkpoints.release.files import text_encoder_folders
        from sanawm_env.world.checkpoints.release.hub import fetch_text_encoder, is_repo_id

        if self._folder is not None:
            return self._folder, self._folder
        if self._source is not None:
            if found := text_encoder_folders(resolve(self._source)):
                return found
            if is_repo_id(str(self._source)) and not Path(self._source).exists():
                fetched = fetch_text_encoder()
                return fetched, fetched
        raise FileNotFoundError(
            f"checkpoint {self._name!r} is conditioned on text and no text encoder lies beside it; give "
            "text_encoder=folder of gemma-2-2b-it (the Hub has it as Efficient-Large-Model/gemma-2-2b-it)."
        )
