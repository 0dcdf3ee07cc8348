"""Which files of a folder make up a release: the layouts of the published repositories.

In short: docs/model.md, "Files of a release".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from sanawm_env.world.checkpoints.presets import VAE_REPO
from sanawm_env.world.checkpoints.release.weights import read_json, read_safetensors, read_torch, safetensors_files

__all__ = ["PATTERNS", "ReleaseFiles", "find_release", "is_release", "text_encoder_folders"]

Layout = Literal["streaming", "bidirectional", "chunk_causal", "diffusers"]

STREAMING_WEIGHTS = "sana_dit/model.pt"
CAUSAL_VAE, PLAIN_VAE = "ltx2_causal_vae", "vae"
PATTERNS = (
    STREAMING_WEIGHTS,
    "dit/*.safetensors",
    "transformer/*.safetensors",
    "transformer/*.json",
    *(f"{folder}/{kind}" for folder in (CAUSAL_VAE, PLAIN_VAE) for kind in ("*.json", "*.safetensors")),
    "model_index.json",
    "config.yaml",
    "sana_wm_*.yaml",
)
"""What stage 1 needs of any of the repositories; refiners and their text encoders are left alone."""


@dataclass(frozen=True)
class ReleaseFiles:
    """A release on disk. That the weights and the VAE are there is certain; what is in them is not."""

    folder: Path
    """The repository's root."""
    layout: Layout
    """Which of the published layouts."""
    weights: Path
    """The transformer's file, or the index of its shards."""
    vae: Path
    """Folder of a VAE whose decoder is causal, in diffusers' format."""
    settings: dict[str, Any]
    """The few facts that the release's own config states: `image_size`, `depth`, `sizes`, `streaming`."""

    @property
    def vae_weights(self) -> Path:
        """The VAE's file, or the index of its shards."""
        return diffusers_weights(self.vae)

    @property
    def weight_files(self) -> list[Path]:
        """Every file with weights, shards one by one."""
        first = [self.weights] if self.layout == "streaming" else safetensors_files(self.weights)
        return first + safetensors_files(self.vae_weights)

    def read_transformer(self) -> dict[str, Tensor]:
        """Views of the transformer's tensors, named as in the file; errors as `release_weights`."""
        return read_torch(self.weights) if self.layout == "streaming" else read_safetensors(self.weights)


def is_release(folder: Path) -> bool:
    """Whether a folder looks like a release, whole or in part: it has the transformer's place in some layout."""
    return any((folder / name).is_dir() for name in ("sana_dit", "dit")) or (
        (folder / "transformer").is_dir() and (folder / "model_index.json").is_file()
    )


def find_release(folder: Path, causal_vae: Callable[[], Path] | None = None) -> ReleaseFiles:
    """Find the files of a release.

    Args:
        folder: Root of a repository, or of a copy.
        causal_vae: Gives the folder of a causal VAE where the release itself has none.

    Raises:
        FileNotFoundError: A file is missing, as after a download that did not end.
        ValueError: Two candidates for the weights, a broken config, or no VAE that can stream.
    """
    if (folder / "sana_dit").is_dir():
        layout, weights = "streaming", folder / STREAMING_WEIGHTS
        configs = sorted(folder.glob("sana_wm_*.yaml"))
        settings = _read_yaml(configs[0]) if configs else {}
    elif (folder / "dit").is_dir():
        weights = _only(folder / "dit")
        settings = _read_yaml(folder / "config.yaml")
        causal = "ChunkCausal" in settings["attention"] if settings["attention"] else "chunk_causal" in weights.name
        layout = "chunk_causal" if causal else "bidirectional"
    elif (folder / "transformer").is_dir():
        layout, weights = "diffusers", diffusers_weights(folder / "transformer")
        settings = _read_diffusers(folder / "transformer" / "config.json")
    else:
        raise FileNotFoundError(
            f"{folder} has none of sana_dit/, dit/ and transformer/; give the root folder of a SANA-WM release."
        )
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} is missing; the download of {folder.name} is not complete: start it again.")
    vae = _find_vae(folder, causal_vae)
    return ReleaseFiles(folder, layout, weights, vae, settings)  # type: ignore[arg-type]


def text_encoder_folders(folder: Path) -> tuple[Path, Path] | None:
    """Gemma-2 and its tokenizer inside a release's folder, if they are there.

    The diffusers layout brings them (`text_encoder/`, `tokenizer/`); for the others put a copy of
    `release_layouts.TEXT_ENCODER` beside the rest, as `gemma-2-2b-it/`.

    Returns:
        Folders of the encoder and of the tokenizer, or None.
    """
    for encoder, tokenizer in (("text_encoder", "tokenizer"), ("gemma-2-2b-it", "gemma-2-2b-it")):
        if (folder / encoder / "config.json").is_file() and (folder / tokenizer).is_dir():
            return folder / encoder, folder / tokenizer
    return None


def diffusers_weights(folder: Path) -> Path:
    """The weights in a component's folder: the index if they are sharded, else the one file (which may be absent)."""
    index = folder / "diffusion_pytorch_model.safetensors.index.json"
    return index if index.is_file() else folder / "diffusion_pytorch_model.safetensors"


def _only(folder: Path) -> Path:
    found = sorted(folder.glob("*.safetensors"))
    if not found:
        raise FileNotFoundError(f"{folder} has no .safetensors file; the download is not complete: start it again.")
    if len(found) > 1:
        raise ValueError(f"{folder} has {len(found)} .safetensors files; leave the one that is to be loaded.")
    return found[0]


def _find_vae(folder: Path, causal_vae: Callable[[], Path] | None) -> Path:
    candidates = [folder / CAUSAL_VAE, folder / PLAIN_VAE]
    for vae in candidates:
        # diffusers leaves nothing out, and its class decodes causally where a config is silent.
        if (vae / "config.json").is_file() and read_json(vae / "config.json").get("decoder_causal", True):
            weights = diffusers_weights(vae)
            if weights.is_file():
                return weights.parent
            raise FileNotFoundError(f"{weights} is missing; the download is not complete: start it again.")
    if causal_vae is not None:
        return causal_vae()
    why = "the decoder in vae/ looks at later frames" if candidates[1].is_dir() else "it has none"
    raise ValueError(
        f"{folder} has no VAE that can stream: {why}; copy the folder {CAUSAL_VAE}/ of {VAE_REPO} into it."
    )


def _read_yaml(path: Path) -> dict[str, Any]:
    """The few facts we take from NVlabs' YAML; its other keys describe the sizes, which the weights tell."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing; the download is not complete: start it again.")
    try:
        import yaml
    except ImportError as error:
        raise ImportError(f'{path.name} is YAML, which needs PyYAML: pip install "sanawm_env[release]"') from error
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        model = values["model"]
        name, attention = str(model.get("model", "")), str(model.get("attn_type", ""))
        depth = re.search(r"_D(\d+)$", name)
        return {
            "image_size": model.get("image_size", 720),
            "depth": int(depth[1]) if depth else None,
            "attention": attention,
        }
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ValueError(f"{path} is no config of a SANA-WM; download it again.") from None


_DIFFUSERS_SIZES = {
    "num_layers": "depth",
    "hidden_size": "hidden_size",
    "linear_head_dim": "head_dim",
    "in_channels": "in_channels",
    "mlp_ratio": "mlp_ratio",
    "caption_channels": "caption_channels",
    "softmax_every_n": "softmax_every_n",
    "conv_kernel_size": "conv_kernel_size",
}


def _read_diffusers(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if "SanaW" not in str(values.get("_class_name")):
        raise ValueError(
            f"{path} describes a {values.get('_class_name')}; give a folder with SanaWMTransformer3DModel."
        )
    return {
        "image_size": values.get("image_size", 720),
        "sizes": {ours: values[theirs] for theirs, ours in _DIFFUSERS_SIZES.items() if theirs in values},
        # Not diffusers' own: community conversions of the streaming weights add it.
        "streaming": values.get("streaming", False),
    }
