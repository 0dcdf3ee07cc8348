"""`sanawm data split`: a dataset in parts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from sanawm_env.cli.common.console import note

__all__ = ["Split"]


@dataclass
class Split:
    """Divide a dataset by whole episodes, always in the same way; what a reviewer dropped stays behind."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """Folder or file of any known format."""
    out: tuple[Path, ...]
    """What to write, such as `train test`."""
    fractions: tuple[float, ...] = (0.9, 0.1)
    """Share of each."""
    to: str | None = None
    """Format of the parts; that of the dataset by default."""
    codec: str | None = None
    """How videos keep pixels, for formats that have them: h264-444, rgb (lossless) or h264."""

    def run(self) -> None:
        """Write the parts; the first error leaves the parts before it whole and writes no half ones."""
        from sanawm_env.data.card import write_card
        from sanawm_env.data.formats import detect, get_format
        from sanawm_env.data.formats.registry import losses, prepare_target
        from sanawm_env.data.formats.selection import dropped_names, split

        if len(self.out) != len(self.fractions):
            raise ValueError(f"--out names {len(self.out)} parts and --fractions {len(self.fractions)}; give as many.")
        if len({path.absolute() for path in self.out}) < len(self.out):
            raise ValueError("two parts of --out are the same; give each a name of its own.")
        for path in self.out:
            prepare_target(path, "create", False)
        source = detect(self.dataset)
        target = get_format(self.to) if self.to else source
        writer, dropped = target.load(), dropped_names(self.dataset)
        kept = [each for each in source.load().read(self.dataset) if each.name not in dropped]
        options: dict[str, Any] = {} if self.codec is None else {"codec": self.codec}
        for path, part in zip(self.out, list(split(kept, self.fractions)), strict=True):
            writer.write(path, part, **options)
            if target.name == "lerobot":
                write_card(path)
            print(f"{path}: {len(part)} episodes, {target.title}")
        for loss in losses(target, kept):
            note(loss)
