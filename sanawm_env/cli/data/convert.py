"""`sanawm data convert`: a dataset in another format."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from sanawm_env.cli.common.console import note

__all__ = ["Convert"]


@dataclass
class Convert:
    """Write a dataset, or some of its episodes, in another format; what a reviewer dropped stays behind."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """Folder or file of any known format."""
    out: Path
    """What to write."""
    to: str = "lerobot"
    """lerobot, minari, rosbag, nerfstudio, colmap, tum, webdataset, clips or upstream."""
    episodes: tuple[str, ...] = ()
    """Names, numbers or ranges such as 5-9; all by default."""
    mode: Literal["create", "append"] = "create"
    """Whether to add to a dataset of the same format."""
    codec: str | None = None
    """How videos keep pixels, for formats that have them: h264-444, rgb (lossless) or h264."""
    options: tuple[str, ...] = ()
    """Further options of the format, such as shard_size=50 (webdataset) or storage=sqlite3 (rosbag)."""
    mixed: bool = False
    """Let episodes of several checkpoints into one dataset."""
    dropped: bool = False
    """Take episodes along that a reviewer dropped."""

    def run(self) -> None:
        """Write it and say how many episodes there are."""
        from sanawm_env.data.card import write_card
        from sanawm_env.data.formats import detect, get_format
        from sanawm_env.data.formats.registry import losses
        from sanawm_env.data.formats.selection import dropped_names, one_checkpoint, select

        if self.dataset.absolute() in (self.out.absolute(), *self.out.absolute().parents):
            raise ValueError(f"--out {self.out} lies in the dataset itself; choose a place outside of it.")
        source, target = detect(self.dataset), get_format(self.to)
        writer = target.load()
        found = select(list(source.load().read(self.dataset)), self.episodes)
        if not self.dropped:
            dropped = dropped_names(self.dataset)
            found = [each for each in found if each.name not in dropped]
        if not found:
            raise ValueError(f"no episode of {self.dataset} is left; --dropped takes those that a reviewer dropped.")
        if not self.mixed:
            there = writer.read(self.out) if self.mode == "append" and self.out.exists() else ()
            one_checkpoint([*there, *found])
        options = self._options()
        if self.mixed and self.to == "lerobot":
            options["allow_mixed"] = True
        writer.write(self.out, found, mode=self.mode, **options)
        if self.to == "lerobot":
            write_card(self.out)
        print(f"{self.out}: {len(found)} episodes, {target.title}")
        for loss in losses(target, found):
            note(loss)

    def _options(self) -> dict[str, Any]:
        found: dict[str, Any] = {} if self.codec is None else {"codec": self.codec}
        for each in self.options:
            name, equals, value = each.partition("=")
            if not equals or not name.isidentifier() or name in ("path", "episodes", "mode"):
                raise ValueError(f"--options wants name=value; got {each!r}.")
            found[name] = int(value) if value.isdecimal() else value
        return found
