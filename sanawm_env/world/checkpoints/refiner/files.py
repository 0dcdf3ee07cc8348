"""Which files make up stage 2."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sanawm_env.world.checkpoints.release.files import diffusers_weights
from sanawm_env.world.checkpoints.release.weights import safetensors_files

__all__ = ["StreamFiles", "find_stream", "has_weights", "refiner_root"]


@dataclass(frozen=True)
class StreamFiles:
    """A refiner on disk."""

    transformer: Path
    """Folder in diffusers' format, or the one file of Lightricks that holds all."""
    connectors: Path
    """Likewise; for Lightricks' file the same."""
    text_encoder: Path | None
    """Folder of Gemma-3; None where there is none."""

    @property
    def raw(self) -> bool:
        """Whether it is Lightricks' own file."""
        return self.transformer.is_file()

    @property
    def weights(self) -> list[Path]:
        """Every file with weights of the two networks."""
        if self.raw:
            return [self.transformer]
        return [f for part in (self.transformer, self.connectors) for f in safetensors_files(diffusers_weights(part))]


def refiner_root(folder: Path) -> tuple[Path, Path]:
    """The folder with the refiner's parts, and the repository's root, of either of them."""
    inside = [folder / name for name in ("refiner", "refiner_diffusers") if (folder / name).is_dir()]
    return (inside[0], folder) if inside else (folder, folder.parent)


def find_stream(folder: Path, text_encoder: Path | None = None) -> StreamFiles:
    """The refiner in a folder; its text encoder may be missing, since encoded prompts are remembered.

    Args:
        folder: A release, its folder `refiner/` or `refiner_diffusers/`, or a safetensors file of LTX-2.
        text_encoder: Of Gemma-3; None looks at the releases' places.

    Raises:
        FileNotFoundError: There is no whole refiner; says what is missing.
    """
    if text_encoder is not None and not has_weights(text_encoder):
        raise FileNotFoundError(
            f"{text_encoder} holds no text encoder (config.json and *.safetensors); give the folder of Gemma-3 12B."
        )
    if folder.is_file():
        return StreamFiles(folder, folder, text_encoder)
    refiner, root = refiner_root(folder)
    parts = {name: refiner / name for name in ("transformer", "connectors")}
    missing = [str(path) for path in parts.values() if not has_weights(path)]
    if missing:
        raise FileNotFoundError(
            f"{folder} has no whole refiner, it lacks {' and '.join(missing)}; download refiner_diffusers/ of "
            "Efficient-Large-Model/SANA-WM_streaming (hf download ... --include 'refiner_diffusers/*') and give that "
            "folder, or leave refiner out."
        )
    encoder = text_encoder
    if encoder is None:
        places = (refiner / "text_encoder", root / "gemma3_12b")
        encoder = next((place for place in places if has_weights(place)), None)
    return StreamFiles(**parts, text_encoder=encoder)


def has_weights(folder: Path) -> bool:
    """Whether a component of a release is there."""
    return (folder / "config.json").is_file() and any(folder.glob("*.safetensors"))
