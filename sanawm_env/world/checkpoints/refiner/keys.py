"""Names of LTX-2's weights: Lightricks' into diffusers', and which of them the video alone needs."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["RAW_PREFIX", "from_raw", "is_raw", "is_sound", "refuse_later"]

RAW_PREFIX = "model.diffusion_model."
"""Of Lightricks' names."""

_PARTS = {
    "patchify_proj": "proj_in",
    "audio_patchify_proj": "audio_proj_in",
    "adaln_single": "time_embed",
    "audio_adaln_single": "audio_time_embed",
    "av_ca_video_scale_shift_adaln_single": "av_cross_attn_video_scale_shift",
    "av_ca_audio_scale_shift_adaln_single": "av_cross_attn_audio_scale_shift",
    "av_ca_a2v_gate_adaln_single": "av_cross_attn_video_a2v_gate",
    "av_ca_v2a_gate_adaln_single": "av_cross_attn_audio_v2a_gate",
    "scale_shift_table_a2v_ca_video": "video_a2v_cross_attn_scale_shift_table",
    "scale_shift_table_a2v_ca_audio": "audio_a2v_cross_attn_scale_shift_table",
    "q_norm": "norm_q",
    "k_norm": "norm_k",
    "video_embeddings_connector": "video_connector",
    "audio_embeddings_connector": "audio_connector",
    "transformer_1d_blocks": "transformer_blocks",
}
_PROJECTION = "text_embedding_projection.aggregate_embed."
_SOUND = re.compile(r"audio|a2v|v2a|av_cross_attn")
_LATER = re.compile(r"to_gate_logits|prompt_adaln|prompt_scale_shift|video_aggregate_embed|video_text_proj_in")
"""Of LTX-2.3 and after: gated attention, modulated text, a projection per modality."""


def is_raw(names: Iterable[str]) -> bool:
    """Whether weights have Lightricks' names."""
    return any(name.startswith(RAW_PREFIX) for name in names)


def from_raw(name: str) -> str:
    """The name of a weight in diffusers: of the transformer, or (`video_connector`, `text_proj_in`) the connectors.

    Args:
        name: Lightricks', with or without its prefix `model.diffusion_model.` or `diffusion_model.`.
    """
    if name.startswith(_PROJECTION):
        return "text_proj_in." + name.removeprefix(_PROJECTION)
    bare = name.removeprefix("model.").removeprefix("diffusion_model.")
    return ".".join(_PARTS.get(part, part) for part in bare.split("."))


def is_sound(name: str) -> bool:
    """Whether a weight, by diffusers' name, belongs to the half that the video alone does not run."""
    return _SOUND.search(name) is not None


def refuse_later(names: Iterable[str], where: str) -> None:
    """Refuse the weights of a later generation of LTX.

    Raises:
        ValueError: They are.
    """
    found = sorted(name for name in names if _LATER.search(name))
    if found:
        raise ValueError(
            f"{where} holds weights of LTX-2.3 or later ({found[0]} and {len(found) - 1} more like it); SANA-WM's "
            "refiner is an LTX-2 19B model. Use the refiner of a SANA-WM release."
        )
