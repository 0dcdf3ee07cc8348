"""Run a world over a bench split, and score anybody's videos of it.

Videos go to `<method>/<split>/<id>_generated.mp4`, scores to the files of `bench.results`. Both go on where they
stopped; a scene whose camera could not be recovered stays in the files, with the reason.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera import Intrinsics
from sanawm_env.camera.opencv import cv2
from sanawm_env.evaluation.bench.files import BenchError
from sanawm_env.evaluation.bench.layout import BenchScene
from sanawm_env.evaluation.bench.make import true_frames
from sanawm_env.evaluation.bench.results import ResultFolder
from sanawm_env.evaluation.camera_recovery.poses import recover_poses
from sanawm_env.evaluation.captions import Captions
from sanawm_env.evaluation.metrics.camera_error import CameraError, camera_error, mean_camera_error
from sanawm_env.evaluation.metrics.drift import drift, is_collapsed
from sanawm_env.evaluation.metrics.revisit import score_pairs
from sanawm_env.scenes.start_image import prepare
from sanawm_env.video import VideoWriter, read_video
from sanawm_env.world.model import WorldModel
from sanawm_env.world.offline.provenance import frames_depend_on
from sanawm_env.world.rollout import rollout_chunks

__all__ = ["generate", "read_video", "score"]

POSE_EVERY = 4
"""The benchmark compares every fourth frame."""
WINDOW_S = 10.0
LOOK_EVERY = 4
BEST_PAIRS = 5

Progress = Callable[[str], None]


def generate(
    world: WorldModel,
    scenes: Sequence[BenchScene],
    results: ResultFolder,
    *,
    sigmas: tuple[float, ...] | None = None,
    chunk_frames: int | None = None,
    captions: Captions | None = None,
    name: str | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """Make the videos that are missing, and say in `method_info.json` what they come from.

    Args:
        world: The world; its frame rate must be the paths'.
        scenes: Of one split.
        results: Where videos go.
        sigmas: Noise levels of the sampler; None is the checkpoint's.
        chunk_frames: Latent frames per step; None is the checkpoint's.
        captions: Texts of the scenes, for a world that was trained with some; None reads the bench's prompts.
        name: What to call the checkpoint.
        progress: Called with the id of each scene as it is done.

    Returns:
        Ids of the scenes made now.

    Raises:
        BenchError: A path of another frame rate than the world's; or videos that are there were made from something
            else, so that scores would be of a mixture.
        FileNotFoundError, ImportError, ConnectionError: See `Captions.of`.
    """
    config, captions = world.config, captions or Captions(world)
    chunk, levels = chunk_frames or config.chunk_frames, tuple(sigmas or config.sigmas)
    for scene in scenes:
        if abs(scene.fps - config.fps) > 1e-6:
            raise BenchError(f"{scene.camera_path} has {scene.fps:g} poses per second, this world {config.fps:g}.")
    captions.of(scenes[0].prompt)  # if there is no text encoder, it shows before anything is written
    made_from = frames_depend_on(world) | {"sigmas": list(levels), "chunk_frames": chunk} | captions.key()
    results.claim(
        {"checkpoint": name or config.name, "hash": world.checkpoint, "sigmas": list(levels), "made_from": made_from},
        scenes[0].split,
        {scene.id: _digest(scene, number) for number, scene in enumerate(scenes)},
    )
    made = []
    for number, scene in enumerate(scenes):
        path = results.video(scene.split, scene.id)
        if path.is_file():
            continue
        camera = Intrinsics.from_any(scene.intrinsics, *scene.image_size)
        start = prepare(
            scene.image(), config.width, config.height,
            intrinsics=camera, fov_deg=None, default_fov_deg=config.default_fov_deg,
        )  # fmt: skip
        path.parent.mkdir(parents=True, exist_ok=True)
        frames = rollout_chunks(
            world, [start], scene.c2w[None], [number], captions.of(scene.prompt), chunk_frames=chunk, sigmas=levels
        )
        with VideoWriter(path, config.fps) as video:
            for some in frames:
                video.write(some[0])
        made.append(scene.id)
        if progress is not None:
            progress(scene.id)
    return made


def score(scenes: Sequence[BenchScene], results: ResultFolder, *, progress: Progress | None = None) -> dict[str, Any]:
    """Score all videos of a split and write the files of scores.

    Args:
        scenes: Of one split.
        results: Where the videos are; every scene must have one.
        progress: Called with the id of each scene as it is done.

    Returns:
        What `summary.json` holds.

    Raises:
        BenchError: Videos are missing, unreadable or too short for a window; names them.
    """
    split = scenes[0].split
    if lacking := results.missing(split, [scene.id for scene in scenes]):
        raise BenchError(
            f"{len(lacking)} of {len(scenes)} videos are missing, first {results.video(split, lacking[0])}."
        )
    errors: dict[str, CameraError] = {}
    back: dict[str, Any] = {}
    decay: dict[str, Any] = {}
    for scene in scenes:
        path = results.video(split, scene.id)
        try:
            frames, fps = read_video(path)
        except ValueError as error:
            raise BenchError(str(error)) from None
        if results.skips_first_frame():  # a refiner does not make frame 0: the given image stands in for it
            first = cv2.resize(scene.image(), frames.shape[2:0:-1], interpolation=cv2.INTER_AREA).astype(np.uint8)
            frames = np.concatenate([first[None], frames])
        if len(frames) < WINDOW_S * fps:
            raise BenchError(f"{path} has {len(frames)} frames at {fps:g} per second, less than {WINDOW_S:g} s.")
        errors[scene.id] = _camera(scene, frames)
        back[scene.id] = score_pairs(frames, scene.pairs[:BEST_PAIRS], fps, scene.fps).to_dict()
        decay[scene.id] = drift(frames[::LOOK_EVERY], fps / LOOK_EVERY, WINDOW_S).to_dict()
        decay[scene.id]["collapsed"] = is_collapsed(frames[::LOOK_EVERY])
        if progress is not None:
            progress(scene.id)
    return _write(results, split, errors, back, decay)


def _camera(scene: BenchScene, frames: NDArray[np.uint8]) -> CameraError:
    """Frame 0 of a bench of ours has a known depth; elsewhere translations are recovered up to scale."""
    height, width = frames.shape[1:3]
    across, down = width / scene.image_size[0], height / scene.image_size[1]
    if abs(across - down) > 0.02 * across:
        return CameraError(failure=f"video {width}x{height} has another shape than the image {scene.image_size}")
    matrix = scene.intrinsics[0]
    camera = [matrix[0, 0] * across, matrix[1, 1] * down, matrix[0, 2] * across, matrix[1, 2] * down]
    depth = true_frames(scene, [0], height=height, width=width)[1][0] if scene.seed is not None else None
    found = recover_poses(frames[: scene.num_frames], camera, every=POSE_EVERY, depth0=depth)
    true = scene.c2w[found.frames]
    return camera_error(found.c2w, true, found.ok, metric=found.metric, reason=found.reason)


def _digest(scene: BenchScene, number: int) -> str:
    """Hash of what a scene brings to its video; `number` is its place, which seeds the noise."""
    digest = hashlib.sha256(scene.image_path.read_bytes())
    for part in (scene.c2w, scene.intrinsics):
        digest.update(np.ascontiguousarray(part).tobytes())
    digest.update(f"{scene.prompt}\0{scene.fps}\0{number}".encode())
    return digest.hexdigest()[:16]


def _write(
    results: ResultFolder, split: str, errors: dict[str, CameraError], back: dict[str, Any], decay: dict[str, Any]
) -> dict[str, Any]:
    camera = mean_camera_error(list(errors.values()))
    pairs = [row for row in back.values() if row["pairs"]]

    def over(key: str) -> float | None:
        values = [value for row in pairs for value in row[key]]
        return float(np.mean(values)) if values else None

    revisit = {
        "psnr": over("psnr_db"), "ssim": over("ssim"), "gmsd": over("gmsd"),
        "pairs": sum(row["pairs"] for row in pairs), "scenes_without_pairs": len(back) - len(pairs),
    }  # fmt: skip
    quality = [[row["windows"][i]["quality"] for i in (0, -1)] for row in decay.values()]
    sharp = [row["ratio"]["sharpness"] for row in decay.values() if row["ratio"]["sharpness"] is not None]
    worn = {
        "delta_quality": float(np.mean([first - last for first, last in quality])),
        "sharpness_ratio": float(np.mean(sharp)) if sharp else None,
        "collapsed": sum(row["collapsed"] for row in decay.values()),
    }
    results.write_poses(
        split,
        {
            name: {
                "RotErr": e.rot_err_deg, "TransErr_rel": e.trans_err, "CamMC_rel": e.cam_mc,
                "n_frames": e.poses_used, "failure": e.failure,
            }
            for name, e in errors.items()
        },
    )  # fmt: skip
    results.write_scores(
        split, "camera_accuracy", {"mean": camera, "scenes": {k: asdict(e) for k, e in errors.items()}}
    )
    results.write_scores(split, "revisit_consistency", {"mean": revisit, "scenes": back})
    results.write_scores(split, "temporal_degradation", {"mean": worn, "scenes": decay})
    summary = {"split": split, "scenes": len(errors), "camera": camera, "revisit": revisit, "degradation": worn}
    results.write_scores(split, "summary", summary)
    return summary
