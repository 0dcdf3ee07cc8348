"""Training from memory: it is the streaming rollout, and gradients reach what was committed."""

import torch

from sanawm_env.training.clips.walks import WalkConfig, Walks
from sanawm_env.training.losses.flow import NoiseConfig
from sanawm_env.training.losses.streaming import StreamConfig, begin, segment_loss
from sanawm_env.world.networks.cache import empty_cache

CLEAN = StreamConfig(own=0.0, context_noise=0.0)


def one_segment(pool, slots=3):
    walks = Walks(
        WalkConfig(segment=4, longest=8, full=1.0, turn_back=0.0, time_shift=0.0, pause=0.0), pool, slots, seed=2
    )
    return walks, walks.next()


def loss_of(network, segment, own, seed=0, stream=CLEAN):
    memory = begin(network, segment, None)
    generator = torch.Generator().manual_seed(seed)
    return segment_loss(network, segment, memory, own, 2, stream, NoiseConfig(), generator, preconditioned=True)


def test_true_context_gives_the_memory_of_a_streaming_rollout(network, walk_pool):
    _, segment = one_segment(walk_pool)
    with torch.no_grad():
        _, memory, _ = loss_of(network, segment, torch.zeros(3, dtype=torch.bool))
        cache = empty_cache(network.config, 3, 4)
        _, cache = network(segment.still, torch.zeros(3, 1), cache=cache, commit=True, **segment.still_camera)
        for first in (0, 2):
            part = slice(first, first + 2)
            camera = {"raymap": segment.camera["raymap"][:, part], "plucker": segment.camera["plucker"][:, :, part]}
            _, cache = network(segment.latents[:, :, part], torch.zeros(3, 2), cache=cache, commit=True, **camera)
    for name, value in cache.flat().items():
        assert torch.allclose(memory.flat()[name].float(), value.float(), atol=1e-5), name


def test_own_context_differs_only_in_those_slots(network, walk_pool):
    _, segment = one_segment(walk_pool)
    own = torch.tensor([True, False, False])
    with torch.no_grad():
        _, truth, _ = loss_of(network, segment, torch.zeros(3, dtype=torch.bool))
        _, mixed, _ = loss_of(network, segment, own)
    name = "blocks.1.k"
    assert not torch.allclose(truth.flat()[name][0], mixed.flat()[name][0], atol=1e-3)
    assert torch.equal(truth.flat()[name][1:], mixed.flat()[name][1:])


def test_the_gradient_flows_through_the_memory(network, walk_pool):
    _, segment = one_segment(walk_pool)
    segment.still.requires_grad_(True)
    loss, _, per_slot = loss_of(network, segment, torch.zeros(3, dtype=torch.bool))
    loss.backward()
    assert segment.still.grad.abs().sum() > 0, "frame 0 is seen only through the memory"
    assert torch.allclose(per_slot.mean(), loss.detach())


def test_only_fresh_slots_begin_anew(network, walk_pool):
    walks, segment = one_segment(walk_pool)
    with torch.no_grad():
        _, memory, _ = loss_of(network, segment, torch.zeros(3, dtype=torch.bool))
        following = walks.next()
        following.fresh[:] = torch.tensor([False, True, False])
        following.shift[:] = 50
        merged = begin(network, following, memory)
    assert merged.frames.tolist() == [5, 51, 5]
    for name, value in merged.flat().items():
        assert torch.equal(value[0], memory.flat()[name][0]), name
    assert not torch.equal(merged.flat()["blocks.0.state"][1], memory.flat()["blocks.0.state"][1])


def test_training_lowers_the_loss(network, walk_pool):
    _, segment = one_segment(walk_pool)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    own = torch.tensor([True, False, True])
    losses = []
    for _ in range(25):
        loss, _, _ = loss_of(network, segment, own)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.8 * losses[0]
