"""Posed clips: videos with the camera of each frame, as `sanawm annotate` writes and `sanawm train --data` reads them.

    ds/dataset.json               {"format": "sanawm-posed-clips", "version": 1}
    ds/clips/NAME/clip.json       what the clip is, where it comes from, and whether its poses were accepted
    ds/clips/NAME/video.mp4       F frames, lossless RGB
    ds/clips/NAME/camera.npz      c2w (F, 4, 4) float64, intrinsics (F, 4) float32
    ds/clips/NAME/depth.npz       depth (F, H, W) float16, metres; optional

A refused clip may have its `clip.json` alone.
"""

from __future__ import annotations

import json
import secrets
import shutil
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import av
import numpy as np
from numpy.typing import NDArray

from sanawm_env.camera.pose import validate_c2w
from sanawm_env.files import write_json
from sanawm_env.video import Encoding, VideoWriter

__all__ = ["PosedClip", "Verdict", "clip_video", "is_clips", "list_clips", "prepare_clips", "read_clip", "write_clip"]

Frames = NDArray[np.uint8]
Verdict: TypeAlias = Literal["accepted", "refused"]

_FORMAT, _VERSION = "sanawm-posed-clips", 1
_LOSSLESS = Encoding("libx264rgb", "rgb24", {"g": "16", "crf": "0", "qp": "0", "preset": "veryfast"})
"""A key frame every 16: training reads parts of clips."""
_FIRST_POSE = 1e-6


@dataclass(frozen=True, eq=False)
class PosedClip:
    """A clip and its camera; frames and depth stay in their files until they are asked for."""

    c2w: NDArray[np.float64]
    """`(F, 4, 4)` camera-to-world, OpenCV axes, frame 0 is the identity; metres if `metric`. Empty if refused without
    poses."""
    intrinsics: NDArray[np.float32]
    """`(F, 4)` fx, fy, cx, cy in pixels, whose origin is the upper left corner of the picture."""
    height: int
    """Rows, pixels."""
    width: int
    """Columns, pixels."""
    fps: float = 16.0
    """Frames per second."""
    metric: bool = False
    """Whether lengths are metres; otherwise they have one unknown scale."""
    verdict: Verdict = "accepted"
    """Whether the poses can be trained on."""
    reasons: tuple[str, ...] = ()
    """Why it was refused, each with its figure."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """What was measured, JSON-ready."""
    source: str = ""
    """Where the pictures come from."""
    license: str = ""
    """Under which they may be used; empty if nobody said."""
    caption: str | None = None
    """What the scene shows, without a word on the camera."""
    folder: Path | None = None
    """Where it lies; None before it is written."""

    def __len__(self) -> int:
        """F."""
        return len(self.c2w)

    @property
    def name(self) -> str:
        """Of its folder."""
        return self.folder.name if self.folder else ""

    @property
    def has_unit(self) -> bool:
        """Whether its lengths are what they are said to be: in metres, or all zero, since the camera only turns."""
        return self.metric or not np.ptp(self.c2w[:, :3, 3], axis=0).any()

    @property
    def video(self) -> Path | None:
        """The file of its frames; None if it was refused without them."""
        path = self.folder / "video.mp4" if self.folder else None
        return path if path is not None and path.is_file() else None

    def frames(self, first: int = 0, count: int | None = None) -> Iterator[Frames]:
        """Frames `(H, W, 3)` uint8 RGB, one after another, from `first` on.

        Raises:
            ValueError: There is no video, or it ends too early.
        """
        if self.video is None:
            raise ValueError(f"clip {self.folder} has no video; annotate it again.")
        last = len(self) if count is None else first + count
        done = 0
        try:
            with av.open(str(self.video)) as container:
                for frame in container.decode(video=0):
                    if done >= last:
                        return
                    if done >= first:
                        yield np.asarray(frame.to_ndarray(format="rgb24"), np.uint8)
                    done += 1
        except (OSError, av.error.FFmpegError, IndexError) as error:
            raise ValueError(f"{self.video} is no readable video ({error}); annotate it again.") from error
        if done < last:
            raise ValueError(f"{self.video} ends after {done} of {last} frames; annotate it again.")

    def depth(self) -> NDArray[np.float16] | None:
        """`(F, H, W)` z-depth, metres; None if there is none.

        Raises:
            ValueError: The file is damaged.
        """
        path = self.folder / "depth.npz" if self.folder else None
        if path is None or not path.is_file():
            return None
        depth = _arrays(path, "depth")["depth"]
        if depth.shape != (len(self), self.height, self.width):
            raise ValueError(f"{path} is {depth.shape}, not {(len(self), self.height, self.width)}; write it again.")
        return depth


def prepare_clips(ds: str | Path) -> Path:
    """Make the folder of a dataset, or go on with one; returns `ds/clips`.

    Raises:
        ValueError: Something else lies there.
    """
    ds = Path(ds)
    if ds.exists() and not is_clips(ds) and (not ds.is_dir() or any(ds.iterdir())):
        raise ValueError(f"{ds} is no dataset of posed clips; choose an empty or a new folder.")
    if not is_clips(ds):
        write_json(ds / "dataset.json", {"format": _FORMAT, "version": _VERSION})
    (ds / "clips").mkdir(exist_ok=True)
    return ds / "clips"


def is_clips(ds: str | Path) -> bool:
    """Whether a dataset of posed clips lies there."""
    try:
        found = json.loads((Path(ds) / "dataset.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(found, dict) and found.get("format") == _FORMAT


def clip_video(path: str | Path, fps: float) -> VideoWriter:
    """A writer of a clip's lossless video, for `write_clip`."""
    return VideoWriter(path, fps, encoding=_LOSSLESS)


def write_clip(
    folder: str | Path,
    clip: PosedClip,
    frames: Iterable[Frames] | Path | None = None,
    depth: NDArray[np.floating[Any]] | None = None,
) -> PosedClip:
    """Write a clip, whole or not at all; one that is there already is replaced.

    Args:
        folder: `ds/clips/NAME`.
        clip: What to write.
        frames: `(H, W, 3)` or pieces `(n, H, W, 3)`, uint8 RGB; or a video of F frames by `clip_video` on the same
            disk, which moves to its place; None for a refused clip without them.
        depth: `(F, H, W)` z-depth, metres.

    Returns:
        The clip at its place.

    Raises:
        ValueError: Poses that are not rigid, or frames, intrinsics or depth that do not fit them; an accepted clip
            without frames or with reasons against it.
    """
    folder, size = Path(folder), (clip.height, clip.width)
    _check(clip, frames is not None)
    if depth is not None and np.shape(depth) != (len(clip), *size):
        raise ValueError(f"depth must be {(len(clip), *size)}; got {np.shape(depth)}.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    stage = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}")
    stage.mkdir()
    try:
        if isinstance(frames, Path):
            frames.rename(stage / "video.mp4")
        elif frames is not None:
            with clip_video(stage / "video.mp4", clip.fps) as video:
                for piece in frames:
                    video.write(piece)
            if video.frames != len(clip):
                raise ValueError(f"there are {len(clip)} poses and {video.frames} frames; give one pose for each.")
        if len(clip):
            np.savez(
                stage / "camera.npz",
                c2w=np.asarray(clip.c2w, np.float64),
                intrinsics=np.asarray(clip.intrinsics, np.float32),
            )
        if depth is not None:
            np.savez_compressed(stage / "depth.npz", depth=np.asarray(depth, np.float16))
        write_json(stage / "clip.json", _facts(clip))
        if folder.exists():
            shutil.rmtree(folder)
        stage.rename(folder)
    except BaseException:
        shutil.rmtree(stage, ignore_errors=True)
        raise
    return read_clip(folder)


def read_clip(folder: str | Path) -> PosedClip:
    """The clip of a folder; frames and depth are not read yet.

    Raises:
        ValueError: Missing or damaged files, or poses that are not rigid.
    """
    folder = Path(folder)
    facts = _read_facts(folder)
    camera: dict[str, NDArray[Any]] = {"c2w": np.zeros((0, 4, 4)), "intrinsics": np.zeros((0, 4))}
    if (folder / "camera.npz").is_file():
        camera = _arrays(folder / "camera.npz", "c2w", "intrinsics")
    try:
        clip = PosedClip(
            c2w=camera["c2w"].astype(np.float64),
            intrinsics=camera["intrinsics"].astype(np.float32),
            height=int(facts["height"]),
            width=int(facts["width"]),
            fps=float(facts["fps"]),
            metric=bool(facts["metric"]),
            verdict=facts["verdict"],
            reasons=tuple(facts["reasons"]),
            figures=facts["figures"],
            source=facts["source"],
            license=facts["license"],
            caption=facts["caption"],
            folder=folder,
        )
        _check(clip, clip.video is not None)
    except (KeyError, TypeError, ValueError) as error:
        what = f"clip.json lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"clip {folder}: {what} Annotate it again.") from None
    return clip


def list_clips(ds: str | Path, accepted_only: bool = True) -> list[PosedClip]:
    """The clips of a dataset, by name.

    Raises:
        ValueError: No dataset of posed clips, or a damaged clip.
    """
    ds = Path(ds)
    if not is_clips(ds):
        raise ValueError(f"{ds} is no dataset of posed clips; make one with sanawm annotate.")
    version = json.loads((ds / "dataset.json").read_text(encoding="utf-8")).get("version")
    if version != _VERSION:
        raise ValueError(f"{ds} has version {version} of posed clips, this package reads {_VERSION}; update it.")
    folders = sorted(each.parent for each in (ds / "clips").glob("[!.]*/clip.json"))
    if accepted_only:
        folders = [each for each in folders if _read_facts(each).get("verdict") == "accepted"]
    return [read_clip(each) for each in folders]


def _facts(clip: PosedClip) -> dict[str, Any]:
    return {
        "fps": clip.fps,
        "frames": len(clip),
        "height": clip.height,
        "width": clip.width,
        "metric": clip.metric,
        "source": clip.source,
        "license": clip.license,
        "caption": clip.caption,
        "verdict": clip.verdict,
        "reasons": list(clip.reasons),
        "figures": dict(clip.figures),
    }


def _read_facts(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / "clip.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise ValueError(f"clip {folder}: clip.json cannot be read ({error}); annotate it again.") from None


def _arrays(path: Path, *names: str) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in names}
    except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} cannot be read ({error}); write the clip again.") from None


def _check(clip: PosedClip, has_frames: bool) -> None:
    """Refuse what is no clip."""
    verdicts: Sequence[str] = ("accepted", "refused")
    if clip.verdict not in verdicts or (clip.verdict == "accepted") == bool(clip.reasons):
        raise ValueError(f"a clip is accepted, or refused with reasons; got {clip.verdict!r} with {clip.reasons}.")
    if clip.verdict == "accepted" and not (len(clip) and has_frames):
        raise ValueError("an accepted clip needs frames and poses.")
    if clip.height < 1 or clip.width < 1 or not clip.fps > 0:
        raise ValueError(f"a clip has a size and a rate; got {clip.width}x{clip.height} at {clip.fps} fps.")
    if np.shape(clip.intrinsics) != (len(clip), 4):
        raise ValueError(f"intrinsics must be ({len(clip)}, 4), a row for each pose; got {np.shape(clip.intrinsics)}.")
    if not len(clip):
        return
    poses = validate_c2w(clip.c2w)
    if np.abs(poses[0] - np.eye(4)).max() > _FIRST_POSE:
        raise ValueError("poses must be relative to frame 0, which is the identity; multiply by the inverse of pose 0.")
