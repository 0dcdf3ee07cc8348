"""`Format`: what each dataset format offers, and the list of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias

from sanawm_env.data.episode import Episode
from sanawm_env.files import check_writable

__all__ = [
    "FORMATS",
    "LOSABLE",
    "Format",
    "FormatModule",
    "Mode",
    "Problem",
    "detect",
    "get_format",
    "losses",
    "prepare_target",
]

Mode: TypeAlias = Literal["create", "append"]
"""`create` refuses a target that holds something; `append` adds episodes to a dataset of the same format."""

LOSABLE: dict[str, Callable[[Episode], bool]] = {
    "depth": lambda episode: episode.depth is not None,
    "given picture": lambda episode: bool((episode.recipe or {}).get("image")),
}
"""What a format may have no place for, and which episodes have it. Without the first frame that was given, a recipe is
left out, too: it would make nothing again."""


@dataclass(frozen=True)
class Problem:
    """What a reader of a dataset would choke on."""

    where: str
    """File or episode."""
    what: str
    """One sentence with the fix."""
    fatal: bool = True
    """Whether a reader fails or reads something wrong; otherwise it is only worth knowing."""


class FormatModule(Protocol):
    """What the module of a format has, as plain functions."""

    def detect(self, path: Path) -> bool:
        """Whether a dataset of this format lies there; looks at names only, reads little, raises nothing."""

    def read(self, path: Path) -> Iterator[Episode]:
        """Its episodes, one after another; frames are decoded when they are iterated.

        Raises:
            ValueError: It cannot be read; names file and fix.
        """

    def write(self, path: Path, episodes: Iterable[Episode], *, mode: Mode = "create", **options: Any) -> None:
        """Write a dataset. What was there before stays as it was if this fails.

        Args:
            path: Folder, or file for formats of one file.
            episodes: What to write.
            mode: See `Mode`.
            **options: Of this format, such as `codec`.

        Raises:
            ValueError: Episodes or a target that this format cannot take, before anything is written.
        """

    def check(self, path: Path) -> list[Problem]:
        """What its readers would choke on; empty if nothing."""


@dataclass(frozen=True)
class Format:
    """A format by name."""

    name: str
    """As in `--format`."""
    title: str
    """For people."""
    module: str
    """Where it is; imported when it is asked for, since it may need an extra."""
    needs: str = ""
    """The extra of this package that brings its libraries; none is needed if empty."""
    writes_only: bool = False
    """Whether it cannot be read."""
    lacks: tuple[str, ...] = ()
    """What it has no place for, of `LOSABLE`."""
    files: tuple[str, ...] = ()
    """Suffixes of single files that are a dataset by themselves."""

    def load(self) -> FormatModule:
        """The module.

        Raises:
            ValueError: Its libraries are missing; names the extra.
        """
        try:
            return import_module(self.module)
        except ModuleNotFoundError as error:
            if not self.needs or (error.name or "").startswith("sanawm_env"):
                raise
            raise ValueError(
                f"format {self.name!r} needs {error.name}: pip install 'sanawm_env[{self.needs}]'."
            ) from None


_HERE = "sanawm_env.data.formats"
FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format("lerobot", "LeRobotDataset v3.0", f"{_HERE}.lerobot", "data"),
        Format("minari", "Minari", f"{_HERE}.minari", "minari", lacks=("depth", "given picture")),
        # ROS 1 is known so that it is refused with what converts it.
        Format("rosbag", "MCAP / rosbag2", f"{_HERE}.rosbag", "ros", files=(".mcap", ".db3", ".bag")),
        Format("nerfstudio", "nerfstudio transforms.json", f"{_HERE}.nerfstudio"),
        Format("colmap", "COLMAP text model", f"{_HERE}.colmap", lacks=("depth",)),
        Format("tum", "TUM trajectories", f"{_HERE}.tum"),
        Format("webdataset", "WebDataset shards", f"{_HERE}.webdataset", lacks=("given picture",)),
        Format("clips", "posed clips", f"{_HERE}.clips", lacks=("given picture",)),
        Format("upstream", "SANA-WM's training layout", f"{_HERE}.upstream", lacks=("depth", "given picture")),
    )
}
"""By name, the default first."""


def get_format(name: str) -> Format:
    """The format of that name.

    Raises:
        ValueError: There is none.
    """
    if name not in FORMATS:
        raise ValueError(f"unknown format {name!r}; known are {', '.join(FORMATS)}.")
    return FORMATS[name]


def detect(path: Path) -> Format:
    """The format of what lies there.

    Raises:
        FileNotFoundError: Nothing does.
        ValueError: Nothing that is known.
    """
    if not path.exists():
        raise FileNotFoundError(f"no dataset {path}; check the path.")
    for each in FORMATS.values():
        if path.suffix in each.files and path.is_file():
            return each
        try:
            found = each.load().detect(path)
        except (ModuleNotFoundError, ValueError):  # what cannot be loaded cannot be read either
            continue
        if found:
            return each
    raise ValueError(f"{path} is no dataset of a known format ({', '.join(FORMATS)}).")


def losses(target: Format, episodes: Sequence[Episode]) -> list[str]:
    """What episodes lose when they are written in a format: a sentence for each kind, empty if they lose nothing."""
    found = []
    for name in target.lacks:
        if count := sum(LOSABLE[name](episode) for episode in episodes):
            what = "depth" if name == "depth" else "recipes that begin with a given picture"
            keep = ", ".join(each.name for each in FORMATS.values() if name not in each.lacks)
            found.append(
                f"{target.title} has no place for {what}: left out of {count} of {len(episodes)} episodes. {keep} keep "
                f"{'it' if name == 'depth' else 'them'}."
            )
    return found


def prepare_target(path: Path, mode: Mode, exists: bool) -> None:
    """Refuse a target that `mode` does not allow.

    Args:
        path: Folder to be written.
        mode: See `Mode`.
        exists: Whether a dataset of the format is there already.

    Raises:
        FileExistsError: `create`, and something is there.
        ValueError: `append`, and something else is there; or the place is read-only.
    """
    filled = path.is_dir() and any(path.iterdir()) if path.is_dir() else path.exists()
    if mode == "create" and filled:
        raise FileExistsError(f"{path} is there already; choose another name, or add to it with mode 'append'.")
    if mode == "append" and filled and not exists:
        raise ValueError(f"{path} holds something else than a dataset of this format; choose another name.")
    check_writable(path, inside=exists)
