"""The denoising loop and its commit are one static graph: no host sync, no shape that depends on data.

No GPU is needed to show it. Meta tensors have shapes but no values, so code that asks for a value (`.item()`,
`bool(tensor)`, `nonzero`) fails; and a graph traced from one chunk is replayed on the next ones.
"""

import pytest
import torch
from torch.func import functional_call
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sanawm_env.world.config import small_config
from sanawm_env.world.networks import layers
from sanawm_env.world.networks.cache import ModelCache, empty_cache
from sanawm_env.world.networks.config import SanaWMConfig
from sanawm_env.world.networks.transformer import SanaWMTransformer
from sanawm_env.world.sampler import denoise_chunk

GRID = (3, 4)
SIGMAS = (1.0, 0.7, 0.0)
SYNC = "_local_scalar_dense"
"""The operation behind `.item()`."""
RELEASED = SanaWMConfig(depth=2, hidden_size=48, head_dim=24, in_channels=5, caption_channels=12, text_length=6,
                        temporal_stride=4, softmax_every_n=2, pos_embed_tokens=0, release_buffers=False)  # fmt: skip
CONFIGS = {
    "release": RELEASED,
    "release_g2": RELEASED.replace(camera_conv_tail=True, softmax_scale="head", attention_dtype="bfloat16"),
    "built_in": small_config().model.replace(depth=2, softmax_every_n=2),
}


@pytest.fixture(autouse=True)
def _products_as_on_a_gpu(monkeypatch):
    """The graph is a GPU's: there, and for the fake tensors of a trace, linear layers are torch's own."""
    monkeypatch.setattr(layers, "_ONEDNN", None)


class Loop(torch.nn.Module):
    """The denoising loop with its commit as a function of tensors alone."""

    def __init__(self, config):
        super().__init__()
        self.model = SanaWMTransformer(config).eval().requires_grad_(False)

    def forward(self, noise, cache, conditions, clean=None, filled=None):
        cache = ModelCache.from_flat(cache)
        x, after = denoise_chunk(self.model, noise, cache, SIGMAS, clean=clean, filled=filled, **conditions)
        return x, after.flat()


def build(config):
    """A loop in which no part is switched off by a parameter that starts as zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        loop = Loop(config)
        for value in loop.parameters():
            if not value.any():
                torch.nn.init.normal_(value, std=0.1)
    return loop


def inputs(config, frames, seed, slots=2, device="cpu", dtype=torch.float32):
    torch.manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape).to(device, dtype)

    rows, columns = config.patch_size
    raymap = torch.eye(4).flatten().repeat(slots, frames, 1) + 0.1 * torch.randn(slots, frames, 16)
    camera = torch.tensor([3.0, 3.0, 2.0, 1.5]).expand(slots, frames, 4)
    conditions = {
        "raymap": torch.cat((raymap, camera), dim=-1).to(device),
        "plucker": draw(slots, config.plucker_channels, frames, *GRID),
    }
    if config.caption_channels:
        conditions["text"] = draw(slots, config.text_length, config.caption_channels)
        conditions["text_mask"] = (torch.arange(config.text_length) < 4).repeat(slots, 1).to(device)
    return draw(slots, config.in_channels, frames, GRID[0] * rows, GRID[1] * columns), conditions


def start(config, slots=2, **where):
    return empty_cache(config, slots, GRID[0] * GRID[1], **where).flat()


def first_frames(config):
    return 1 if config.first_chunk == "alone" else config.chunk_frames + 1


def trace(loop, *arguments):
    """The graph of one chunk, parameters as inputs."""
    parameters = dict(loop.named_parameters())
    run = lambda parameters, *rest: functional_call(loop, parameters, rest)  # noqa: E731
    return make_fx(run, tracing_mode="fake")(parameters, *arguments), parameters


@pytest.mark.parametrize("name", ["release", "built_in"])
def test_the_graph_of_one_chunk_is_the_graph_of_all(name):
    """Traced at chunk 1, replayed bit for bit at chunks 2 to 4, whose windows fill and slide; traced anew, equal."""
    config = CONFIGS[name]
    loop = build(config)
    noise, conditions = inputs(config, first_frames(config), 0)
    clean = torch.zeros(noise.shape[0], noise.shape[2], dtype=torch.bool)
    clean[:, 0] = True
    with torch.no_grad():
        _, cache = loop(noise, start(config), conditions, clean)
        graphs = []
        for chunk in range(1, 5):
            noise, conditions = inputs(config, config.chunk_frames, chunk)
            if chunk == 1 or (chunk == 3 and name == "built_in"):
                graphs.append(trace(loop, noise, cache, conditions))
            expected, after = loop(noise, cache, conditions)
            graph, parameters = graphs[0]
            replayed, replayed_after = graph(parameters, noise, cache, conditions)
            assert torch.equal(replayed, expected)
            assert after.keys() == cache.keys() == replayed_after.keys()
            for key, value in after.items():
                assert torch.equal(replayed_after[key], value), f"{key} of chunk {chunk}"
                assert (value.shape, value.dtype) == (cache[key].shape, cache[key].dtype), key
            cache = after
    assert expected.std() > 0.1
    assert len({graph.code for graph, _ in graphs}) == 1 and SYNC not in graphs[0][0].code
    assert cache["chunks"].tolist() == [5, 5]


class Crossings(TorchDispatchMode):
    """Collects operations with a tensor that is not on the device: copies from and to the host."""

    def __init__(self, device):
        super().__init__()
        self.device, self.found, self.count = device, [], 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        self.count += 1
        tensors = [leaf for leaf in tree_leaves((args, kwargs, out)) if isinstance(leaf, torch.Tensor)]
        if any(tensor.device.type != self.device for tensor in tensors):
            self.found.append(str(function))
        return out


class HostData(TorchFunctionMode):
    """Collects calls that make a tensor of Python's or numpy's numbers, or the reverse."""

    NAMES = ("tensor", "as_tensor", "asarray", "from_numpy", "item", "tolist", "cpu", "numpy", "__bool__", "__int__")

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in self.NAMES:
            self.found.append(function.__name__)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("first", [False, True], ids=["later_chunk", "first_chunk"])
@pytest.mark.parametrize("counted", [False, True], ids=["masked", "counted"])
@pytest.mark.parametrize("name", CONFIGS)
def test_nothing_crosses_between_host_and_device(name, counted, first):
    """A copy from pageable memory would end the capture of a CUDA graph, a copy back would wait for the GPU."""
    config = CONFIGS[name]
    frames = first_frames(config) if first else config.chunk_frames
    where = {"device": "meta", "dtype": torch.bfloat16}
    noise, conditions = inputs(config, frames, 0, **where)
    with torch.device("meta"):
        loop = Loop(config).to(torch.bfloat16)
        clean = torch.zeros(2, frames, dtype=torch.bool) if first else None
    cache = start(config, **where)
    filled = (0 if first else config.window_capacity - 1) if counted else None
    with torch.no_grad(), HostData() as host, Crossings("meta") as crossings:
        x, after = loop(noise.float(), cache, conditions, clean, filled)
    assert crossings.found == [] and host.found == [] and crossings.count > 100
    assert x.device.type == "meta" and x.shape == noise.shape and x.dtype == torch.float32
    assert {k: (v.shape, v.dtype) for k, v in after.items()} == {k: (v.shape, v.dtype) for k, v in cache.items()}


def test_the_proof_sees_what_it_should():
    """A sync, a data-dependent shape and numbers of the host are each found by the tools above."""
    x = torch.ones(3, device="meta")
    with pytest.raises(RuntimeError, match="meta"):
        bool(x.sum() > 0)
    with pytest.raises(NotImplementedError):
        x.nonzero()
    with HostData() as host, Crossings("meta") as crossings:
        torch.tensor([1.0, 2.0]).to("meta") * x[:2]
        torch.tensor([1.0, 2.0], device="meta")
    assert host.found == ["tensor", "tensor"] and crossings.found
    asks = make_fx(lambda value: value * value.sum().item(), tracing_mode="fake")(torch.ones(3))
    assert SYNC in asks.code


def test_keeping_every_chunk_is_the_one_schedule_that_asks_the_host():
    """`cached_chunks=-1` checks its room against the frame counter, so it cannot be captured."""
    config = RELEASED.replace(cached_chunks=-1, max_cached_frames=16)
    noise, conditions = inputs(config, config.chunk_frames, 0, device="meta")
    with torch.device("meta"):
        loop = Loop(config)
    with torch.no_grad(), pytest.raises(RuntimeError, match="meta"):
        loop(noise, start(config, device="meta"), conditions)
