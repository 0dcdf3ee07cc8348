"""Text of scenes, for worlds that were trained with some."""

from __future__ import annotations

from pathlib import Path

from sanawm_env.world.checkpoints.prompts import Prompts, Text
from sanawm_env.world.model import WorldModel

__all__ = ["CAPTIONS", "Captions"]

CAPTIONS = {
    "room": "A furnished room with coloured walls.",
    "maze": "Corridors between coloured walls.",
    "outdoor": "Trees, houses and hills under an open sky.",
}
"""What scenes of each procedural family show."""


class Captions:
    """Texts as one world takes them: embeddings, each made once; none for a world without text."""

    def __init__(self, world: WorldModel, prompt: str | None = None, text_encoder: str | Path | None = None) -> None:
        """Nothing is encoded yet.

        Args:
            world: Who reads.
            prompt: Said of every scene; None is its family's caption.
            text_encoder: Folder of the text encoder; None looks beside the checkpoint, then on the Hub.

        Raises:
            ValueError: A prompt or a text encoder for a world without text.
        """
        self.reads = world.config.model.caption_channels > 0
        if prompt and not self.reads:
            raise ValueError(f"checkpoint {world.config.name!r} was trained without text; leave the prompt out.")
        self._prompts = Prompts(world, world.source, text_encoder)
        self.prompt, self.text_encoder = prompt, text_encoder

    def of(self, caption: str) -> list[Text] | None:
        """The text of one scene, as a list for `world.rollout`.

        Args:
            caption: A family's name, or other words; the prompt for every scene goes before.

        Raises:
            FileNotFoundError, ImportError, ConnectionError, MemoryError: There is no text encoder; see `Prompts.read`.
        """
        if not self.reads:
            return None
        text = self._prompts.read(self.words(caption))
        return None if text is None else [text]

    def words(self, caption: str) -> str:
        """The text itself; see `of`."""
        return self.prompt if self.prompt is not None else CAPTIONS.get(caption, caption)

    def key(self) -> dict[str, str | None]:
        """What results depend on; JSON-ready."""
        if not self.reads:
            return {}
        return {"prompt": self.prompt, "text_encoder": str(self.text_encoder) if self.text_encoder else None}
