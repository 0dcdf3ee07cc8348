"""Fused projections: the same outputs, the same parameters, the same memory, and never stale weights."""

import copy
import pickle

import pytest
import torch
from torch.func import functional_call

from sanawm_env.world.accel import fused
from sanawm_env.world.accel.fused import fuse_projections
from sanawm_env.world.checkpoints.local import save_checkpoint, weights_hash
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.cache import empty_cache
from sanawm_env.world.networks.layers import PointwiseLinear
from tests.world.networks.test_transformer import COLUMNS, ROWS, SMALL, build, inputs
from tests.world.test_model import world as make_world

RELEASED = SMALL.replace(release_buffers=True, camera_conv_tail=False)


@pytest.fixture(params=["built_in", "release"])
def model(request):
    return build(SMALL if request.param == "built_in" else RELEASED)


@pytest.fixture
def products(monkeypatch):
    """Counts the fused products."""
    calls = []
    call = fused.FusedProjections.__call__
    monkeypatch.setattr(fused.FusedProjections, "__call__", lambda self, x: calls.append(1) or call(self, x))
    return calls


@torch.no_grad()
def run(model, **changes):
    config = model.config
    x, timesteps, cond = inputs(config, 2, 4)
    cache = empty_cache(config, 2, ROWS * COLUMNS)
    out, after = model(x, timesteps, cache=cache, commit=True, **(cond | changes))
    return {"out": out} | after.flat()


def same(found, expected, atol=2e-5):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=0, atol=atol, msg=name)


def double(model):
    """Change every weight in place."""
    with torch.no_grad():
        for value in model.parameters():
            value.mul_(1.1)


def test_outputs_and_committed_caches_are_equal(model, products):
    expected = run(model)
    fuse_projections(model)
    same(run(model), expected)
    assert len(products) == model.config.depth and expected["out"].std() > 0.1


def test_without_the_camera_branch_its_products_are_left_out(model, products):
    expected = run(model, raymap=None)
    fuse_projections(model)
    same(run(model, raymap=None), expected, atol=0)
    assert not products


def test_names_values_hash_and_files_stay(model, tmp_path):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    identities = [id(value) for value in model.parameters()]
    key = weights_hash({}, before, {})
    fuse_projections(model)
    fuse_projections(model)
    after = model.state_dict()
    assert list(after) == list(before) and all(torch.equal(after[name], value) for name, value in before.items())
    assert [id(value) for value in model.parameters()] == identities
    assert weights_hash({}, after, {}) == key


def test_a_fused_world_is_saved_like_another(tmp_path):
    world = WorldModel.untrained(make_world().config, seed=3)
    plain = save_checkpoint(tmp_path / "a", world.config, world.transformer.state_dict(), world.vae.state_dict())
    fuse_projections(world.transformer)
    assert (
        save_checkpoint(tmp_path / "b", world.config, world.transformer.state_dict(), world.vae.state_dict()) == plain
    )


def test_there_is_one_copy_of_the_weights(model):
    def held(tensors):
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())

    before = held(model.parameters())
    fuse_projections(model)
    attn = model.blocks[0].attn
    parts = [attn.qkv.weight, attn.q_proj_cam.weight, attn.output_gate.weight, attn.beta_proj.weight]
    assert {part.untyped_storage().data_ptr() for part in parts} == {attn.fused.weight.untyped_storage().data_ptr()}
    tensors = [*model.parameters(), *(t for b in model.blocks for t in (b.attn.fused.weight, b.attn.fused.bias))]
    c, rows = model.config.hidden_size, fused.ROWS
    # Rows of zeros up to the multiple, and zeros for the bias that qkv does not have.
    assert held(tensors) - before <= 4 * model.config.depth * (rows * (c + 1) + 3 * c)


def test_weights_loaded_in_place_are_used(model, products):
    other = build(model.config, seed=5)
    fuse_projections(model)
    model.load_state_dict(other.state_dict())
    same(run(model), run(other))
    assert products
    double(model)
    double(other)
    same(run(model), run(other))


MOVES = {
    "to_and_back": lambda model: model.double().float(),
    "assign": lambda model: model.load_state_dict({k: v.clone() for k, v in model.state_dict().items()}, assign=True),
    "data": lambda model: setattr(model.blocks[0].attn.qkv.weight, "data", model.blocks[0].attn.qkv.weight.clone()),
    "parameter": lambda model: setattr(
        model.blocks[0].attn.output_gate, "bias", torch.nn.Parameter(model.blocks[0].attn.output_gate.bias.clone())
    ),
}


@pytest.mark.parametrize("move", MOVES)
def test_weights_that_moved_are_not_stale(model, move, products):
    """Moved and then changed: what counts is the parameters, wherever they are; fused anew, one product again."""
    other = build(model.config)
    fuse_projections(model)
    MOVES[move](model)
    double(model)
    double(other)
    same(run(model), run(other))
    left = len(products)
    assert left == (0 if move in ("to_and_back", "assign") else model.config.depth - 1)
    fuse_projections(model)
    same(run(model), run(other))
    assert len(products) == left + model.config.depth


def test_a_moved_module_lets_go_of_the_old_memory(model):
    fuse_projections(model)
    model.float()  # it is float32: nothing moves
    assert all(block.attn.fused is not None for block in model.blocks)
    model.bfloat16()
    assert all(block.attn.fused is None for block in model.blocks)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_a_copy_is_not_fused_and_goes_its_own_way(model, copied, products):
    fuse_projections(model)
    twin = copied(model)
    assert all(block.attn.fused is None for block in twin.blocks)
    expected = run(twin)
    double(model)
    same(run(twin), expected, atol=0)
    assert not products
    assert not torch.allclose(run(model)["out"], expected["out"])


def test_stand_ins_for_the_parameters_are_used(model, products):
    """`functional_call` computes with the tensors that it is given."""
    other = build(model.config, seed=5)
    fuse_projections(model)
    x, timesteps, cond = inputs(model.config, 2, 4)
    with torch.no_grad():
        found, _ = functional_call(model, dict(other.state_dict()), (x, timesteps), cond)
        expected, _ = other(x, timesteps, **cond)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5)
    assert not products


def test_gradients_reach_the_parameters(model):
    fuse_projections(model)
    model.requires_grad_(True)
    x, timesteps, cond = inputs(model.config, 2, 4)
    model(x, timesteps, **cond)[0].square().mean().backward()
    attn = model.blocks[0].attn
    for layer in (attn.qkv, attn.q_proj_cam, attn.output_gate, attn.beta_proj):
        assert layer.weight.grad.abs().max() > 0


def test_quantised_and_empty_weights_are_refused(model):
    model.blocks[1].mlp.point_conv = PointwiseLinear(model.blocks[1].mlp.point_conv)
    with pytest.raises(ValueError, match="load the world without `precision`"):
        fuse_projections(model)
    with pytest.raises(ValueError, match="meta device; load them"):
        fuse_projections(build(model.config).to("meta"))
    half = build(model.config)
    half.blocks[1].attn.qkv.bfloat16()
    with pytest.raises(ValueError, match="one type on one device"):
        fuse_projections(half)
    assert all(block.attn.fused is None for block in (*model.blocks, *half.blocks))
