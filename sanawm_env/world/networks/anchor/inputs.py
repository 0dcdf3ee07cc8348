"""What an anchored transformer adds: the depth of frame 0, and two ways for the warped frame to come in."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from sanawm_env.world.networks.anchor.depth import DepthNet
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.layers import Linear, PatchEmbed

__all__ = ["AnchorInput"]


class AnchorInput(nn.Module):
    """The hint enters at the first block as part of the tokens, and past the last one it is mixed into the output.

    The second way spares the network from carrying every channel of the picture through its residual stream: it
    says, for each token and latent channel, how much of the hint is part of the data. Both start at zero, so
    that a trained world without an anchor goes on as it was.
    """

    def __init__(self, config: SanaWMConfig) -> None:
        super().__init__()
        self.depth = DepthNet().requires_grad_(False)  # has a training of its own (`sanawm train depth`)
        self.embedder = PatchEmbed(config.in_channels + 1, config.hidden_size, config.patch_size)
        self.gate_proj = Linear(config.hidden_size, config.in_channels)
        for layer in (self.embedder.proj, self.gate_proj):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def data(self, tokens: Tensor, hint: Tensor, height: int, width: int) -> Tensor:
        """The part of the data that is copied from the hint.

        Args:
            tokens: `(B, T, S, C)` after the last block.
            hint: `(B, channels + 1, T, H, W)`.
            height: Rows of tokens.
            width: Columns of tokens.

        Returns:
            `(B, channels, T, H, W)`.
        """
        gate = self.gate_proj(F.layer_norm(tokens, tokens.shape[-1:], eps=1e-6))
        gate = gate.unflatten(2, (height, width)).permute(0, 4, 1, 2, 3)
        rows, columns = hint.shape[3] // height, hint.shape[4] // width
        gate = gate.repeat_interleave(rows, 3).repeat_interleave(columns, 4)
        return gate * hint[:, :-1].to(gate.dtype)
