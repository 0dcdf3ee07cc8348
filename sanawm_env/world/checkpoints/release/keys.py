"""From the tensor names and shapes of a released file to those of `SanaWMTransformer`.

In short: docs/model.md, "Files of a release".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor

from sanawm_env.world.networks.config import RELEASE, SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer

__all__ = ["our_names", "read_by_model", "sizes_of"]

Shape = tuple[int, ...]
T = TypeVar("T")

_STREAMING_PREFIX = "model."
_DIFFUSERS = {"t_embedder.linear_1.": "t_embedder.mlp.0.", "t_embedder.linear_2.": "t_embedder.mlp.2."}


def our_names(state: Mapping[str, T]) -> dict[str, T]:
    """Rename the tensors of any released layout to NVlabs' names, which are ours.

    The streaming bundle prefixes every name with `model.`; diffusers calls two linears differently.

    Raises:
        ValueError: Two tensors would get one name.
    """
    named: dict[str, T] = {}
    for name, value in state.items():
        short = name.removeprefix(_STREAMING_PREFIX)
        for theirs, ours in _DIFFUSERS.items():
            if short.startswith(theirs):
                short = ours + short.removeprefix(theirs)
        if short in named:
            raise ValueError(f"two tensors are both called {short!r}; download the file again.")
        named[short] = value
    return named


def sizes_of(shapes: Mapping[str, Shape]) -> dict[str, Any]:
    """Sizes of a model, as fields of `SanaWMConfig`, from the shapes of its tensors.

    The releases say their sizes in no file but diffusers'. At the release's width the answer is the release's
    sizes whatever the file holds, so that an audit finds a missing block instead of a shallower model.

    Args:
        shapes: Under NVlabs' names.

    Raises:
        ValueError: Tensors that every SANA-WM has are missing or of an impossible shape.
    """
    try:
        width = shapes["blocks.0.scale_shift_table"][1]
        if width == RELEASE.hidden_size:
            return {}
        heads = shapes["blocks.0.attn.beta_proj.weight"][0]
        _, channels, _, *patch = shapes["x_embedder.proj.weight"]
        depth = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blocks."))
        softmax = [i for i in range(depth) if f"blocks.{i}.attn.conv_k.weight" not in shapes]
        sizes: dict[str, Any] = {
            "depth": depth,
            "hidden_size": width,
            "head_dim": width // heads,
            "in_channels": channels,
            "patch_size": tuple(patch),
            "mlp_ratio": shapes["blocks.0.mlp.inverted_conv.conv.weight"][0] / 2 / width,
            "caption_channels": shapes["y_embedder.y_proj.fc1.weight"][1],
            "text_length": shapes.get("y_embedder.y_embedding", (RELEASE.text_length,))[0],
            "temporal_stride": shapes["plucker_embedder.proj.weight"][1] // 6,
            "softmax_every_n": softmax[0] + 1 if softmax else depth + 1,
            "conv_kernel_size": shapes["blocks.0.attn.conv_k.weight"][-1],
        }
        SanaWMConfig(**sizes)
    except KeyError as error:
        raise ValueError(f"these are not the weights of a SANA-WM: there is no tensor {error}.") from None
    except (IndexError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"these are not the weights of a SANA-WM: {error}.") from None
    return sizes


def read_by_model(config: SanaWMConfig, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Leave out what the release stores and no forward pass reads; everything else stays, known or not.

    That is `pos_embed`, the null caption, the raymap embedder, and the gates of the softmax blocks.
    """
    with torch.device("meta"):
        lean = SanaWMTransformer(config.replace(release_buffers=False, pos_embed_tokens=0))
        full = SanaWMTransformer(config.replace(release_buffers=True, pos_embed_tokens=1))
    unread = full.state_dict().keys() - lean.state_dict().keys()
    return {name: value for name, value in state.items() if name not in unread}
