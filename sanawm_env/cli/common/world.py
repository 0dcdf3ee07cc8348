"""Options of commands that walk through a world: which one, what it is told, and how it is stepped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from sanawm_env.registration import DEFAULT_CHECKPOINT

if TYPE_CHECKING:
    from sanawm_env.envs.env import SanaWMEnv
    from sanawm_env.world.checkpoints.prompts import Text
    from sanawm_env.world.model import WorldModel

__all__ = ["WorldOptions", "check_encoder"]


@dataclass(frozen=True)
class WorldOptions:
    """The world, and how it is stepped."""

    checkpoint: Annotated[str, tyro.conf.arg(aliases=["-c"])] = DEFAULT_CHECKPOINT
    """Built-in name, checkpoint folder or release; `untrained` is a small world of random weights, for tests."""
    prompt: str | None = None
    """What the world is to look like, for checkpoints that are conditioned on text."""
    text_encoder: Path | None = None
    """Folder of gemma-2-2b-it; otherwise beside the checkpoint, or from the Hub."""
    chunk_frames: int | None = None
    """Latent frames per step; the checkpoint's default otherwise."""
    steps: int | None = None
    """Sampler steps per chunk; the checkpoint's default otherwise."""
    device: str = "auto"
    """cpu, cuda, or auto."""
    dtype: str | None = None
    """float32 or bfloat16."""

    def env(self, **further: Any) -> SanaWMEnv:
        """Load the world as an environment, which resolves checkpoint, chunk and sampler exactly as `gym.make` would.

        Args:
            further: Other arguments of `SanaWMEnv`.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used.
        """
        from sanawm_env.envs.env import SanaWMEnv

        check_encoder(self.text_encoder)
        return SanaWMEnv(
            self.checkpoint,
            prompt=self.prompt,
            text_encoder=self.text_encoder,
            chunk_frames=self.chunk_frames,
            sampler_steps=self.steps,
            device=self.device,
            dtype=self.dtype,
            **further,
        )

    def texts(self, world: WorldModel) -> list[Text] | None:
        """The prompt of one path, as `world.rollout` takes it; errors: `Prompts.read`."""
        from sanawm_env.world.checkpoints.prompts import Prompts

        return Prompts(world, self.text_encoder).texts(self.prompt)


def check_encoder(folder: Path | None) -> None:
    """Refuse a text encoder that is not there, before a world is loaded.

    Raises:
        FileNotFoundError: No such folder.
    """
    if folder is not None and not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}; check the path of --text-encoder.")
