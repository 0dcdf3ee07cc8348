"""How fast is the 2.66 B release on this machine? Random weights of the true size: nothing is downloaded.

    python benchmarks/speed/release_speed.py --out docs/benchmarks/release_speed_h100.json

Speed does not depend on the weights' values, so none are needed. Each number of slots gets a rollout: the first
chunk, `warmup` chunks that are not counted, then `chunks` that are. Every chunk is timed in three phases with the
device synchronised between them. The last line printed, and the file, is one JSON object:

    results[B].denoise_ms, commit_ms, decode_ms   median milliseconds of a phase, for all B slots together
    results[B].chunk_ms, chunk_p95_over_p50       of a whole chunk, and how evenly chunks come
    results[B].clip_s           a minute (121 latent frames: 40 chunks) of every slot: denoise, commit and decode;
                                the first chunk's own time, and 39 times the median of the others ...
    results[B].clip_stage1_s    ... and without the decoding, as in the published figures
    results[B].frames_per_s     B times 961 frames over clip_s
    results[B].mfu              operations of denoise and commit, as torch counts them (`accel.flops`), over the
                                device's peak; null where the peak is not known
    results[B].peak_bytes       most memory allocated while chunks ran, weights included (CUDA only)
    results[B].state_bytes      recurrent memory of one slot: transformer cache and decoder tails
    results[B].stage1_ms        denoising and commit together
    results[B].program_bytes    inputs and outputs of recorded programs, without their working memory; null without
    results[B].error            instead of all these, if that many slots do not fit
    diffusers                   one forward of diffusers' `SanaWMTransformer3DModel` on as many latent frames, in the
                                same run, beside one of ours: its chunk mode has no streaming cache, so ours is timed
                                without one, too, on the same tokens
    also[way].results[B]        as `results`, which are those of eager torch, for each of `--also`, in the same run:
                                `fused` one product for all projections of an attention (`world/accel/fused.py`);
                                `captured` denoising and commit as one CUDA graph (`world/accel/capture.py`), off CUDA
                                the same copies around the plain function: denoise_ms and commit_ms are null,
                                stage1_ms is their sum; `compiled` the transformer under torch.compile; `triton`
                                and `fla` other kernels (`world/accel/kernels`); several with a plus between them
    also[way].warmup_s          as `warmup_s`: with recording and compiling
    also[way].error             instead, if that way does not run here
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import tyro
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[2]))  # as a script it finds only its own folder

from benchmarks.worlds.release_chunks import now, timed_chunks
from benchmarks.worlds.release_modules import (
    chunk_conditions,
    chunk_flops_of,
    configs,
    machine,
    peak_rate,
    randomly,
    transformer,
    video_vae,
)

Way = Literal[
    "fused", "captured", "fused+captured", "compiled", "triton", "triton+captured", "fla", "fused+triton+captured"
]
MINUTE = 121
"""Latent frames of the published clips."""


@dataclass(frozen=True)
class Args:
    """Time the release's three phases with random weights of its true size."""

    size: Literal["release", "small"] = "release"
    """`small` runs the same code on a toy in seconds, on a CPU; its figures mean nothing."""
    slots: tuple[int, ...] = (1, 2, 4, 8)
    """Numbers of slots."""
    chunks: int = 20
    """Timed chunks."""
    warmup_chunks: int = 3
    """Chunks before them, after the first chunk."""
    device: str = "auto"
    """Where to compute."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Of weights and activations."""
    decode: bool = True
    """Time the VAE, too (needs the extra `release`)."""
    diffusers: bool = True
    """Time diffusers' transformer beside ours."""
    also: tuple[Way, ...] = ()
    """More ways to run, measured after eager torch in the same process; those with `fused` last, for weights stay
    fused."""
    compile_backend: str = "inductor"
    """Of torch.compile; inductor needs a C++ compiler on a CPU and Triton on a GPU."""
    out: Path | None = None
    """File for the JSON; its folder is made."""
    seed: int = 0
    """Of weights and noise."""

    def __post_init__(self) -> None:
        if not self.slots or min(self.slots) < 1 or self.chunks < 1 or self.warmup_chunks < 0:
            raise ValueError(
                f"slots and chunks must be at least 1, warmup_chunks at least 0; "
                f"got {self.slots}, {self.chunks} and {self.warmup_chunks}."
            )


def measure(args: Args) -> dict[str, Any]:
    """Run the benchmark."""
    import torch

    from sanawm_env.envs.options import as_device

    device = as_device(args.device)
    dtype = getattr(torch, args.dtype)
    model_config, _, _ = configs(args.size)
    torch.manual_seed(args.seed)
    net = randomly(lambda: transformer(model_config), device, dtype)
    vae = video_vae(args.size, device, dtype) if args.decode else None
    results: dict[str, Any] = {}
    seconds = warm_up(args, net, vae, device, dtype)
    for slots in args.slots:
        results[str(slots)] = _or_too_large(lambda: rollout(args, net, vae, slots, device, dtype))  # noqa: B023
    beside = _or_too_large(lambda: compare(args, net, device, dtype)) if args.diffusers else None
    also: dict[str, Any] = {}
    for way in sorted(args.also, key=lambda way: "fused" in way):
        also[way] = another_way(way, args, net, vae, device, dtype)
    return {
        "results": results,
        "diffusers": beside,
        "also": also,
        "warmup_s": round(seconds, 3),
        "parameters": sum(value.numel() for value in net.parameters()),
        "flops_per_chunk": chunk_flops_of(args.size, 1),
        "machine": machine(device),
        "settings": asdict(args) | {"out": None if args.out is None else str(args.out), "device": str(device)},
    }


def another_way(way: Way, args: Args, net: Any, vae: Any, device: Any, dtype: Any) -> dict[str, Any]:
    """Measure one of `--also`; fuses `net` for good where the way says so."""
    import torch

    from sanawm_env.world.accel.fused import fuse_projections
    from sanawm_env.world.accel.kernels.choose import use_kernels

    captured, words = "captured" in way, way.split("+")
    try:
        use_kernels(net, "triton" if "triton" in words else "fla" if "fla" in words else "plain")
        if "fused" in way:
            fuse_projections(net)
        run = torch.compile(net, backend=args.compile_backend, dynamic=False) if way == "compiled" else net
        seconds = warm_up(args, run, vae, device, dtype, captured)
        found = {
            str(slots): _or_too_large(lambda: rollout(args, run, vae, slots, device, dtype, captured))  # noqa: B023
            for slots in args.slots
        }
    except Exception as error:  # whatever a compiler or a driver says; the other ways go on
        return {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
    return {"results": found, "warmup_s": round(seconds, 3)}


def warm_up(args: Args, net: Any, vae: Any, device: Any, dtype: Any, captured: bool = False) -> float:
    """Run the first two chunks of every slot count once: kernels are chosen and loaded; says so, with progress.

    Returns:
        Seconds it took.
    """
    clock = time.perf_counter()
    for slots in tqdm(args.slots, unit="size", desc="warm-up: choosing kernels", file=sys.stderr):
        _or_too_large(lambda: list(timed_chunks(args.size, net, vae, slots, device, dtype, 2, captured)))  # noqa: B023
    return time.perf_counter() - clock


def rollout(
    args: Args, net: Any, vae: Any, slots: int, device: Any, dtype: Any, captured: bool = False
) -> dict[str, Any]:
    """Time one rollout of `slots` slots."""
    import torch

    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.reset_peak_memory_stats(device)
    count = 1 + args.warmup_chunks + args.chunks
    rows = []
    chunks = timed_chunks(args.size, net, vae, slots, device, dtype, count, captured)
    for row in tqdm(chunks, total=count, unit="chunk", desc=f"{slots} slots", file=sys.stderr):
        rows.append(row)
    opening, timed = rows[0], rows[1 + args.warmup_chunks :]
    names = ("stage1", "decode") if captured else ("denoise", "commit", "stage1", "decode")
    phases = {name: statistics.median(row[name] for row in timed) for name in names}
    stage1 = [row["stage1"] for row in timed]
    whole = [row["stage1"] + row["decode"] for row in timed]
    later = (MINUTE - 4) // 3
    clip1 = opening["stage1"] + later * statistics.median(stage1)
    clip = clip1 + opening["decode"] + later * statistics.median(whole) - later * statistics.median(stage1)
    peak = peak_rate(device)
    frames = 1 + 8 * (MINUTE - 1)
    return {
        **dict.fromkeys(("denoise_ms", "commit_ms")),
        **{f"{name}_ms": round(value * 1e3, 3) for name, value in phases.items()},
        "chunk_ms": round(statistics.median(whole) * 1e3, 3),
        "chunk_p95_over_p50": round(_quantile(whole, 0.95) / statistics.median(whole), 4),
        "chunk_ms_all": [round(value * 1e3, 3) for value in whole],
        "first_chunk_ms": round(1e3 * (opening["stage1"] + opening["decode"]), 3),
        "clip_s": round(clip, 3),
        "clip_stage1_s": round(clip1, 3),
        "frames_per_s": round(slots * frames / clip, 3),
        "mfu": None
        if peak is None
        else round(slots * chunk_flops_of(args.size, 1) / statistics.median(stage1) / peak, 4),
        "peak_bytes": torch.cuda.max_memory_allocated(device) if cuda else None,
        "state_bytes": timed[-1]["state_bytes"],
        "program_bytes": timed[-1]["program_bytes"],
    }


def compare(args: Args, net: Any, device: Any, dtype: Any) -> dict[str, Any]:
    """One forward of diffusers' transformer and one of ours, same tokens, one slot, no cache in either."""
    import torch

    try:
        from diffusers import SanaWMTransformer3DModel
    except ImportError as error:
        return {"error": f"the installed diffusers has no SanaWMTransformer3DModel ({error})"}
    config, _, grid = configs(args.size)
    # Its rotary table is a plain attribute, which cannot be made on the meta device.
    theirs = randomly(lambda: SanaWMTransformer3DModel(**_diffusers_arguments(config)), device, dtype, meta=False)
    found: dict[str, Any] = {"diffusers": version("diffusers")}
    for frames in (config.chunk_frames, 4 * config.chunk_frames + 1):
        conditions = chunk_conditions(config, 1, frames, grid, device, dtype)
        x = torch.randn(1, config.in_channels, frames, *grid, device=device, dtype=dtype)
        times = torch.full((1, frames), 500.0, device=device)

        def ours(x: Any = x, times: Any = times, conditions: Any = conditions) -> Any:
            return net(x, times, **conditions)

        def other(x: Any = x, times: Any = times, conditions: Any = conditions) -> Any:
            return theirs(
                x,
                times[:, None],
                conditions["text"][:, None],
                encoder_attention_mask=conditions["text_mask"],
                camera_conditions=conditions["raymap"],
                chunk_plucker=conditions["plucker"],
                return_dict=False,
            )

        with torch.inference_mode():
            pair = {"ours_ms": _time(ours, device, args), "diffusers_ms": _time(other, device, args)}
        found[f"latent_frames_{frames}"] = pair | {"speedup": round(pair["diffusers_ms"] / pair["ours_ms"], 3)}
    return found


def _diffusers_arguments(config: Any) -> dict[str, Any]:
    return {
        "in_channels": config.in_channels,
        "num_layers": config.depth,
        "hidden_size": config.hidden_size,
        "num_attention_heads": config.heads,
        "patch_size": (1, *config.patch_size),
        "softmax_every_n": config.softmax_every_n,
        "linear_head_dim": config.head_dim,
        "chunk_plucker_channels": config.plucker_channels,
        "caption_channels": config.caption_channels,
        "mlp_ratio": config.mlp_ratio,
    }


def _or_too_large(run: Callable[[], Any]) -> Any:
    """The answer, or what is said where memory does not suffice; the other sizes go on."""
    import torch

    try:
        return run()
    except torch.OutOfMemoryError as error:
        message = str(error).splitlines()[0]
    # Out of the handler, or the traceback would keep the tensors.
    gc.collect()
    torch.cuda.empty_cache()
    return {"error": message}


def _time(run: Callable[[], Any], device: Any, args: Args) -> float:
    """Median milliseconds, after two calls that are not counted."""
    seconds = []
    for index in range(2 + min(args.chunks, 10)):
        clock = now(device)
        run()
        spent = now(device) - clock
        if index >= 2:
            seconds.append(spent)
    return round(statistics.median(seconds) * 1e3, 3)


def _quantile(values: Sequence[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, round(share * (len(ordered) - 1)))]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def main(argv: Sequence[str] | None = None) -> None:
    try:
        args = tyro.cli(Args, description=__doc__, args=argv)
        result = measure(args)
        if args.out is not None:
            _write(args.out, json.dumps(result, indent=2, allow_nan=False) + "\n")
    except (ValueError, OSError, ImportError) as error:
        print(f"release_speed: error: {error}", file=sys.stderr)
        sys.exit(2)
    print(json.dumps(result, allow_nan=False))


if __name__ == "__main__":
    main()
