"""A small bench of our own, in the layout of SANA-WM-Bench, from procedural scenes.

The bench holds first frames and camera paths, no video: what a path truly shows is rendered again from the
scene's seed, which the manifest carries as an additional field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from sanawm_env.evaluation.bench.files import BenchError, read_json, read_npz
from sanawm_env.evaluation.bench.layout import EXPORT, KEPT, SPLITS, BenchScene, write_scene, write_split
from sanawm_env.evaluation.captions import CAPTIONS
from sanawm_env.evaluation.metrics.revisit import Pair, find_pairs
from sanawm_env.files import write_json, write_text
from sanawm_env.scenes import FAMILIES, first_frame, render_scene, sample_scenes
from sanawm_env.scenes.paths import Difficulty, draw_path
from sanawm_env.scenes.scene import Scene
from sanawm_env.scenes.seeds import BENCH_SEEDS, EVAL_SEEDS

__all__ = ["FIRST_SEED", "make_bench", "true_frames"]

FIRST_SEED = BENCH_SEEDS.start
"""Seeds of our bench begin here."""
FRAMES = 961
PAIRS = 10
"""Frame pairs kept for each path, at most; evaluators take the best five."""
_CANDIDATES, _THIN = 100, 4
PAIR_GAP = 10.0
"""Seconds between the two frames of a pair; a quarter of a path shorter than 40 s."""
_RECIPE = "sanawm_env_bench.json"
_VERSION = 1
_DIFFICULTY: dict[str, Difficulty] = {"simple_60s": "simple", "hard_60s": "hard"}


def make_bench(
    out: str | Path,
    *,
    scenes: int = 24,
    frames: int = FRAMES,
    fps: float = 16.0,
    height: int = 128,
    width: int = 224,
    first_seed: int = FIRST_SEED,
    progress: Callable[[str], None] | None = None,
) -> Path:
    """Make the bench, or go on with one that was interrupted; the same arguments give the same files.

    Scenes take the families in turn. `scene_set/kept_scenes.txt` is written last: a bench without it is not
    whole, and readers say so.

    Args:
        out: Folder of the bench.
        scenes: How many.
        frames: Length of the paths.
        fps: Frames per second.
        height: Rows of the first frames, pixels.
        width: Columns, pixels.
        first_seed: Seeds are this one and those after it.
        progress: Called with the id of each scene as it is done.

    Returns:
        The folder.

    Raises:
        ValueError: Numbers out of range, or seeds that training may use.
        BenchError: The folder holds another bench.
    """
    root = Path(out)
    seeds = range(first_seed, first_seed + scenes)
    if scenes < 1 or frames < 2 or not fps > 0 or min(height, width) < 16:
        raise ValueError(
            "a bench needs scenes >= 1, frames >= 2, fps > 0 and sides of at least 16 pixels; "
            f"got {scenes}, {frames}, {fps}, {height}x{width}."
        )
    if seeds[0] not in EVAL_SEEDS or seeds[-1] not in EVAL_SEEDS:
        raise ValueError(
            f"seeds {seeds[0]}..{seeds[-1]} must lie in {EVAL_SEEDS}, which no training sees; choose another "
            f"first_seed, for instance {FIRST_SEED}."
        )
    recipe = {
        "version": _VERSION, "scenes": scenes, "frames": frames, "fps": fps,
        "height": height, "width": width, "first_seed": first_seed,
    }  # fmt: skip
    if (root / _RECIPE).exists():
        if read_json(root / _RECIPE) != recipe:
            raise BenchError(f"{root / _RECIPE} belongs to another bench; choose another folder, or delete this one.")
    elif root.exists() and any(root.iterdir()):
        raise BenchError(f"{root} is not empty and holds no bench of ours; choose another folder.")
    write_json(root / _RECIPE, recipe)

    names, gap = list(FAMILIES), min(PAIR_GAP, frames / fps / 4)
    rows: list[dict[str, Any]] = []
    pairs: dict[str, dict[str, Sequence[Pair]]] = {split: {} for split in SPLITS}
    for number, seed in enumerate(seeds):
        family = names[number % len(names)]
        name = f"{family}_{number // len(names) + 1:03d}"
        _make_scene(root, name, family, seed, recipe)
        for split in SPLITS:
            path = root / SPLITS[split] / EXPORT / f"{name}.npz"
            pairs[split][name] = _pairs(read_npz(path, ["c2w"])["c2w"], fps, gap)
        rows.append({"id": name, "prompt": CAPTIONS[family], "scene_type": family, "seed": seed})
        if progress is not None:
            progress(name)
    for split in SPLITS:
        write_split(root, split, rows, pairs[split])
    write_text(root / KEPT, "".join(f"{row['id']}\n" for row in rows))
    return root


def true_frames(
    scene: BenchScene, frames: Sequence[int] | None = None, *, height: int | None = None, width: int | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """What the camera of a bench of ours truly sees, rendered from the scene's seed.

    Args:
        scene: A scene that has a seed.
        frames: Which frames; all by default, which takes about 10 MB of memory per 100 frames of 128x224.
        height: Rows, pixels; those of the image by default.
        width: Columns; likewise.

    Returns:
        rgb `(n, H, W, 3)` uint8 and z-depth `(n, H, W)`, metres, infinite for the sky.

    Raises:
        BenchError: The scene has no seed, so that its truth is not known.
        IndexError: No such frame.
    """
    if scene.seed is None:
        raise BenchError(f"{scene.id} has no seed in its manifest, so nobody can render it; use a bench of ours.")
    if scene.scene_type not in FAMILIES:
        raise BenchError(
            f"{scene.id} has scene_type {scene.scene_type!r}; with a seed it is one of {', '.join(FAMILIES)}."
        )
    chosen = np.arange(scene.num_frames) if frames is None else np.asarray(frames, dtype=np.int64)
    if chosen.size == 0 or chosen.min() < 0 or chosen.max() >= scene.num_frames:
        raise IndexError(f"{scene.id} has frames 0..{scene.num_frames - 1}; asked for {chosen.tolist()[:5]}.")
    size = (height or scene.image_size[1], width or scene.image_size[0])
    shrink = np.array([size[1] / scene.image_size[0], size[0] / scene.image_size[1]])
    matrix = scene.intrinsics[0]
    camera = np.concatenate([np.diag(matrix)[:2] * shrink, matrix[:2, 2] * shrink])
    world, _, _ = sample_scenes([scene.seed], *size, families=[scene.scene_type])
    poses = torch.from_numpy(scene.c2w[chosen]).float()
    rgb, depth = render_scene(world, poses, torch.from_numpy(camera).float(), *size)
    return rgb.numpy(), depth.numpy()


def _make_scene(root: Path, name: str, family: str, seed: int, recipe: dict[str, Any]) -> None:
    """Image and both paths of a scene, as far as they are not there."""
    missing = [split for split in SPLITS if not (root / SPLITS[split] / EXPORT / f"{name}.npz").exists()]
    if not missing and (root / "images" / f"{name}.png").exists():
        return
    image, intrinsics, world, pose = first_frame(seed, recipe["height"], recipe["width"], families=[family])
    start = pose.double().numpy()
    for split in SPLITS:
        rng = np.random.default_rng([seed, 4, list(SPLITS).index(split)])
        path = draw_path(rng, start, _clearance(world), _DIFFICULTY[split], recipe["frames"], recipe["fps"])
        write_scene(root, split, name, path, intrinsics.double().numpy(), recipe["fps"], image)


def _pairs(c2w: NDArray[np.float32], fps: float, gap: float) -> list[Pair]:
    """Frame pairs of a path, best first; no moment is used twice, or the first frame would be in most of them.

    Every fourth frame is looked at: the number of candidates grows with the square of that of frames.
    """
    thin = _THIN if len(c2w) > 40 * _THIN else 1
    taken: list[Pair] = []
    for pair in find_pairs(c2w[::thin], fps / thin, min_gap_s=gap, limit=_CANDIDATES):
        a, b = pair.frame_a * thin, pair.frame_b * thin
        used = [frame for other in taken for frame in (other.frame_a, other.frame_b)]
        if all(abs(frame - mine) >= fps for frame in used for mine in (a, b)):
            taken.append(replace(pair, frame_a=a, frame_b=b))
    return taken[:PAIRS]


def _clearance(world: Scene) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    def metres(points: NDArray[np.float64]) -> NDArray[np.float64]:
        return world.clearance(torch.from_numpy(points)[None].float())[0].double().numpy()

    return metres
