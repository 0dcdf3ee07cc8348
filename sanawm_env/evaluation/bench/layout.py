"""The folders of SANA-WM-Bench, read with every check before anything runs, and written file by file.

    <root>/images/<id>.png
    <root>/scene_set/kept_scenes.txt                      one id per line
    <root>/<split folder>/scene_trajectories_v2.json      frame pairs of each scene that see the same place
    <root>/<split folder>/sanawm_export_v2/run_manifest.jsonl
    <root>/<split folder>/sanawm_export_v2/<id>.npz       c2w, intrinsics, fps, num_frames

Paths in the manifest are relative to the root. Scene ids are those of the images; both splits share them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from sanawm_env.camera import Intrinsics, validate_c2w
from sanawm_env.evaluation.bench.files import BenchError, read_json, read_lines, read_npz, read_png
from sanawm_env.evaluation.metrics.revisit import Pair
from sanawm_env.files import replacing, write_json, write_text

__all__ = ["SPLITS", "BenchError", "BenchScene", "read_bench", "write_scene", "write_split"]

SPLITS = {"simple_60s": "benchmark_v2_smooth_60s", "hard_60s": "benchmark_v2_hard_60s"}
"""Split to its folder."""
EXPORT = "sanawm_export_v2"
TRAJECTORIES = "scene_trajectories_v2.json"
KEPT = "scene_set/kept_scenes.txt"
_KEYS = ("id", "prompt", "image_path", "camera_path", "scene_type")
_ARRAYS = ("c2w", "intrinsics", "fps", "num_frames")


@dataclass(frozen=True, eq=False)
class BenchScene:
    """One scene of one split."""

    id: str
    """Name of the scene, the same in both splits."""
    split: str
    """Key of `SPLITS`."""
    prompt: str
    """What the image shows."""
    scene_type: str
    """Category."""
    image_path: Path
    """First frame."""
    camera_path: Path
    """Its npz."""
    image_size: tuple[int, int]
    """Width and height of the image, pixels."""
    c2w: NDArray[np.float64]
    """`(F, 4, 4)` camera-to-world, metres."""
    intrinsics: NDArray[np.float64]
    """`(F, 3, 3)` in pixels of the image."""
    fps: float
    """Frames per second of the path."""
    pairs: tuple[Pair, ...]
    """Best first."""
    seed: int | None = None
    """Of the procedural scene, in benches of our own."""

    @property
    def num_frames(self) -> int:
        """Frames of the path."""
        return len(self.c2w)

    def image(self) -> NDArray[np.uint8]:
        """The first frame, `(H, W, 3)` uint8 RGB."""
        with Image.open(self.image_path) as picture:
            return np.array(picture.convert("RGB"), dtype=np.uint8)


def read_bench(root: str | Path, split: str, ids: Iterable[str] | None = None) -> tuple[BenchScene, ...]:
    """Read one split and check all of it.

    Args:
        root: Folder of the bench.
        split: `simple_60s` or `hard_60s`.
        ids: Scenes to read, in this order; None reads all that are kept, in the order of the manifest.

    Raises:
        BenchError: The first thing that is missing, broken or contradictory; names the file and the fix.
    """
    base = Path(root)
    if split not in SPLITS:
        raise BenchError(f"no split {split!r}; choose one of {', '.join(SPLITS)}.")
    for folder in (base, base / SPLITS[split]):
        if not folder.is_dir():
            raise BenchError(f"{folder} is no folder; give the root of the bench, with {SPLITS[split]} in it.")
    kept = _unique(read_lines(base / KEPT), base / KEPT)
    rows = _manifest(base / SPLITS[split] / EXPORT / "run_manifest.jsonl", kept)
    pairs = _trajectories(base / SPLITS[split] / TRAJECTORIES, kept)
    wanted = list(rows) if ids is None else list(ids)
    unknown = [name for name in wanted if name not in rows]
    if unknown:
        raise BenchError(f"{base / KEPT} has no scene {', '.join(unknown)}; it has {', '.join(list(rows)[:5])}, ...")
    return tuple(_scene(base, split, rows[name], pairs[name]) for name in wanted)


def write_scene(
    root: Path, split: str, name: str, c2w: ArrayLike, intrinsics: ArrayLike, fps: float, image: NDArray[np.uint8]
) -> None:
    """Write a scene's image, unless it is there, and its npz; each is whole or not there.

    Args:
        root: Folder of the bench.
        split: Key of `SPLITS`.
        name: Id of the scene.
        c2w: `(F, 4, 4)` camera-to-world, metres; stored as float32.
        intrinsics: `(4,)` fx, fy, cx, cy, pixels of the image.
        fps: Frames per second.
        image: `(H, W, 3)` uint8 RGB, the first frame.

    Raises:
        ValueError: Poses or intrinsics that no camera has.
    """
    poses = validate_c2w(c2w)
    camera = Intrinsics.from_any(intrinsics, image.shape[1], image.shape[0])
    matrices = np.tile(camera.matrix(), (len(poses), 1, 1)).astype(np.float32)
    picture = root / "images" / f"{name}.png"
    if not picture.exists():
        with replacing(picture) as temporary:
            Image.fromarray(image).save(temporary, format="PNG")
    with replacing(_npz(root, split, name)) as temporary:
        np.savez_compressed(
            temporary, c2w=poses.astype(np.float32), intrinsics=matrices, fps=fps, num_frames=len(poses)
        )


def write_split(root: Path, split: str, rows: Sequence[dict[str, Any]], pairs: dict[str, Sequence[Pair]]) -> None:
    """Write a split's manifest and frame pairs.

    Args:
        root: Folder of the bench.
        split: Key of `SPLITS`.
        rows: For each scene `id`, `prompt`, `scene_type` and whatever else is to be kept; the paths are added.
        pairs: Frame pairs of each scene; written best first.
    """
    folder = root / SPLITS[split]
    scenes = [
        {"scene_id": row["id"], "evaluation_pairs": [pair.to_dict() for pair in _best_first(pairs[row["id"]])]}
        for row in rows
    ]
    write_json(folder / TRAJECTORIES, {"scenes": scenes})
    lines = []
    for row in rows:
        camera = _npz(Path(), split, row["id"]).as_posix()
        lines.append(json.dumps(row | {"image_path": f"images/{row['id']}.png", "camera_path": camera}))
    write_text(folder / EXPORT / "run_manifest.jsonl", "\n".join(lines) + "\n")


def _npz(root: Path, split: str, name: str) -> Path:
    return root / SPLITS[split] / EXPORT / f"{name}.npz"


def _best_first(pairs: Iterable[Pair]) -> tuple[Pair, ...]:
    return tuple(sorted(pairs, key=lambda pair: -pair.quality_score))


def _unique(names: list[str], path: Path) -> list[str]:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice or not names:
        raise BenchError(f"{path} lists {', '.join(twice) + ' twice' if twice else 'no scene'}; write each id once.")
    return names


def _manifest(path: Path, kept: list[str]) -> dict[str, dict[str, Any]]:
    rows: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(read_lines(path), 1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError:
            raise BenchError(f"{path}, line {number} is not whole JSON; fetch or make the file again.") from None
        absent = [key for key in _KEYS if not isinstance(row, dict) or not isinstance(row.get(key), str)]
        if absent:
            raise BenchError(f"{path}, line {number} lacks the text {', '.join(absent)}; fetch or make it again.")
        if row["id"] in rows:
            raise BenchError(f"{path}, line {number} repeats scene {row['id']}; delete one of the lines.")
        if row["id"] not in kept:
            raise BenchError(f"{path}, line {number}: scene {row['id']} is not in {KEPT}; add it there or drop it.")
        rows[row["id"]] = row
    lost = [name for name in kept if name not in rows]
    if lost:
        raise BenchError(f"{path} lacks scene {lost[0]} of {KEPT} ({len(lost)} in all); fetch or make it again.")
    return rows


def _trajectories(path: Path, kept: list[str]) -> dict[str, tuple[Pair, ...]]:
    data = read_json(path)
    try:
        scenes = {
            str(scene["scene_id"]): _best_first(
                Pair(
                    frame_a=int(pair["frame_a"]),
                    frame_b=int(pair["frame_b"]),
                    distance_m=float(pair["distance_m"]),
                    angle_diff_deg=float(pair["angle_diff_deg"]),
                    quality_score=float(pair["quality_score"]),
                )
                for pair in scene["evaluation_pairs"]
            )
            for scene in data["scenes"]
        }
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise BenchError(f"{path}: scenes are not as SANA-WM-Bench has them ({problem}); fetch it again.") from None
    lost = [name for name in kept if name not in scenes]
    if lost:
        raise BenchError(f"{path} lacks scene {lost[0]} of {KEPT} ({len(lost)} in all); fetch or make it again.")
    return scenes


def _scene(base: Path, split: str, row: dict[str, Any], pairs: tuple[Pair, ...]) -> BenchScene:
    image, camera = base / row["image_path"], base / row["camera_path"]
    size = read_png(image)
    data = read_npz(camera, _ARRAYS)
    try:
        frames, fps = int(data["num_frames"]), float(data["fps"])
        if frames < 1 or not np.isfinite(fps) or fps <= 0:
            raise ValueError(f"num_frames is {frames} and fps {fps}; both must be positive")
        for name, shape in (("c2w", (frames, 4, 4)), ("intrinsics", (frames, 3, 3))):
            if data[name].shape != shape:
                raise ValueError(f"{name} has shape {data[name].shape}, num_frames asks for {shape}")
        c2w = validate_c2w(data["c2w"])
        matrices = Intrinsics.from_any(data["intrinsics"], *size).matrix()
    except (TypeError, ValueError) as error:
        raise BenchError(f"{camera}: {str(error).rstrip('.')}. Fetch or make the file again.") from None
    for pair in pairs:
        if not 0 <= pair.frame_a < pair.frame_b < frames or not np.isfinite(pair.quality_score):
            where = base / SPLITS[split] / TRAJECTORIES
            raise BenchError(
                f"{where}: {row['id']} has the pair {pair.frame_a}, {pair.frame_b}; frames must rise within "
                f"0..{frames - 1} and have a finite quality_score. Fetch or make the file again."
            )
    seed = row.get("seed")
    if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool) or seed < 0):
        raise BenchError(f"the manifest of {split} gives {row['id']} the seed {seed!r}; it must be a whole number.")
    return BenchScene(
        id=row["id"],
        split=split,
        prompt=row["prompt"],
        scene_type=row["scene_type"],
        image_path=image,
        camera_path=camera,
        image_size=size,
        c2w=c2w,
        intrinsics=matrices,
        fps=fps,
        pairs=pairs,
        seed=seed,
    )
