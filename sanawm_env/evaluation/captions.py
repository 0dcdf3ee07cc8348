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
            text_encoder: Folder of the text encoder in place of the world's own, see `Prompts`.

        Raises:
            ValueError: A prompt or a text encoder for a world without text.
        """
        self._prompts = Prompts(world, text_encoder)
        self._prompts.check(prompt)
        self.reads, self.prompt, self.text_encoder = self._prompts.reads, prompt, text_encoder

    def of(self, caption: str) -> list[Text] | None:
        """The text of one scene, as `world.rollout` takes it.

        Args:
            caption: A family's name, or other words; the prompt for every scene goes before.

        Raises:
            FileNotFoundError, ImportError, ConnectionError, MemoryError: There is no text encoder; see `Prompts.read`.
        """
        return self._prompts.texts(self.words(caption)) if self.reads else None

    def words(self, caption: str) -> str:
        """The text itself; see `of`."""
        return self.prompt if self.prompt is not None else CAPTIONS.get(caption, caption)

    def key(self) -> dict[str, str | None]:
        """What results depend on; JSON-ready."""
        if not self.reads:
            return {}
        return {"prompt": self.prompt, "text_encoder": str(self.text_encoder) if self.text_encoder else None}
