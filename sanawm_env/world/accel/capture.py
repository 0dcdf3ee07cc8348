"""Recorded programs: a pure function of tensors, recorded once on fixed memory and replayed on new values.

A program owns memory for its inputs. A call copies the values in, replays, and hands out clones of the outputs, so that
neither what the caller gave nor what it got ever changes: states stay immutable. `Programs` keeps a bounded number of
them, the least recently used going first. Programs of one collection share input memory of the same shape: use one
collection from one thread and one CUDA stream at a time.

The denoising of a chunk passes a `ModelCache` through. A program knows tensors by name only, so the cache is taken
apart and put together here, where a program runs, and nowhere else.

Two recorders make programs: `CudaRecorder`, by a CUDA graph, and `TraceRecorder`, by an operator trace, which runs
anywhere and gives the bits of the function itself, so that everything but the recorder is tested on the CPU.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from sanawm_env.world.networks.cache import ModelCache

__all__ = ["CudaRecorder", "Program", "Programs", "Recorder", "TraceRecorder", "addresses"]

Values: TypeAlias = dict[str, Tensor]
Function: TypeAlias = Callable[[Values], Values]
ChunkFunction: TypeAlias = Callable[[Values, ModelCache], tuple[Tensor, ModelCache]]
"""From a chunk's tensors and the cache before it to its latents and the cache after it."""
_CACHE = "cache."
_WARM_UP = 3
"""Runs before a capture, as torch's notes on CUDA graphs have it: kernels are chosen and workspaces made in them."""


class Recorder(Protocol):
    """Records a function of tensors that asks the host for nothing."""

    def __call__(self, function: Function, inputs: Values) -> Callable[[], Values]:
        """Record `function(inputs)`; the answer computes it anew from whatever `inputs` hold then.

        Args:
            function: Changes no tensor that it did not make.
            inputs: Fixed memory, holding usable values.

        Returns:
            A replay, whose outputs the next replay may overwrite.
        """
        ...


class CudaRecorder:
    """Records CUDA graphs; all graphs of one recorder share a memory pool, so they must not run at the same time."""

    def __init__(self) -> None:
        """Take a memory pool.

        Raises:
            ValueError: There is no CUDA device.
        """
        if not torch.cuda.is_available():
            raise ValueError("CUDA graphs need a CUDA device, and torch finds none; leave capture out.")
        self.pool = torch.cuda.graph_pool_handle()

    def __call__(self, function: Function, inputs: Values) -> Callable[[], Values]:
        """See `Recorder`."""
        device = next(iter(inputs.values())).device
        with torch.cuda.device(device):
            beside = torch.cuda.Stream()
            beside.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(beside):
                for _ in range(_WARM_UP):
                    function(inputs)
            torch.cuda.current_stream().wait_stream(beside)
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, pool=self.pool):
                outputs = function(inputs)

        def replay() -> Values:
            graph.replay()
            return outputs

        return replay


class TraceRecorder:
    """Records the operators that the function calls, with the values of weights looked up anew at each replay."""

    def __call__(self, function: Function, inputs: Values) -> Callable[[], Values]:
        """See `Recorder`."""
        from torch.fx.experimental.proxy_tensor import make_fx

        graph = make_fx(function)(inputs)
        return lambda: graph(inputs)


class Program:
    """One recorded function."""

    def __init__(self, replay: Callable[[], Values], inputs: Values, module: nn.Module) -> None:
        """Keep a replay.

        Args:
            replay: Of a `Recorder`.
            inputs: The memory that it reads.
            module: Whose weights it reads where they lay when it was recorded.
        """
        self.replay, self.inputs = replay, inputs
        self.addresses = addresses(module)
        self.outputs: Values = {}
        """What the last replay wrote; empty before the first."""

    def __call__(self, values: Values) -> Values:
        """The function of `values`; the result shares memory with nothing.

        Raises:
            ValueError: Other names, shapes, types or devices than it was recorded with.
        """
        if found := _differences(values, self.inputs):
            raise ValueError(f"the program was recorded for other inputs: {found}; record it anew.")
        with torch.inference_mode():
            for name, value in values.items():
                self.inputs[name].copy_(value)
            self.outputs = self.replay()
            return {name: value.clone() for name, value in self.outputs.items()}

    def denoise(self, inputs: Values, cache: ModelCache) -> tuple[Tensor, ModelCache]:
        """What the `ChunkFunction` of `Programs.record_chunk` makes of these.

        Raises:
            ValueError: As a call.
        """
        return _latents_and_cache(self(_flat(inputs, cache)))


class Programs:
    """Programs of one module by key, at most `limit`."""

    def __init__(self, recorder: Recorder, limit: int = 8) -> None:
        """Begin empty.

        Raises:
            ValueError: A limit below 1.
        """
        if limit < 1:
            raise ValueError(f"at least one program must be kept; got limit = {limit}.")
        self.recorder, self.limit = recorder, limit
        self._kept: OrderedDict[Hashable, Program] = OrderedDict()
        self._inputs: WeakValueDictionary[Hashable, Tensor] = WeakValueDictionary()

    def find(self, key: Hashable, module: nn.Module) -> Program | None:
        """The program of `key`, which counts as used now.

        None if there is none, or if the weights of `module` are no longer where they were: a recorded graph would
        read memory that is not theirs. All programs of that time are dropped.
        """
        program = self._kept.get(key)
        if program is None:
            return None
        if program.addresses != addresses(module):
            self.clear()
            return None
        self._kept.move_to_end(key)
        return program

    def record(self, key: Hashable, function: Function, example: Values, module: nn.Module) -> Program:
        """Record `function` and keep it under `key`.

        Args:
            key: Everything but the values that the function depends on.
            function: See `Recorder`.
            example: Usable inputs; later ones have the same names, shapes and types.
            module: Whose weights the function reads.
        """
        self._kept.pop(key, None)
        while len(self._kept) >= self.limit:
            self._kept.popitem(last=False)
        with torch.inference_mode():
            inputs = {name: self._memory(name, value) for name, value in example.items()}
            for name, value in example.items():
                inputs[name].copy_(value)
            program = Program(self.recorder(function, inputs), inputs, module)
        self._kept[key] = program
        return program

    def record_chunk(
        self, key: Hashable, function: ChunkFunction, inputs: Values, cache: ModelCache, module: nn.Module
    ) -> Program:
        """`record` a function that passes a cache through; run it by `Program.denoise`."""

        def flat(values: Values) -> Values:
            others = {name: value for name, value in values.items() if not name.startswith(_CACHE)}
            latents, after = function(others, _cache_of(values))
            return _flat({"latents": latents}, after)

        return self.record(key, flat, _flat(inputs, cache), module)

    def clear(self) -> None:
        """Drop all programs."""
        self._kept.clear()

    @property
    def nbytes(self) -> int:
        """Bytes of inputs, which programs share, and of outputs; a CUDA graph's working memory comes on top."""
        tensors = [t for p in self._kept.values() for t in (*p.inputs.values(), *p.outputs.values())]
        return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())

    def __len__(self) -> int:
        return len(self._kept)

    def __contains__(self, key: Hashable) -> bool:
        return key in self._kept

    def __reduce__(self) -> tuple[type[None], tuple[()]]:
        # Recorded programs belong to this process and this module: a copied or pickled world has none.
        return type(None), ()

    def _memory(self, name: str, like: Tensor) -> Tensor:
        """Input memory with the shape, type and strides of `like`, shared with the other programs.

        Strides are kept, because they can lead a kernel to another rounding.
        """
        strides = torch.empty_like(like, device="meta").stride()
        key = (name, like.shape, strides, like.dtype, like.device)
        found = self._inputs.get(key)
        if found is None:
            found = torch.empty_like(like)
            self._inputs[key] = found
        return found


def _flat(values: Values, cache: ModelCache) -> Values:
    return values | {_CACHE + name: value for name, value in cache.flat().items()}


def _cache_of(values: Values) -> ModelCache:
    return ModelCache.from_flat({n.removeprefix(_CACHE): v for n, v in values.items() if n.startswith(_CACHE)})


def _latents_and_cache(values: Values) -> tuple[Tensor, ModelCache]:
    return values["latents"], _cache_of(values)


def addresses(module: nn.Module) -> tuple[int, ...]:
    """Where the weights of a module lie, those inside quantised tensors counted in."""
    return tuple(_addresses([*module.parameters(), *module.buffers()]))


def _addresses(tensors: list[Any]) -> Iterator[int]:
    for value in tensors:
        data = value.data if isinstance(value, nn.Parameter) else value
        flatten = getattr(data, "__tensor_flatten__", None)
        if flatten is None:
            yield data.data_ptr()
        else:
            yield from _addresses([getattr(data, name) for name in flatten()[0]])


def _differences(given: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> str:
    """What is different about the first tensor that differs; empty if none does."""

    def describe(value: Tensor | None) -> str:
        return "absent" if value is None else f"{tuple(value.shape)} {value.dtype} on {value.device}"

    for name in sorted(given.keys() | wanted.keys()):
        here, there = describe(given.get(name)), describe(wanted.get(name))
        if here != there:
            return f"{name} is {here}, not {there}"
    return ""
