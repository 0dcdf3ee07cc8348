"""Reading the released SANA-WM weights from a folder in any of the published layouts.

    SANA-WM_streaming           sana_dit/model.pt (pickled training state), ltx2_causal_vae/
    SANA-WM_bidirectional       dit/sana_wm_1600m_720p.safetensors, config.yaml, vae/
    SANA-WM_chunk_causal        dit/sana_wm_chunk_causal_1600m_720p.safetensors, config.yaml
    ..._bidirectional-diffusers model_index.json, transformer/, vae/, text_encoder/, tokenizer/

What comes back are views of the files; `checkpoint.load_modules` copies them to the device one tensor at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sanawm_env.world.checkpoints.presets import PRESETS, Preset
from sanawm_env.world.checkpoints.release.files import ReleaseFiles, find_release
from sanawm_env.world.checkpoints.release.hashing import cached_hash
from sanawm_env.world.checkpoints.release.hub import fetch_causal_vae, revision_of
from sanawm_env.world.checkpoints.release.keys import our_names, read_by_model, sizes_of
from sanawm_env.world.checkpoints.release.weights import read_json, read_safetensors
from sanawm_env.world.checkpoints.weights import audit, build_modules, hashed_settings, weights_hash
from sanawm_env.world.config import WorldConfig
from sanawm_env.world.networks.vae.ltx_config import LTXVAEConfig

__all__ = ["ReleaseWeights", "read_release"]

MEND = "Use the files of one release, all of the same revision."


@dataclass(frozen=True)
class ReleaseWeights:
    """A release whose every tensor has been checked by name and shape, none of them copied."""

    config: WorldConfig
    """The world; its name tells repository and commit where they are known."""
    model_state: dict[str, Tensor]
    """Views of the transformer's weights, named as ours, in their stored type."""
    vae_state: dict[str, Tensor]
    """Views of the VAE's weights."""
    preset: Preset
    """How the weights are run."""
    files: ReleaseFiles
    """Where they are."""

    @property
    def notice(self) -> str | None:
        """What somebody should know who steps this world, if anything."""
        sees = {"bidirectional": "a whole clip at once", "chunk_causal": "all earlier chunks"}
        if self.preset.trained_for == "streaming":
            return None
        return (
            f"{self.config.name} was trained to see {sees[self.preset.trained_for]}; stepped chunk by chunk it is "
            "outside its training, and slow with its many sampler steps: SANA-WM_streaming is made for stepping."
        )

    def hash(self) -> str:
        """`weights_hash` of the tensors in use, as for any checkpoint; remembered by path, size and time."""
        # Without the name, which holds the revision: a copy of the same files is the same checkpoint.
        values = hashed_settings(self.config.replace(name=self.preset.name).to_dict())
        return cached_hash(
            self.files.weight_files, values, lambda: weights_hash(values, self.model_state, self.vae_state)
        )


def read_release(folder: str | Path, preset: str | None = None) -> ReleaseWeights:
    """Open a release and check everything about it that can be checked without reading the weights' values.

    Args:
        folder: Root of a repository, or of a copy; see `release_files`.
        preset: Name in `release_layouts.PRESETS`; None is the layout's own.

    Raises:
        FileNotFoundError: A file is missing, as after a download that did not end.
        ImportError: The extra `release` is not installed.
        ValueError: A damaged, foreign or hostile file, tensors that do not fit, or an unknown preset.
        ConnectionError: See `release_hub.fetch`; only for snapshots of the Hub without a causal VAE.
    """
    folder = Path(folder)
    if preset is not None and preset not in PRESETS:
        raise ValueError(f"there is no preset {preset!r}; known presets: {', '.join(PRESETS)}.")
    # Only what came from the Hub fetches the rest there: a local folder never opens a connection.
    files = find_release(folder, fetch_causal_vae if folder.absolute().parent.name == "snapshots" else None)
    chosen = PRESETS[preset or _own_preset(files)]
    what = str(files.weights)
    try:
        state = our_names(files.read_transformer())
        sizes = sizes_of({name: tuple(value.shape) for name, value in state.items()})
    except ValueError as error:
        raise ValueError(str(error) if what in str(error) else f"{what}: {error}") from None
    config = _config(files, chosen, sizes)
    vae_state = read_safetensors(files.vae_weights)
    transformer, vae = build_modules(config, "meta")
    state = read_by_model(config.model, state)
    audit(transformer, state, what, MEND)
    audit(vae, vae_state, str(files.vae_weights), MEND)
    origin = revision_of(folder) or folder.absolute().name
    return ReleaseWeights(config.replace(name=f"{origin} ({chosen.name})"), state, vae_state, chosen, files)


def _own_preset(files: ReleaseFiles) -> str:
    if files.layout == "diffusers":
        return "streaming" if files.settings["streaming"] else "bidirectional-diffusers"
    return files.layout


def _config(files: ReleaseFiles, preset: Preset, sizes: Mapping[str, Any]) -> WorldConfig:
    settings = files.settings
    stated = dict(settings.get("sizes", {}))
    if settings.get("depth"):
        stated["depth"] = settings["depth"]
    vae = {name: value for name, value in read_json(files.vae / "config.json").items() if not name.startswith("_")}
    try:
        LTXVAEConfig.from_dict(vae)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{files.vae / 'config.json'}: {error}") from None
    try:
        return preset.config({**sizes, **stated}, settings.get("image_size", 720), vae)
    except (TypeError, ValueError) as error:
        raise ValueError(f"the config in {files.folder} makes no world: {error} {MEND}") from None
