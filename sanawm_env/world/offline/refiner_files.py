"""Files of stage 2: finished rollouts and the best of them, the refiner's parts, and the record of what was refined."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.files import replacing
from sanawm_env.video import VideoWriter
from sanawm_env.world.checkpoints.refiner.files import has_weights, refiner_root
from sanawm_env.world.checkpoints.release.hashing import cached_hash
from sanawm_env.world.offline.recipe import FORMAT, versions

__all__ = [
    "RefinedRecord",
    "RefinerFiles",
    "Rollout",
    "check_size",
    "choose",
    "find_refiner",
    "find_rollout",
    "finished",
    "record_of",
    "weights_hash",
    "write_refined",
]


_SIDE = 32
"""Of LTX-2's VAE where its settings do not say."""


@dataclass(frozen=True)
class Rollout:
    """A finished clip of `sanawm rollout` or `sanawm render`."""

    video: Path
    """Its mp4."""
    recipe: dict[str, Any]
    """The JSON beside it."""
    latents: Path | None
    """`<stem>_latents.safetensors` where `sanawm render --latents` left them; otherwise the video is encoded."""

    @property
    def source(self) -> Path:
        """What the refiner starts from."""
        return self.latents or self.video

    @property
    def files(self) -> list[Path]:
        """All of it on disk."""
        return [self.video, self.video.with_suffix(".json"), *([self.latents] if self.latents else [])]


@dataclass(frozen=True)
class RefinerFiles:
    """Folders of stage 2, all in diffusers' and transformers' formats."""

    transformer: Path
    """LTX-2 video transformer."""
    connectors: Path
    """LTX-2 text connectors."""
    text_encoder: Path
    """Gemma-3 with its tokenizer."""
    vae: Path
    """LTX-2 video VAE."""

    @property
    def bytes(self) -> dict[str, int]:
        """Size of the weights on disk, by part."""
        parts = asdict(self)
        return {name: sum(p.stat().st_size for p in folder.glob("*.safetensors")) for name, folder in parts.items()}


@dataclass(frozen=True)
class RefinedRecord:
    """What a refined video depends on; written last, so where it is the video is whole."""

    source: str
    """File that was refined."""
    source_sha256: str
    """Of that file."""
    refiner: str
    """Folder of the refiner's transformer."""
    prompt: str
    """Text."""
    seed: int
    """Of the noise."""
    frames: int
    """Frames written: without frame 0, which the refiner keeps only as its anchor."""


def find_rollout(path: Path) -> Rollout:
    """A rollout by its recipe or its video.

    Raises:
        FileNotFoundError: No such file, or recipe or video missing beside it.
        ValueError: The JSON is no recipe.
    """
    recipe, video = path.with_suffix(".json"), path.with_suffix(".mp4")
    for file in (recipe, video):
        if not file.is_file():
            raise FileNotFoundError(
                f"no {file}; a rollout is a video and its recipe side by side, as written by sanawm."
            )
    try:
        values = json.loads(recipe.read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise KeyError("format")
        values["fps"], values["frames"], values["height"], values["width"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"{recipe} is no recipe of a rollout; give the file that sanawm wrote beside a video."
        ) from None
    latents = path.with_name(f"{path.stem}_latents.safetensors")
    return Rollout(video, values, latents if latents.is_file() else None)


def choose(scores: Path, best: int, field: str, *, lowest: bool = False) -> list[Path]:
    """The best rollouts of a score file.

    Args:
        scores: JSON lines, each with `recipe` (or `video`), a path relative to the file, and the field.
        best: How many.
        field: Number to sort by.
        lowest: Small is good.

    Returns:
        Paths, best first; of equal scores the earlier line wins.

    Raises:
        FileNotFoundError: No such file.
        ValueError: A line without path or without a finite number in the field, or `best` outside 1..lines.
    """
    if not scores.is_file():
        raise FileNotFoundError(f"no score file {scores}; check the path.")
    found: list[tuple[float, Path]] = []
    for number, line in enumerate(scores.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            path, score = row.get("recipe") or row["video"], row[field]
            if isinstance(score, bool) or not np.isfinite(score):
                raise TypeError
            found.append((float(score), scores.parent / path))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise ValueError(
                f"line {number} of {scores} needs `recipe` or `video` and a finite number {field!r}; fix that line."
            ) from None
    if not 1 <= best <= len(found):
        raise ValueError(
            f"{scores} has {len(found)} rollouts, the best {best} are asked for; choose 1 to {len(found)}."
        )
    return [path for _, path in sorted(found, key=lambda pair: pair[0] if lowest else -pair[0])[:best]]


def find_refiner(folder: Path, text_encoder: Path | None = None, vae: Path | None = None) -> RefinerFiles:
    """The parts of stage 2 in a copy of SANA-WM_bidirectional or SANA-WM_streaming.

    Args:
        folder: Root of the repository, or its folder `refiner/` or `refiner_diffusers/`.
        text_encoder: Gemma-3; None looks at the releases' places.
        vae: None looks for `vae/` and `ltx2_causal_vae/`.

    Raises:
        FileNotFoundError: A part is missing; all of them are listed.
    """
    refiner, root = refiner_root(folder)
    encoders = [text_encoder] if text_encoder else [refiner / "text_encoder", root / "gemma3_12b"]
    vaes = [vae] if vae else [root / "vae", root / "ltx2_causal_vae"]
    candidates = {
        "transformer": [refiner / "transformer"],
        "connectors": [refiner / "connectors"],
        "text_encoder": encoders,
        "vae": vaes,
    }
    found = {name: next((p for p in places if has_weights(p)), None) for name, places in candidates.items()}
    missing = [f"{name} ({' or '.join(map(str, candidates[name]))})" for name, path in found.items() if path is None]
    if missing:
        raise FileNotFoundError(
            f"{folder} is no whole refiner, it lacks {', '.join(missing)}; download refiner/ and vae/ of "
            "Efficient-Large-Model/SANA-WM_bidirectional and give that folder."
        )
    return RefinerFiles(**{name: path for name, path in found.items() if path is not None})


def check_size(files: RefinerFiles, height: int, width: int) -> None:
    """Refuse frames that the refiner's VAE cannot take, before any is made.

    Raises:
        ValueError: A side is no multiple of the VAE's.
    """
    settings = json.loads((files.vae / "config.json").read_text(encoding="utf-8"))
    side = int(settings.get("spatial_compression_ratio") or _SIDE)
    if height % side or width % side:
        raise ValueError(
            f"the world's frames are {height}x{width}; the refiner takes sides that are multiples of {side} px. Choose "
            "another checkpoint, or leave the refiner out."
        )


def weights_hash(files: RefinerFiles) -> str:
    """16 hex digits of all weights and settings, read once for as long as the files stay as they are.

    They are tens of gigabytes, so that the first time takes as long as loading them.
    """
    found = [
        path
        for folder in asdict(files).values()
        for path in sorted([*folder.glob("*.safetensors"), *folder.glob("*.json")])
    ]

    def compute() -> str:
        digest = hashlib.sha256()
        for path in found:
            with path.open("rb") as file:
                digest.update(f"{path.parent.name}/{path.name}".encode() + hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()[:16]

    return cached_hash(found, {"what": "refiner"}, compute)


def finished(out: Path, record: RefinedRecord) -> bool:
    """Whether `out` and its record are there and made from the same things."""
    path = out.with_suffix(".json")
    if not (out.is_file() and path.is_file()):
        return False
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return all(values.get(name) == value for name, value in asdict(record).items())
    except (ValueError, AttributeError):
        return False


def record_of(rollout: Rollout, files: RefinerFiles, prompt: str, seed: int) -> RefinedRecord:
    """What the refined video of a rollout will depend on."""
    digest = hashlib.sha256(rollout.source.read_bytes()).hexdigest()
    frames = int(rollout.recipe["frames"]) - 1
    return RefinedRecord(rollout.source.name, digest, str(files.transformer.absolute()), prompt, seed, frames)


def write_refined(frames: NDArray[np.uint8], out: Path, fps: float, record: RefinedRecord) -> None:
    """Write a refined video and its record: both, or neither and the older ones stay."""
    path = out.with_suffix(".json")
    about = {"format": "sanawm_env.refined", "version": 1} | asdict(record) | {"versions": versions()}
    with replacing(path) as temporary:  # outside: it moves last, see `finished`
        temporary.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        with VideoWriter(out, fps) as video:
            video.write(frames)
            video.finish()
            path.unlink(missing_ok=True)  # of other settings; the video is not its any more
