"""`sanawm annotate`: videos with the camera of each frame, for training."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from sanawm_env.cli.common.console import note, report

if TYPE_CHECKING:
    from sanawm_env.data.annotation.options import Options
    from sanawm_env.data.annotation.scale import ScaleSource
    from sanawm_env.scenes.posed_clips import PosedClip

__all__ = ["Annotate"]


@dataclass
class Annotate:
    """Find the camera of each frame of your own videos, and keep the clips whose cameras can be trusted.

    Kill it whenever you like: the same line goes on after the last whole clip. Needs the extra `annotate`.
    """

    videos: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Videos, folders of pictures, or datasets with poses of any format that `sanawm data` reads; those are checked."""
    out: Path
    """Folder of the dataset; a new one, or one that this command began."""

    intrinsics: tuple[float, float, float, float] | None = None
    """fx fy cx cy in pixels of the upright video. The best that you can give."""
    fov: float | None = None
    """Horizontal field of view of the upright video, degrees, in place of --intrinsics. Without either the focal length
    is found, which fewer clips allow."""
    size: str | None = None
    """ROWSxCOLUMNS of the clips, such as 704x1280: resized and cropped. The video's shape otherwise, 1280 at most."""
    seconds: float = 10.0
    """Of a clip at most."""
    fps: float = 16.0
    """Rate of the pictures of a folder."""

    camera_height: float | None = None
    """Metres of the camera over the floor, from which the scale follows."""
    distance: tuple[int, int, float] | None = None
    """FRAME FRAME METRES: how far the cameras of two frames of each clip are apart."""
    depth: str | None = None
    """package.module:function, a depth model of yours: a picture (H, W, 3) to metres (H, W)."""
    odometry: Path | None = None
    """File of lines `t x y z`, seconds from the first frame and metres, as TUM's."""
    gps: Path | None = None
    """File of lines `t latitude longitude altitude`."""
    metric: bool = False
    """Poses that are given are in metres: nerfstudio and COLMAP do not say so themselves."""

    caption: str | None = None
    """package.module:function, from a clip's first picture to what it shows."""
    license: str = ""
    """Under which the videos may be used; kept with each clip."""

    def run(self) -> None:
        """Annotate, write the report, and say what was accepted.

        Raises:
            ValueError, FileNotFoundError: An option or a video that cannot be used, before anything is written.
        """
        from sanawm_env.data.annotation.report import write_report
        from sanawm_env.data.annotation.run import annotate_videos
        from sanawm_env.scenes.posed_clips import list_clips

        if not self.videos:
            raise ValueError("name a video, a folder of pictures or a dataset with poses.")
        options = self._options()
        posed = [path for path in self.videos if _is_dataset(path)]
        plain = [path for path in self.videos if path not in posed]
        done = annotate_videos(plain, self.out, options, progress=_bar) if plain else []
        for path in posed:
            done += self._given(path, options)
        for clip in done:
            report(f"{clip.name}: {clip.verdict}{''.join(f'; {reason}' for reason in clip.reasons)}")
        page = write_report(self.out, list_clips(self.out, accepted_only=False))
        accepted = [clip for clip in done if clip.verdict == "accepted"]
        report(f"{self.out}: {len(accepted)} of {len(done)} clips accepted; {page} shows them")
        if any(not clip.has_unit for clip in accepted):
            note("the scale is unknown: give --camera-height, --distance, --depth, --odometry or --gps for metres.")
        if not accepted:
            sys.exit(1)

    def _given(self, path: Path, options: Options) -> list[PosedClip]:
        from sanawm_env.data.annotation.run import annotate_episodes
        from sanawm_env.data.formats import detect

        found = detect(path)
        metric = self.metric or found.name not in _ANY_UNIT
        episodes = found.load().read(path)
        return list(annotate_episodes(episodes, self.out, options, metric=metric, source=str(path)))

    def _options(self) -> Options:
        from sanawm_env.data.annotation.options import Options

        if not self.seconds > 0:
            raise ValueError(f"--seconds must be positive; got {self.seconds}.")
        frames = round(self.seconds * 16)
        return Options(
            intrinsics=self.intrinsics,
            fov=self.fov,
            size=_size(self.size),
            clip_frames=frames - (frames - 1) % 8 + (8 if (frames - 1) % 8 else 0),
            fps=self.fps,
            scale=self._scale(),
            license=self.license,
            caption=_function("--caption", self.caption),
        )

    def _scale(self) -> ScaleSource | None:
        from sanawm_env.data.annotation import scale

        named = [name for name in ("camera_height", "distance", "depth", "odometry", "gps") if getattr(self, name)]
        if len(named) > 1:
            options = " and ".join("--" + name.replace("_", "-") for name in named)
            raise ValueError(f"{options} both say the scale; give one.")
        if self.camera_height is not None:
            return scale.from_camera_height(self.camera_height)
        if self.distance is not None:
            return scale.from_distance(*self.distance)
        model = _function("--depth", self.depth)
        if model is not None:
            return scale.from_depth(model, str(self.depth))
        for path, is_gps in ((self.odometry, False), (self.gps, True)):
            if path is not None:
                return scale.from_positions(*scale.read_positions(path, gps=is_gps), name=str(path))
        return None


_ANY_UNIT = ("nerfstudio", "colmap")
"""Formats whose lengths are metres only if the user says so."""


def _is_dataset(path: Path) -> bool:
    from sanawm_env.data.formats import FORMATS, detect

    if not path.is_dir():  # in a bag of one file a video reader would find pictures as well, and no poses
        return path.is_file() and any(path.suffix in each.files for each in FORMATS.values())
    try:
        detect(path)
    except ValueError:
        return False
    return True


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        rows, columns = (int(side) for side in text.split("x"))
    except ValueError:
        raise ValueError(f"--size must be ROWSxCOLUMNS, such as 704x1280; got {text!r}.") from None
    if min(rows, columns) < 64 or rows % 2 or columns % 2:
        raise ValueError(f"--size needs even sides of at least 64 pixels; got {text}.")
    return rows, columns


def _function(option: str, named: str | None) -> Callable[..., Any] | None:
    """The function `package.module:function`, of an installed package or the working folder."""
    if named is None:
        return None
    from importlib import import_module

    module, _, name = named.partition(":")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{option} {named} cannot be loaded ({error}); give package.module:function.") from None
    if not callable(found):
        raise ValueError(f"{option} {named} is no function.")
    return found


def _bar(clips: Iterable[Any], total: int, name: str) -> Iterable[Any]:
    from tqdm import tqdm

    return tqdm(clips, total=total, desc=name, unit="clip", disable=not total)
