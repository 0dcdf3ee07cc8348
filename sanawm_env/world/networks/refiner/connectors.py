"""Text for the refiner: hidden states of the text encoder, packed, projected, padding replaced by registers."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sanawm_env.world.networks.layers import Linear
from sanawm_env.world.networks.refiner.config import ConnectorConfig
from sanawm_env.world.networks.refiner.layers import Attention, FeedForward, rms
from sanawm_env.world.networks.refiner.rope import Rotation, text_rotation

__all__ = ["TextConnector", "pack"]

_SCALE = 8.0
_EPS = 1e-6


def pack(hidden: Tensor, mask: Tensor) -> Tensor:
    """Normalise stacked hidden states, layer by layer over the valid tokens, and lay them side by side.

    Args:
        hidden: `(B, L, channels, states)`.
        mask: `(B, L)`, non-zero where a token is no padding.

    Returns:
        `(B, L, channels * states)`, channel by channel; padding is zero.
    """
    valid = mask.bool()[:, :, None, None]
    count = valid.sum(dim=(1, 2), keepdim=True) * hidden.shape[2]
    mean = hidden.masked_fill(~valid, 0).sum(dim=(1, 2), keepdim=True) / (count + _EPS)
    low = hidden.masked_fill(~valid, float("inf")).amin(dim=(1, 2), keepdim=True)
    high = hidden.masked_fill(~valid, float("-inf")).amax(dim=(1, 2), keepdim=True)
    normed = _SCALE * ((hidden - mean) / (high - low + _EPS))
    return normed.masked_fill(~valid, 0).flatten(2).to(hidden.dtype)


class _Block(nn.Module):
    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.attn1 = Attention(config.channels, config.channels, config.heads, _EPS)
        self.ff = FeedForward(config.channels)

    def forward(self, h: Tensor, by: Rotation) -> Tensor:
        h = h + self.attn1(rms(h, _EPS), by)
        return h + self.ff(rms(h, _EPS))


class _Connector(nn.Module):
    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.learnable_registers = nn.Parameter(torch.zeros(config.registers, config.channels))
        self.transformer_blocks = nn.ModuleList(_Block(config) for _ in range(config.layers))


class TextConnector(nn.Module):
    """The video half of `LTX2TextConnectors`, under its names."""

    def __init__(self, config: ConnectorConfig) -> None:
        super().__init__()
        self.config = config
        self.text_proj_in = Linear(config.channels * config.states, config.channels, bias=False)
        self.video_connector = _Connector(config)

    def forward(self, packed: Tensor, mask: Tensor) -> Tensor:
        """Text as the transformer takes it; all of its tokens count.

        Args:
            packed: `(B, L, channels * states)` of `pack`.
            mask: `(B, L)`, non-zero where a token is no padding.

        Returns:
            `(B, L, channels)`.

        Raises:
            ValueError: L is no multiple of the registers.
        """
        config, length = self.config, packed.shape[1]
        if length % config.registers:
            raise ValueError(f"text of {length} tokens is no multiple of the connector's {config.registers} registers.")
        h = self.text_proj_in(packed.to(self.text_proj_in.weight.dtype))
        valid = mask.bool()
        # Valid tokens first, in their order; a register's number is that of the place it fills.
        order = torch.argsort((~valid).to(torch.int8), dim=1, stable=True)
        front = h.gather(1, order[:, :, None].expand(-1, -1, h.shape[2]))
        places = torch.arange(length, device=h.device)
        registers = self.video_connector.learnable_registers[places % config.registers].to(h.dtype)
        h = torch.where((places < valid.sum(dim=1, keepdim=True))[:, :, None], front, registers)
        by = text_rotation(length, config.rope_length, config.channels, config.heads, config.rope_theta, h.device)
        for block in self.video_connector.transformer_blocks:
            h = block(h, by)
        return rms(h, _EPS)
