"""Start a world with finer tokens, or another VAE, from one that is trained.

Almost all weights of the transformer say nothing about how many pixels a token covers or what a latent channel
means; only the embedder and the head do. Both are rewritten here, everything else is kept. The result draws a
blurred version of what the old world drew and learns the rest in minutes, where a fresh network takes an hour.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.vae.tiny import TinyVAE


def finer_tokens(
    weights: Mapping[str, Tensor], old: SanaWMConfig, new: SanaWMConfig, old_vae: TinyVAE, new_vae: TinyVAE
) -> dict[str, Tensor]:
    """Rewrite embedder and head for smaller patches and other latent channels.

    Args:
        weights: Of a transformer with config `old`.
        old: Its config.
        new: The config to start; its patches must divide the old ones.
        old_vae: VAE of the old world. Both block transforms are linear, so its channels are linear in the new ones.
        new_vae: VAE of the new world, with the same strides.

    Returns:
        Weights for a transformer with config `new`, float32.

    Raises:
        ValueError: Patches do not divide, or the VAEs cut videos into other blocks.
    """
    rows, columns = new.patch_size
    if old.patch_size[0] % rows or old.patch_size[1] % columns:
        raise ValueError(f"Patches of {new.patch_size} latents cannot be cut from patches of {old.patch_size}.")
    if old_vae.synthesis.shape[0] != new_vae.synthesis.shape[0]:
        raise ValueError("The two VAEs cut videos into blocks of other sizes; train the new world from scratch.")
    to_old = old_vae.analysis.float() @ new_vae.synthesis.float()
    to_new = new_vae.analysis.float() @ old_vae.synthesis.float()
    out = {name: value.float() for name, value in weights.items()}

    embed = torch.einsum("koqrs,oc->kcqrs", out["x_embedder.proj.weight"], to_old)
    merged = old.patch_size[0] * old.patch_size[1] / (rows * columns)
    # Neighbouring latents are alike but not equal: between the sum of the weights they shared and the mean.
    out["x_embedder.proj.weight"] = F.adaptive_avg_pool3d(embed, (1, rows, columns)) * merged**0.5
    for part in ("weight", "bias"):
        name = f"final_layer.linear.{part}"
        value = out[name] if part == "weight" else out[name][:, None]
        head = torch.einsum("no,rsok->knrs", to_new, value.unflatten(0, (*old.patch_size, old.in_channels)))
        head = F.adaptive_avg_pool2d(head, (rows, columns)).permute(2, 3, 1, 0).flatten(0, 2)
        out[name] = head if part == "weight" else head[:, 0]
    return out
