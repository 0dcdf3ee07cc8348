"""LoRA adapters: low-rank updates of a transformer's weights, kept in files beside a checkpoint that stays as it is.

    adapter_config.json         as peft writes it: rank, scale, layers
    adapter_model.safetensors   the two factors of every layer, under peft's names
    sanawm_adapter.json         its name, and the checkpoint that it was trained on, with its hash

Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models". peft (extra `lora`) is imported when an adapter is
used, not before.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from sanawm_env.files import save_tensors, write_json
from sanawm_env.world.checkpoints.weights import CheckpointError
from sanawm_env.world.networks.layers import PointwiseLinear
from sanawm_env.world.networks.transformer import SanaWMTransformer

if TYPE_CHECKING:
    from sanawm_env.world.checkpoints.local import Modules

__all__ = ["Adapter", "LoraSettings", "add_lora", "apply_adapter", "is_adapter", "merge_lora", "read_adapter",
           "save_adapter"]  # fmt: skip

PEFT, WEIGHTS, ABOUT = "adapter_config.json", "adapter_model.safetensors", "sanawm_adapter.json"
PREFIX = "base_model.model."
"""What peft puts before the names of layers in its files."""
ATTENTION = (
    r"attn\.(qkv|proj|output_gate|[qkv]_proj_cam|out_proj_cam)",
    r"cross_attn\.(q_linear|kv_linear|proj)",
)
FEED_FORWARD = (r"mlp\.(inverted_conv|point_conv)\.conv",)


@dataclass(frozen=True)
class LoraSettings:
    """Which layers get an update, and of what rank."""

    rank: int = 32
    """Of every update."""
    alpha: float = 32.0
    """The update counts alpha / rank times."""
    layers: Literal["attention", "feed_forward", "both"] = "both"
    """Products of self- and text attention, with the camera's; the feed-forward layer's two 1x1 products; or all."""

    def __post_init__(self) -> None:
        if self.rank < 1 or not self.alpha > 0:
            raise ValueError(f"rank and alpha must be positive; got {self.rank} and {self.alpha}.")

    @property
    def target(self) -> str:
        """Regular expression over names of modules."""
        parts = {"attention": ATTENTION, "feed_forward": FEED_FORWARD, "both": ATTENTION + FEED_FORWARD}[self.layers]
        return rf"blocks\.\d+\.({'|'.join(parts)})"


@dataclass(frozen=True)
class Adapter:
    """An adapter folder that has been looked at."""

    folder: Path
    """Where it is."""
    name: str
    """For people."""
    base: str
    """Name or folder of the checkpoint that it belongs to."""
    base_hash: str
    """Hash of that checkpoint."""
    hash: str
    """Sixteen hex digits over settings and weights."""


def is_adapter(path: str | Path) -> bool:
    """Whether `path` is an adapter folder of this package."""
    return (Path(path) / ABOUT).is_file()


def read_adapter(folder: str | Path) -> Adapter:
    """Look at an adapter folder.

    Raises:
        FileNotFoundError: It is none, or one of its files is missing.
        ValueError: A file is broken.
    """
    folder = Path(folder)
    for file in (ABOUT, PEFT, WEIGHTS):
        if not (folder / file).is_file():
            raise FileNotFoundError(
                f"{folder / file} is missing; an adapter folder, as `sanawm train lora` writes it, holds {PEFT}, "
                f"{WEIGHTS} and {ABOUT}."
            )
    try:
        about = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
        settings = json.loads((folder / PEFT).read_text(encoding="utf-8"))
        name, base, base_hash = (str(about[key]) for key in ("name", "base", "base_hash"))
        kept = {key: settings[key] for key in ("r", "lora_alpha", "target_modules")}
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder}: {ABOUT} or {PEFT} is broken ({error}); train or copy it again.") from None
    digest = hashlib.sha256(json.dumps(kept, sort_keys=True).encode())
    for key, value in sorted(_read(folder).items()):
        digest.update(f"{key} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return Adapter(folder, name, base, base_hash, digest.hexdigest()[:16])


def apply_adapter(loaded: Modules, folder: str | Path, *, merge: bool = True) -> Modules:
    """A loaded checkpoint with an adapter.

    Args:
        loaded: Changed in place: its transformer.
        folder: Of the adapter.
        merge: Add the update to the weights, after which a step costs what it cost before; else keep it beside them,
            which rounds otherwise and leaves the weights as they were loaded.

    Returns:
        The same modules; name and hash tell the adapter's, too, so that states and recipes do.

    Raises:
        FileNotFoundError, ValueError: Not an adapter, a broken one, or one of another checkpoint.
        ImportError: peft is not installed.
    """
    adapter = read_adapter(folder)
    if adapter.base_hash != loaded.checkpoint:
        raise CheckpointError(
            f"the adapter {adapter.folder} was trained on {adapter.base} ({adapter.base_hash}), this checkpoint is "
            f"{loaded.config.name} ({loaded.checkpoint}); load the one it was trained on."
        )
    peft = _peft()
    config = peft.LoraConfig.from_pretrained(str(adapter.folder))
    convolutions = _inject(loaded.transformer, config)
    weights = {name.removeprefix(PREFIX): value for name, value in _read(adapter.folder).items()}
    expected = _state(loaded.transformer)
    if {n: v.shape for n, v in expected.items()} != {n: v.shape for n, v in weights.items()}:
        raise CheckpointError(f"{adapter.folder / WEIGHTS} does not fit its {PEFT}; train or copy the adapter again.")
    if merge:  # the update is multiplied out in float32 and rounded once
        _widen(loaded.transformer)
    peft.set_peft_model_state_dict(loaded.transformer, weights)
    loaded.transformer.requires_grad_(False).eval()
    if merge:
        merge_lora(loaded.transformer, convolutions)
    both = hashlib.sha256(f"{loaded.checkpoint} {adapter.hash}".encode()).hexdigest()[:16]
    config_named = loaded.config.replace(name=f"{loaded.config.name} + {adapter.name} ({adapter.hash})")
    return loaded._replace(config=config_named, checkpoint=both)


def add_lora(transformer: SanaWMTransformer, settings: LoraSettings) -> list[nn.Parameter]:
    """Give a transformer fresh updates, which are zero, and freeze everything else.

    Returns:
        What is to be trained, float32.

    Raises:
        ImportError: peft is not installed.
    """
    config = _peft().LoraConfig(r=settings.rank, lora_alpha=settings.alpha, target_modules=settings.target, bias="none")
    _inject(transformer, config)
    transformer.requires_grad_(False)
    trained = _widen(transformer)
    for value in trained:
        value.requires_grad_(True)
    return trained


def save_adapter(folder: str | Path, transformer: SanaWMTransformer, *, name: str, base: str, base_hash: str) -> None:
    """Write what `add_lora` added and training changed; the last file says that it is whole."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    config: Any = transformer.peft_config["default"]  # type: ignore[index]
    config.base_model_name_or_path = base
    config.save_pretrained(str(folder))
    tensors = {PREFIX + key: value.detach().cpu() for key, value in _state(transformer).items()}
    save_tensors(folder / WEIGHTS, tensors, {"format": "pt"})
    write_json(folder / ABOUT, {"name": name, "base": base, "base_hash": base_hash})


def merge_lora(transformer: SanaWMTransformer, convolutions: dict[str, nn.Module]) -> None:
    """Add every update to its layer's weights, and take the updates out.

    Args:
        transformer: With updates.
        convolutions: The 1x1 convolutions that linears of the same memory stand in for, by name; they come back.
    """
    for name, layer in list(_lora_layers(transformer)):
        layer.merge()
        _put(transformer, name, layer.get_base_layer())
    for name, layer in convolutions.items():
        _put(transformer, name, layer)
    del transformer.peft_config


def _inject(transformer: SanaWMTransformer, config: Any) -> dict[str, nn.Module]:
    """Wrap the layers; peft wraps linears, so that the 1x1 convolutions become linears of the same memory first."""
    convolutions: dict[str, nn.Module] = {}
    if "mlp" in str(config.target_modules):
        for index, block in enumerate(transformer.blocks):
            for part in ("inverted_conv", "point_conv"):
                name = f"blocks.{index}.mlp.{part}"
                convolutions[name] = transformer.get_submodule(name)
                setattr(block.get_submodule("mlp"), part, PointwiseLinear(convolutions[name]))  # type: ignore[arg-type]
    _peft().inject_adapter_in_model(config, transformer)
    return convolutions


def _state(transformer: nn.Module) -> dict[str, Tensor]:
    """The factors of all updates, by peft's names without their prefix."""
    return _peft().get_peft_model_state_dict(transformer, save_embedding_layers=False)


def _widen(transformer: nn.Module) -> list[nn.Parameter]:
    """Make the factors of all updates float32: peft gives them the type of the weights."""
    found = [value for name, value in transformer.named_parameters() if "lora_" in name]
    for value in found:
        value.data = value.data.float()
    return found


def _lora_layers(transformer: nn.Module) -> Iterator[tuple[str, Any]]:
    for name, module in transformer.named_modules():
        if hasattr(module, "lora_A") and hasattr(module, "merge"):
            yield name, module


def _put(root: nn.Module, name: str, module: nn.Module) -> None:
    owner, _, last = name.rpartition(".")
    setattr(root.get_submodule(owner), last, module)


def _read(folder: Path) -> dict[str, Tensor]:
    try:
        return load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise CheckpointError(f"{folder / WEIGHTS} is not a whole safetensors file ({error}); copy it again.") from None


def _peft() -> Any:
    try:
        import peft
    except ImportError as error:
        raise ImportError("adapters need peft: pip install 'sanawm_env[lora]'") from error
    return peft
