"""`WorldChoice`: the world that each process of a server loads."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sanawm_env.world.model import WorldModel

__all__ = ["WorldChoice"]


@dataclass(frozen=True)
class WorldChoice:
    """Arguments of `WorldModel.load`; picklable."""

    checkpoint: str
    """Name, folder or release."""
    device: str = "auto"
    dtype: str | None = None
    precision: str | None = None
    state_precision: str | None = None
    text_encoder: Path | None = None

    def load(self) -> WorldModel:
        """The world, which another thread than the caller's will step.

        Raises:
            FileNotFoundError, ValueError: It cannot be loaded as it is asked for, or lacks its text encoder.
        """
        from sanawm_env.world.accel.threads import aside

        return aside(self._load)

    def _load(self) -> WorldModel:
        from sanawm_env.world.checkpoints.prompts import Prompts
        from sanawm_env.world.model import WorldModel

        model = WorldModel.load(
            self.checkpoint, self.device, self.dtype, precision=self.precision, state_precision=self.state_precision,
            text_encoder=self.text_encoder,
        )  # fmt: skip
        if model.config.reads_text:
            Prompts(model).folders()  # no session could begin without a text encoder
        return model

    @property
    def loading(self) -> dict[str, Any]:
        """Arguments of `SanaWMEnv` that a replay of recorded episodes needs."""
        given = {"dtype": self.dtype, "precision": self.precision}
        return {name: value for name, value in given.items() if value is not None}
