"""What does each precision change, and what does it save?

    python benchmarks/worlds/precision_error.py

Every way ("arm") to compute plays the same scenes with the same noise and the same random actions. The last line
printed is one JSON object; for each arm:

    basis               `measured`; or `emulated`: formats of GPUs that are not here, only their rounding of weights
                        and activations is imitated (see `precision_emulation`); or `skipped`, and why
    output_error        relative error of the network's output in one denoising call on the very same inputs:
                        |out - reference| / |reference|, all scenes together; against fp32 and against bf16
    psnr_db             of the frames of the second that ends after 1 s and 10 s, both rollouts going their own way,
                        against fp32's and bf16's frames; 8-bit frames, so that equal ones have none (null)
    weight_bytes        of the transformer as it is in memory; for emulated arms what `plan_memory` plans
    layers              number of layers quantised or rounded, of those in the scope

`states`: what `state_precision` changes, on a release with random weights, cut to two heads, four blocks and 128x192
pixels, in bfloat16: after the first and the last of `--chunks` steps, each rollout going its own way, the relative
error of the chunk's latents and the PSNR of its frames against states in full;

and `release_weight_bytes`, the planned bytes of the 2.66 B release's transformer in each precision.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import sanawm_env  # noqa: F401  before torch: docs/explanation/busy-machine.md

# isort: split
import gymnasium as gym
import numpy as np
import torch
import tyro
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from torch import Tensor
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[2]))  # as a script it finds only its own folder

from benchmarks import hardware
from benchmarks.worlds.precision_emulation import emulate
from sanawm_env.cli.doctor.plan import weight_bytes
from sanawm_env.world.accel.device import PRECISIONS
from sanawm_env.world.accel.precision import check_precision, quantise, scope, weights_report
from sanawm_env.world.checkpoints.presets import release_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.networks.cache import ModelCache, empty_cache, remember
from sanawm_env.world.sampler import decode, denoise, isolated

ARMS: dict[str, tuple[str, dict[str, Any]]] = {
    "fp32": ("fp32", {}),
    "bf16": ("bf16", {}),
    "int8": ("int8", {}),
    "int8, float32 activations": ("int8", {"dtype": torch.float32}),
    "int8, dynamic int8 activations": ("int8", {"activations": True}),
    "fp8": ("fp8", {}),
    "nvfp4": ("nvfp4", {}),
    "fp32, states in fp8": ("fp32", {"state_precision": "fp8"}),
    "fp32, states in int8": ("fp32", {"state_precision": "int8"}),
}
REFERENCES = ("fp32", "bf16")


@dataclass(frozen=True)
class Args:
    """Error and size of each precision, with one world."""

    checkpoint: str = "tiny"
    """Built-in name or folder."""
    device: str = "cpu"
    """Where to compute."""
    seconds: tuple[int, ...] = (1, 10)
    """Moments at which frames are compared."""
    scenes: int = 4
    """Rollouts of each arm."""
    chunks: int = 40
    """Steps of `states`; 0 leaves them out."""
    weights: bool = True
    """Run the arms; without them only `states`."""
    seed: int = 0
    """Of the first scene and of the actions."""
    threads: int | None = None
    """Threads of torch; its own choice if not given."""
    out: Path | None = None
    """Also write the JSON here."""

    def __post_init__(self) -> None:
        if self.scenes < 1 or not self.seconds or min(self.seconds) < 1:
            raise ValueError(f"need scenes >= 1 and seconds >= 1; got {self.scenes} and {self.seconds}.")


@dataclass
class Call:
    """One denoising call of the network: what went in."""

    x: Tensor
    timesteps: Tensor
    conditions: dict[str, Any]


def measure(args: Args) -> dict[str, Any]:
    """Run all arms."""
    if args.threads is not None:
        torch.set_num_threads(args.threads)
    arms: dict[str, dict[str, Any]] = {}
    frames: dict[str, NDArray[np.uint8]] = {}
    outputs: dict[str, list[Tensor]] = {}
    calls: list[Call] = []
    reference: WorldModel | None = None
    for name in tqdm(ARMS if args.weights else ("fp32",), file=sys.stderr):
        clock = time.perf_counter()
        try:
            world, about = build(name, args)
        except (ValueError, ImportError) as error:
            arms[name] = {"basis": "skipped", "reason": str(error)}
            continue
        reference = reference or world
        frames[name] = play(world, args, calls if name == "fp32" else None)
        outputs[name] = [answer(world, call) for call in calls]
        arms[name] = about | {"seconds": round(time.perf_counter() - clock, 1)}
    for name in frames:
        others = [r for r in REFERENCES if r != name and not (name == "fp32" and r == "bf16")]
        arms[name]["output_error"] = {r: float(f"{relative(outputs[name], outputs[r]):.3g}") for r in others}
        arms[name]["psnr_db"] = {
            r: {f"{t} s": psnr(frames[name], frames[r], t, reference) for t in args.seconds} for r in others
        }
    assert reference is not None
    return {
        "arms": arms,
        "states": state_errors(args) if args.chunks else None,
        "release_weight_bytes": {p: weight_bytes(release_config(), p) for p in PRECISIONS},
        "checkpoint": args.checkpoint,
        "checkpoint_hash": reference.checkpoint,
        "hardware": hardware(torch.get_num_threads()),
        "device": args.device if args.device == "cpu" else torch.cuda.get_device_name(args.device),
        "torch": torch.__version__,
        "torchao": _version("torchao"),
        "settings": asdict(args) | {"out": None},
    }


def build(arm: str, args: Args) -> tuple[WorldModel, dict[str, Any]]:
    """The world of an arm, and what is known of it before it runs."""
    precision, options = ARMS[arm]
    activations = options.get("activations", False)
    load = {name: options[name] for name in ("dtype", "state_precision") if name in options}
    if precision in ("fp8", "nvfp4"):
        try:
            check_precision(precision, args.device)
        except (ValueError, ImportError):
            world = WorldModel.load(args.checkpoint, args.device, precision="bf16")
            rounded = emulate(world.transformer, precision)
            return world, {
                "basis": "emulated",
                "layers": f"{len(rounded)} of {len(scope(WorldModel.load(args.checkpoint).transformer))}",
                "weight_bytes": weight_bytes(world.config, precision),
            }
    if activations:
        check_precision(precision, args.device)
        world = WorldModel.load(args.checkpoint, args.device, precision="bf16")
        quantise(world.transformer, "int8", activations=True)
    else:
        world = WorldModel.load(args.checkpoint, args.device, precision=precision, **load)
    report = weights_report(world.transformer)
    return world, {
        "basis": "measured",
        "layers": f"{len(report.layers) - len(report.kept)} of {len(report.layers)}",
        "weight_bytes": report.after,
    }


def play(world: WorldModel, args: Args, calls: list[Call] | None) -> NDArray[np.uint8]:
    """Frames `(scenes, F, H, W, 3)`; with `calls`, also records a denoising call of each scene's second step."""
    env: Any = gym.make("SanaWM-v0", checkpoint=world, episode_seconds=None)
    inner = env.unwrapped
    steps = math.ceil(max(args.seconds) * world.config.fps / inner.frames_per_step)
    films = []
    for scene in range(args.scenes):
        actions = np.random.default_rng(args.seed + scene).uniform(-1, 1, (max(steps, 2), 6)).astype(np.float32)
        env.reset(seed=args.seed + scene)
        film = []
        for index, action in enumerate(actions):
            seen: list[Call] = []
            hook = None
            if calls is not None and index == 1:
                hook = world.transformer.register_forward_pre_hook(_recorder(seen), with_kwargs=True)
            film.append(env.step(action)[4]["frames"])
            if hook is not None and calls is not None:
                hook.remove()
                calls.append(seen[0])
        films.append(np.concatenate(film))
    env.close()
    return np.stack(films)


def _recorder(seen: list[Call]) -> Any:
    def record(_: Any, args: tuple[Tensor, ...], kwargs: dict[str, Any]) -> None:
        seen.append(Call(args[0], args[1], dict(kwargs)))

    return record


@torch.inference_mode()
def answer(world: WorldModel, call: Call) -> Tensor:
    """The network's output for recorded inputs, cast to the types that this world computes in."""
    model, conditions = world.transformer, dict(call.conditions)
    cache: ModelCache = conditions.pop("cache")
    tokens = world.token_grid[0] * world.token_grid[1]
    kept: dict[str, Any] = {"dtype": world.dtype, "precision": world.state_precision}
    like = empty_cache(world.config.model, 1, tokens, device="meta", **kept)
    blocks = tuple(remember(block, empty) for block, empty in zip(cache.blocks, like.blocks, strict=True))
    cast = replace(cache, blocks=blocks)
    if conditions.get("text") is not None:
        conditions["text"] = conditions["text"].to(world.dtype)
    return model(call.x.to(world.dtype), call.timesteps, cache=cast, **conditions)[0].float()


def state_errors(args: Args) -> dict[str, Any]:
    """The section `states`."""
    config = release_config()
    model = config.model.replace(depth=4, hidden_size=224, in_channels=16, caption_channels=0)
    vae: dict[str, Any] = {
        "kind": "ltx2", "latent_channels": 16, "block_out_channels": (8, 16, 32, 64), "layers_per_block": (1,) * 5,
        "decoder_block_out_channels": (16, 32, 64), "decoder_layers_per_block": (2,) * 4,
    }  # fmt: skip
    config = config.replace(model=model, vae=vae, height=128, width=192)
    full = WorldModel.untrained(config, args.seed, device=args.device)
    full.transformer.to(torch.bfloat16), full.vae.to(torch.bfloat16)
    parts = (config, full.transformer, full.vae, full.checkpoint)
    ways = {kind: list(walk(WorldModel(*parts, state_precision=kind), args)) for kind in (None, "fp8", "int8")}
    found: dict[str, Any] = {"state_bytes": {str(kind): steps[0][2] for kind, steps in ways.items()}}
    for kind in ("fp8", "int8"):
        for chunk in sorted({1, args.chunks}):
            (latents, frames, _), (expected, pictures, _) = ways[kind][chunk - 1], ways[None][chunk - 1]
            error = float(np.mean((frames.astype(np.float64) - pictures) ** 2))
            found.setdefault(kind, {})[f"chunk {chunk}"] = {
                "latents": float(f"{relative([latents], [expected]):.3g}"),
                "psnr_db": None if error == 0 else round(10 * math.log10(255**2 / error), 1),
            }
    return found


def walk(world: WorldModel, args: Args) -> Iterator[tuple[Tensor, NDArray[np.uint8], int]]:
    """Latents, frames and the state's bytes after each chunk of a rollout that turns as it goes."""
    config, rng = world.config, np.random.default_rng(args.seed)
    image = rng.integers(0, 256, (1, config.height, config.width, 3), dtype=np.uint8)
    state, _ = world.start(image, [[150.0, 150.0, config.width / 2, config.height / 2]], [args.seed])
    count = config.chunk_frames * world.vae.temporal_stride
    for _ in tqdm(range(args.chunks), file=sys.stderr, desc=str(world.state_precision)):
        angles = 0.01 * (1 + int(state.frame_index) + np.arange(count))
        poses = np.tile(np.eye(4), (1, count, 1, 1))
        poses[0, :, :3, :3] = Rotation.from_euler("y", np.sin(angles)[:, None]).as_matrix()
        poses[0, :, 2, 3] = 2 * angles
        with isolated(world.device):
            c2w, levels = world.check_step(state, poses, None)
            done = denoise(world.networks, state.contiguous(), c2w, levels)
            state, frames = decode(world.networks, done)
        yield done.latents, frames.cpu().numpy(), state.nbytes


def relative(ours: list[Tensor], theirs: list[Tensor]) -> float:
    """Norm of the difference over the norm of the reference."""
    a, b = torch.cat(ours), torch.cat(theirs)
    return float((a - b).norm() / b.norm())


def psnr(ours: NDArray[np.uint8], theirs: NDArray[np.uint8], second: int, world: WorldModel | None) -> float | None:
    """PSNR in dB over the second of all scenes that ends at `second`; None for equal frames."""
    assert world is not None
    fps = int(world.config.fps)
    part = np.s_[:, (second - 1) * fps : second * fps]
    error = float(np.mean((ours[part].astype(np.float64) - theirs[part]) ** 2))
    return None if error == 0 else round(10 * math.log10(255**2 / error), 1)


def _version(package: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(package)
    except PackageNotFoundError:
        return None


def main(argv: Sequence[str] | None = None) -> None:
    try:
        args = tyro.cli(Args, description=__doc__, args=argv)
        result = measure(args)
    except (ValueError, OSError) as error:
        print(f"precision_error: error: {error}", file=sys.stderr)
        sys.exit(2)
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    print(json.dumps(result, allow_nan=False))


if __name__ == "__main__":
    main()
