"""Checkpoint folders: what is in them, how they are found, and strict loading.

    config.json          format, version and the `WorldConfig`
    model.safetensors    weights of the transformer
    vae.safetensors      weights of the video autoencoder
    README.md            model card

A checkpoint that differs from another in its settings alone holds no weights; its config.json names the other's folder,
relative to its own, as `weights`.

The published SANA-WM releases have other layouts, which `release` reads. No pickle is ever opened but the
streaming release's own, and that with `weights_only=True`. Every tensor's name and shape is checked against the
config before it is used.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sanawm_env.files import replacing, save_tensors, write_text
from sanawm_env.world.checkpoints.adapters import is_adapter, read_adapter
from sanawm_env.world.checkpoints.weights import CheckpointError, State, audit, build_modules, weights_hash
from sanawm_env.world.config import WorldConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer

__all__ = [
    "Modules",
    "audit",
    "build_modules",
    "builtin_checkpoints",
    "load_checkpoint",
    "load_modules",
    "located",
    "resolve",
    "save_checkpoint",
    "weights_hash",
]

FORMAT = "sanawm_env.checkpoint"
VERSION = 1
CONFIG, MODEL, VAE, CARD = "config.json", "model.safetensors", "vae.safetensors", "README.md"
BUILTIN = Path(__file__).resolve().parent
PICKLES = {".pt", ".pth", ".ckpt", ".bin", ".pkl", ".pickle"}


def builtin_checkpoints() -> list[str]:
    """Names of the checkpoints that ship in the package."""
    return sorted(path.parent.name for path in BUILTIN.glob(f"*/{CONFIG}"))


class Modules(NamedTuple):
    """A loaded checkpoint."""

    config: WorldConfig
    """The world."""
    transformer: SanaWMTransformer
    """On its device, in its type, in eval mode."""
    vae: nn.Module
    """The same for the video autoencoder."""
    checkpoint: str
    """Hash of config and weights; it does not depend on the type they are loaded in."""
    notice: str | None
    """What somebody should know who steps this world, if anything."""


def resolve(name_or_path: str | Path) -> Path:
    """Find a checkpoint folder, downloading a repository of the Hub if that is what is named.

    Args:
        name_or_path: Name of a built-in checkpoint such as `tiny`, path of a folder, or a repository such as
            `Efficient-Large-Model/SANA-WM_streaming`, with `@` and a revision if wanted. What exists on disk
            goes before the Hub, and where only the first part of `first/second` does, a path is taken to be
            mistyped: `hf://first/second` always means the Hub.

    Returns:
        The folder; that it holds a `config.json`, or is a SANA-WM release, is certain. Of an adapter's folder that of
        the checkpoint that it was trained on.

    Raises:
        FileNotFoundError: Neither a built-in name, nor a checkpoint folder, nor a repository.
        ValueError: A file, most likely a pickle or loose weights.
        ImportError, PermissionError, ConnectionError: See `release_hub.fetch`.
    """
    from sanawm_env.world.checkpoints.release.files import is_release
    from sanawm_env.world.checkpoints.release.hub import fetch, is_repo_id

    path = Path(name_or_path)
    names = builtin_checkpoints()
    if str(name_or_path) in names:
        return BUILTIN / str(name_or_path)
    if path.is_file():
        what = "a pickle, which is never opened" if path.suffix.lower() in PICKLES else "a single file"
        raise CheckpointError(
            f"{path} is {what}; give a checkpoint folder with {CONFIG}, {MODEL} and {VAE}, "
            "or the root folder of a SANA-WM release."
        )
    if path.is_dir():
        if (path / CONFIG).is_file() or is_release(path):
            return path
        if is_adapter(path):
            return resolve(read_adapter(path).base)
        problem = f"the folder has no {CONFIG}, and is no SANA-WM release"
        if (path / "checkpoint" / CONFIG).is_file():
            problem += f" (a training run? Then name {path / 'checkpoint'})"
    elif isinstance(name_or_path, str) and (beside := _folder_of(name_or_path)):
        problem = (
            f"there is no such folder in {beside}, which lies here, so that the Hub was not asked; for a repository "
            f"of that name write hf://{name_or_path}"
        )
    elif isinstance(name_or_path, str) and is_repo_id(name_or_path):
        folder = fetch(name_or_path)
        if is_release(folder):
            return folder
        problem = "the repository holds no SANA-WM release"
    else:
        problem = "there is no such folder or name"
    raise FileNotFoundError(
        f"checkpoint {str(name_or_path)!r}: {problem}. Built-in names: {', '.join(names) or 'none'}; "
        f"or give a folder with {CONFIG}, {MODEL} and {VAE}, or a release such as "
        "Efficient-Large-Model/SANA-WM_streaming."
    )


def located(name_or_path: str | Path) -> str | Path:
    """A checkpoint's name as it is, a folder with its whole path: what finds it again from another working folder."""
    path = Path(name_or_path)
    return path.absolute() if path.is_dir() and str(name_or_path) not in builtin_checkpoints() else name_or_path


def load_modules(
    folder: str | Path,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    *,
    preset: str | None = None,
) -> Modules:
    """Load a checkpoint of any layout, ready to run.

    A release goes from its files to the device tensor by tensor, so memory holds one whole copy at most.

    Args:
        folder: As returned by `resolve`.
        device: Where the weights go.
        dtype: Floating type of the weights; None is float32, and bfloat16 for a release.
        preset: How to run a release, a name in `release_layouts.PRESETS`; None is the layout's own.

    Raises:
        FileNotFoundError, ValueError: See `load_checkpoint` and `release.read_release`.
        ImportError: A release, without the extra `release`.
    """
    from sanawm_env.world.checkpoints.release.files import is_release

    if not is_release(Path(folder)):
        if preset is not None:
            raise CheckpointError(f"presets belong to the SANA-WM releases, {folder} is none; leave preset out.")
        config, model_state, vae_state, key = load_checkpoint(folder, dtype or torch.float32)
        transformer, vae = build_modules(config, "meta")
        transformer.load_state_dict(model_state, assign=True)
        vae.load_state_dict(vae_state, assign=True)
        return Modules(config, transformer.to(device), vae.to(device), key, None)

    from sanawm_env.world.checkpoints.release.load import read_release

    release = read_release(folder, preset)
    transformer, vae = build_modules(release.config, "meta")
    for module, state in ((transformer, release.model_state), (vae, release.vae_state)):
        _fill(module, state, device, dtype or torch.bfloat16)
    return Modules(release.config, transformer, vae, release.hash(), release.notice)


def load_checkpoint(
    folder: str | Path, dtype: torch.dtype | None = torch.float32
) -> tuple[WorldConfig, State, State, str]:
    """Read a checkpoint folder, checking everything.

    Args:
        folder: As returned by `resolve`, a release's too.
        dtype: Floating type of the answer; None keeps the stored one.

    Returns:
        The config, the transformer's and the autoencoder's weights on the CPU, and the checkpoint hash.

    Raises:
        FileNotFoundError: A file of the folder is missing.
        ValueError: A broken, foreign or pickled file, another format version, or weights that do not fit the
            config.
    """
    from sanawm_env.world.checkpoints.release.files import is_release

    folder = Path(folder)
    if is_release(folder):
        from sanawm_env.world.checkpoints.release.load import read_release

        release = read_release(folder)
        copies = ({k: _copy(v, "cpu", dtype) for k, v in s.items()} for s in (release.model_state, release.vae_state))
        return release.config, *copies, release.hash()  # type: ignore[return-value]
    values, weights = _read_config(folder / CONFIG)
    try:
        config = WorldConfig.from_dict(values)
    except (TypeError, ValueError, KeyError) as error:
        raise CheckpointError(f"{folder / CONFIG}: {error}") from None
    states = {name: _read_weights(weights / name) for name in (MODEL, VAE)}
    for name, module in zip((MODEL, VAE), build_modules(config, "meta"), strict=True):
        audit(module, states[name], str(weights / name))
    key = weights_hash(values, states[MODEL], states[VAE])
    return config, _cast(states[MODEL], dtype), _cast(states[VAE], dtype), key


def save_checkpoint(
    folder: str | Path,
    config: WorldConfig,
    model_state: Mapping[str, Tensor],
    vae_state: Mapping[str, Tensor],
    *,
    dtype: torch.dtype | None = torch.float16,
    card: str | None = None,
) -> str:
    """Write a checkpoint folder; each file is replaced as a whole, `config.json` last.

    Args:
        folder: Made if absent.
        config: The world.
        model_state: `state_dict()` of the transformer.
        vae_state: `state_dict()` of the autoencoder.
        dtype: Floating type in the files; None keeps each tensor's.
        card: Text of the model card; None leaves an existing `README.md`, or writes a short one.

    Returns:
        The checkpoint hash, which `load_checkpoint` will report for this folder.

    Raises:
        ValueError: Weights that do not fit the config, or that are not finite in `dtype`.
    """
    folder = Path(folder)
    states: dict[str, State] = {}
    for name, module, state in zip((MODEL, VAE), build_modules(config, "meta"), (model_state, vae_state), strict=True):
        audit(module, state, name)
        states[name] = {key: value.detach().cpu() for key, value in _cast(state, dtype).items()}
        bad = sorted(key for key, value in states[name].items() if not _finite(value))
        if bad:
            raise CheckpointError(
                f"{name}: {len(bad)} tensors are not finite as {dtype}, the first are {bad[:3]}; "
                "store bfloat16 or float32 instead, or take weights from before the divergence."
            )
    values = config.to_dict()
    if card is None and not (folder / CARD).exists():
        card = f"# {config.name}\n\nA sanawm_env world of {config.height}x{config.width} px.\n"
    with replacing(folder / CONFIG) as settings:  # begun first, so moved last
        text = json.dumps({"format": FORMAT, "version": VERSION, "world": values}, indent=2) + "\n"
        settings.write_text(text, encoding="utf-8")
        for name, state in states.items():
            save_tensors(folder / name, state, {"format": "pt"})
        if card is not None:
            write_text(folder / CARD, card)
    return weights_hash(values, states[MODEL], states[VAE])


def _folder_of(name: str) -> Path | None:
    """The folder that a name of the form `folder/name` is most likely mistyped in; None if it means the Hub."""
    from sanawm_env.world.checkpoints.presets import RELEASES
    from sanawm_env.world.checkpoints.release.hub import is_repo_id

    if name.startswith("hf://") or not is_repo_id(name) or name.partition("@")[0] in RELEASES:
        return None
    folder = Path(name).parts[0]
    return Path(folder) if Path(folder).is_dir() else None


def _read_config(path: Path) -> tuple[dict[str, Any], Path]:
    """The world of a `config.json`, and the folder where its weights lie."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise _missing(path) from None
    except ValueError as error:  # broken JSON or not UTF-8
        raise CheckpointError(f"{path} is not JSON ({error}); download or save the checkpoint again.") from None
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no sanawm_env checkpoint config; give a folder made by save_checkpoint.")
    if values.get("version") != VERSION or not isinstance(values.get("world"), dict):
        raise CheckpointError(
            f"{path} has checkpoint format version {values.get('version')!r}, this sanawm_env reads "
            f"{VERSION}; update sanawm_env."
        )
    weights = values.get("weights", ".")
    if not isinstance(weights, str):
        raise CheckpointError(f"{path} names {weights!r} as its weights; name the folder that holds them.")
    return values["world"], path.parent / weights


def _read_weights(path: Path) -> State:
    if not path.is_file():
        raise _missing(path)
    try:
        # Clones lie aligned in memory. A tensor of the file starts at any 8th byte, where MKL's matrix times
        # vector rounds differently: a loaded world would not replay the world that was saved.
        return {name: value.clone() for name, value in load_file(path).items()}
    except SafetensorError as error:
        with path.open("rb") as file:
            magic = file.read(4)
        if magic.startswith((b"PK\x03\x04", b"\x80")):
            raise CheckpointError(
                f"{path} is a pickle in spite of its name, which is never opened; convert it to safetensors "
                "where you trust it."
            ) from None
        raise CheckpointError(
            f"{path} is not a whole safetensors file ({error}); it is truncated or of another kind. "
            "Download or save the checkpoint again."
        ) from None


def _missing(path: Path) -> FileNotFoundError:
    return FileNotFoundError(f"{path} is missing; a checkpoint folder holds {CONFIG}, {MODEL} and {VAE}.")


def _fill(module: nn.Module, state: Mapping[str, Tensor], device: torch.device | str, dtype: torch.dtype) -> None:
    """Give a module on the meta device copies of audited weights, made one at a time."""
    # In the module's order, so that two layouts of the same weights give the same module.
    copies = {name: _copy(state[name], device, dtype) for name in module.state_dict()}
    module.load_state_dict(copies, assign=True)


def _copy(value: Tensor, device: torch.device | str, dtype: torch.dtype | None) -> Tensor:
    """A copy of a view of a file; like a clone it lies aligned, see `_read_weights`."""
    kept = value.dtype if dtype is None or not value.is_floating_point() else dtype
    return torch.empty(value.shape, dtype=kept, device=device).copy_(value)


def _cast(state: Mapping[str, Tensor], dtype: torch.dtype | None) -> State:
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in state.items()}


def _finite(value: Tensor) -> bool:
    return not value.is_floating_point() or bool(torch.isfinite(value).all())
