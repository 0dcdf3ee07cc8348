"""Names and sizes of the released tensors, down to the true 872."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env.world.checkpoints.local import audit
from sanawm_env.world.checkpoints.presets import PRESETS, release_config
from sanawm_env.world.checkpoints.release.keys import our_names, read_by_model, sizes_of
from sanawm_env.world.checkpoints.release.weights import read_torch
from sanawm_env.world.networks.config import RELEASE, SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer


@settings(max_examples=15, deadline=None)
@given(
    depth=st.integers(1, 5),
    heads=st.integers(1, 3),
    channels=st.integers(1, 4),
    ratio=st.sampled_from([1.0, 2.0, 3.0]),
    every=st.integers(2, 6),
    stride=st.sampled_from([4, 8]),
    kernel=st.integers(2, 4),
    patch=st.sampled_from([(1, 1), (2, 2), (1, 2)]),
    pos_embed=st.integers(0, 3),
)
def test_sizes_are_read_off_the_shapes(depth, heads, channels, ratio, every, stride, kernel, patch, pos_embed):
    config = SanaWMConfig(
        depth=depth,
        hidden_size=16 * heads,
        head_dim=16,
        in_channels=channels,
        patch_size=patch,
        mlp_ratio=ratio,
        caption_channels=5,
        text_length=7,
        temporal_stride=stride,
        softmax_every_n=min(every, depth + 1),
        conv_kernel_size=kernel,
        pos_embed_tokens=pos_embed,
    )
    with torch.device("meta"):
        state = SanaWMTransformer(config).state_dict()
    sizes = sizes_of({name: tuple(value.shape) for name, value in state.items()})
    assert SanaWMConfig(**sizes, pos_embed_tokens=pos_embed) == config


@pytest.fixture(scope="module")
def true_size():
    """The release's 872 tensors without their data: each is one number, repeated."""
    with torch.device("meta"):
        shapes = SanaWMTransformer(RELEASE).state_dict()
    return {f"model.{name}": torch.zeros(()).expand(value.shape) for name, value in shapes.items()}


def test_true_size_streaming_file(true_size, tmp_path):
    """All names and shapes of the real `sana_dit/model.pt`, through the real reader."""
    assert len(true_size) == 872
    path = tmp_path / "model.pt"
    torch.save({"generator": true_size, "critic": {}, "step": 1}, path)
    state = our_names(read_torch(path))
    sizes = sizes_of({name: tuple(value.shape) for name, value in state.items()})
    config = PRESETS["streaming"].config(sizes)
    assert config == release_config("streaming")
    with torch.device("meta"):
        module = SanaWMTransformer(config.model)
    kept = read_by_model(config.model, state)
    audit(module, kept, "it")
    # Left out: pos_embed, null caption, raymap embedder, 20 recall gates, 6 tensors of 5 softmax blocks.
    assert len(state) - len(kept) == 1 + 1 + 2 + 20 + 5 * 6


def test_true_size_with_a_block_missing_is_no_shallower_model(true_size):
    state = our_names({name: value for name, value in true_size.items() if ".blocks.19." not in name})
    sizes = sizes_of({name: tuple(value.shape) for name, value in state.items()})
    model = PRESETS["streaming"].config(sizes).model
    with torch.device("meta"):
        module = SanaWMTransformer(model)
    with pytest.raises(ValueError, match=r"34 missing: blocks\.19\.attn\.k_norm"):
        audit(module, read_by_model(model, state), "it")
