"""Can the annotator's cameras be trusted? Renders of known truth: how far its paths are off, and what it refuses.

    python -m benchmarks.annotate_truth --seeds 20000000:20000020
    python -m benchmarks.annotate_truth --seeds 20000000:20000000 --posed labmaze castle

The last line printed is one JSON object. `castle` is ViSP's simulated castle (apt install visp-images-data).
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

sys.path.append(str(Path(__file__).resolve().parents[1]))  # as a script it finds only its own folder

from benchmarks import print_line
from sanawm_env.camera.opencv import cv2
from sanawm_env.data.annotation.run import annotate_frames
from sanawm_env.data.annotation.scale import NoScale, Scale, from_camera_height, from_depth
from sanawm_env.data.annotation.structure.agreement import apart, path_length, similarity
from sanawm_env.data.annotation.structure.gates import Limits
from sanawm_env.data.annotation.structure.solve import Solution
from sanawm_env.evaluation.metrics.camera_error import MIN_PATH, camera_error
from sanawm_env.scenes import make_clips
from sanawm_env.scenes.posed_clips import is_clips, list_clips

CASTLE = Path("/usr/share/visp-images-data/ViSP-images/mbt-depth/Castle-simu")
FALSE_PERCENT = 10.0
GOOD_PERCENT, GOOD_DEG = 3.0, 1.0
MOVES_M = 1.0
TEXTURED = 100
"""Median number of corners in view from which a clip counts as textured."""


@dataclass(frozen=True)
class Args:
    """Annotate clips whose cameras are known, and compare."""

    seeds: str = "20000000:20000020"
    """Procedural scenes, first:last+1; equal numbers for none."""
    frames: int = 65
    """Frames of each."""
    height: int = 256
    """Rows."""
    width: int = 448
    """Columns."""
    intrinsics: Literal["known", "found"] = "known"
    """Whether the annotator is told the intrinsics."""
    posed: tuple[str, ...] = ()
    """More clips of known truth: datasets of posed clips (`sanawm data generate`), or any that `sanawm data` reads,
    such as rollouts of a world, whose truth is what was commanded; or `castle`."""
    clips: Path | None = None
    """Where renders are kept from run to run."""


@dataclass(frozen=True, eq=False)
class Truth:
    """A clip and its camera."""

    name: str
    """Source and number."""
    frames: NDArray[np.uint8]
    """`(F, H, W, 3)`."""
    c2w: NDArray[np.float64]
    """`(F, 4, 4)`, metres."""
    intrinsics: NDArray[np.float64]
    """`(4,)` pixels."""
    depth: NDArray[np.float32] | None = None
    """`(F, H, W)` metres."""
    camera_height: float | None = None
    """Mean height over the floor, metres."""


def procedural(args: Args) -> Iterator[Truth]:
    """Renders of the seeds."""
    first, last = (int(each) for each in args.seeds.split(":"))
    for seed in range(first, last):
        kept = args.clips and args.clips / f"{seed}-{args.frames}x{args.height}x{args.width}.npz"
        if kept and kept.is_file():
            with np.load(kept) as file:
                found = {name: file[name] for name in file.files}
        else:
            clip = make_clips([seed], args.frames, args.height, args.width)
            found = {
                "rgb": clip.rgb[0].numpy(),
                "depth": clip.depth[0].numpy().astype(np.float16),
                "c2w": clip.c2w[0].double().numpy(),
                "intrinsics": clip.intrinsics[0].double().numpy(),
            }
            if kept:
                kept.parent.mkdir(parents=True, exist_ok=True)
                np.savez_compressed(kept, **found)
        c2w = found["c2w"]
        height = -float(c2w[:, 1, 3].mean())
        yield Truth(f"procedural {seed}", found["rgb"], c2w, found["intrinsics"], found["depth"], height)


def posed(source: str) -> Iterator[Truth]:
    """Clips of a dataset, or of ViSP's castle."""
    path = Path(source)
    if source == "castle":
        yield castle()
    elif is_clips(path):
        for clip in list_clips(path):
            depth = clip.depth()
            lens = clip.intrinsics[0].astype(float)
            frames = np.stack(list(clip.frames()))
            yield Truth(f"{path.name} {clip.name}", frames, clip.c2w, lens, None if depth is None else depth)
    else:
        from sanawm_env.data.episode import all_frames
        from sanawm_env.data.formats import detect

        for episode in detect(path).load().read(path):
            yield Truth(f"{path.name} {episode.name}", all_frames(episode), episode.c2w, episode.intrinsics)


def castle() -> Truth:
    """ViSP's simulated castle.

    Raises:
        FileNotFoundError: It is not installed.
    """
    if not CASTLE.is_dir():
        raise FileNotFoundError(f"no {CASTLE}; apt-get install visp-images-data.")
    frames, w2c = [], []
    for number in range(1, 41):
        gray = cv2.imread(str(CASTLE / "Images" / f"Image_{number:04d}.pgm"), cv2.IMREAD_GRAYSCALE)
        frames.append(np.repeat(np.asarray(gray, np.uint8)[..., None], 3, axis=-1))
        rows = np.loadtxt(CASTLE / "CameraPose" / f"Camera_{number:03d}.txt")
        w2c.append(rows.reshape(4, 4))
    lens = np.array([700.0, 700.0, 320.5, 240.5])
    return Truth("castle", np.stack(frames), np.linalg.inv(np.stack(w2c)), lens)


def judge(truth: Truth, args: Args) -> dict[str, Any]:
    """Annotate one clip and compare it."""
    began = time.perf_counter()
    size = truth.frames.shape[1:3]
    known = truth.intrinsics if args.intrinsics == "known" else None
    tracks, found = annotate_frames(truth.frames, (size[0], size[1]), known, Limits())
    path = path_length(truth.c2w)
    row: dict[str, Any] = {
        "clip": truth.name,
        "path_m": path,
        "corners": found.figures["corners"],
        "accepted": not found.reasons,
        "motion": found.figures.get("motion"),
        "reasons": list(found.reasons),
        "seconds": time.perf_counter() - began,
    }
    if not len(found.c2w):
        return row
    error = camera_error(found.c2w, truth.c2w, metric=False)
    row["rotation_deg"] = error.rot_err_deg
    row["focal_percent"] = 100 * (found.intrinsics[0] * size[1] / tracks.size[1] / truth.intrinsics[0] - 1)
    if path < MIN_PATH:
        # The picture of a camera that hardly moves shows no path; what it is said to move by must be as little.
        return row
    # evo turns a straight path as it likes; the other alignment turns it as the rotations say. The worse one counts.
    offs = [apart(found.c2w, truth.c2w).share, (error.ape_sim3_m or 0.0) / path]
    row["ate_percent"] = 100.0 if found.turning or error.failure else 100 * min(max(offs), 10.0)
    if found.reasons or found.turning:
        return row
    right = similarity(found.c2w, truth.c2w)[0]
    row["scale_percent"] = {
        name: None if scale is None else 100 * (scale.factor / right - 1) for name, scale in _scales(truth, found)
    }
    return row


def _scales(truth: Truth, found: Solution) -> Iterator[tuple[str, Scale | None]]:
    pictures = [truth.frames[key] for key in found.keys]
    small = found.intrinsics[2] * 2, found.intrinsics[3] * 2
    if small != truth.frames.shape[2:0:-1]:
        pictures = [cv2.resize(each, (round(small[0]), round(small[1]))) for each in pictures]
    if truth.depth is not None:
        depths = iter(truth.depth[list(found.keys)])

        def model(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
            depth = next(depths).astype(np.float32)
            return np.asarray(cv2.resize(depth, picture.shape[1::-1], interpolation=cv2.INTER_NEAREST), np.float32)

        yield "depth", from_depth(model, "the renderer's depth")(found, pictures, 0.0)
    if truth.camera_height is not None:
        try:
            yield "camera_height", from_camera_height(truth.camera_height)(found, pictures, 0.0)
        except NoScale:
            yield "camera_height", None


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What all clips say."""
    accepted = [row for row in rows if row["accepted"]]
    paths = [row for row in accepted if "ate_percent" in row]
    moving = [row for row in rows if row["path_m"] >= MOVES_M]
    textured = [row for row in moving if row["corners"] >= TEXTURED]
    refused = Counter(_kind(row["reasons"][0]) for row in rows if not row["accepted"])
    good = [
        row for row in accepted if row.get("ate_percent", 0) <= GOOD_PERCENT and (row["rotation_deg"] or 0) <= GOOD_DEG
    ]
    scales: dict[str, list[float]] = {"depth": [], "camera_height": []}
    missing: Counter[str] = Counter()
    for row in accepted:
        for name, value in row.get("scale_percent", {}).items():
            if value is None:
                missing[name] += 1
            else:
                scales[name].append(value)
    return {
        "clips": len(rows),
        "accepted": len(accepted),
        "turning_only": sum(row["motion"] == "turns only" for row in accepted),
        "refused": dict(refused),
        "ate_percent": _spread([row["ate_percent"] for row in paths]),
        "rotation_deg": _spread([row["rotation_deg"] for row in accepted]),
        "focal_percent": _spread([row["focal_percent"] for row in accepted if row["motion"] != "turns only"]),
        "scale_percent": {name: _spread(values) | {"not_found": missing[name]} for name, values in scales.items()},
        "good_share": len(good) / len(accepted) if accepted else None,
        "false_accepted": sum(row["ate_percent"] > FALSE_PERCENT for row in paths),
        "moving": len(moving),
        "moving_textured": len(textured),
        "moving_textured_accepted": sum(row["accepted"] for row in textured),
        "refused_paths_ate_percent": _spread(
            [row["ate_percent"] for row in rows if not row["accepted"] and "ate_percent" in row]
        ),
        "seconds_per_clip": round(float(np.mean([row["seconds"] for row in rows])), 1) if rows else None,
    }


def _spread(values: Sequence[float]) -> dict[str, float | int | None]:
    """Median and worst by size."""
    sizes = np.abs(np.asarray(values, float))
    if not len(sizes):
        return {"count": 0, "median": None, "worst": None}
    return {"count": len(sizes), "median": round(float(np.median(sizes)), 3), "worst": round(float(sizes.max()), 3)}


def _kind(reason: str) -> str:
    return re.sub(r"[-+]?\d+(\.\d+)?", "#", re.split(r"[:,]", reason)[0])


def measure(args: Args) -> dict[str, Any]:
    """Judge all clips."""
    rows = []
    sources = [procedural(args), *map(posed, args.posed)]
    for truth in tqdm((each for source in sources for each in source), unit="clip", file=sys.stderr):
        rows.append(judge(truth, args))
        print(json.dumps(rows[-1]), file=sys.stderr)
    return {**summary(rows), "seeds": args.seeds, "posed": list(args.posed), "intrinsics": args.intrinsics}


def main(argv: Sequence[str] | None = None) -> None:
    print_line(measure, Args, __doc__, argv)


if __name__ == "__main__":
    main()
