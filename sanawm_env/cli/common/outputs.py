"""What a command writes must not take the place of what it reads, nor of files that are not its own."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from sanawm_env.files import check_writable

__all__ = ["check_outputs", "check_sidecars"]


def check_outputs(outputs: Iterable[Path], inputs: Iterable[tuple[str, Path | None]]) -> None:
    """Refuse outputs that would replace an input, or cannot be written; called before anything costly begins.

    Args:
        outputs: Files that will be written.
        inputs: What is read, each with the option that names it: files, or folders none of whose files may be replaced.

    Raises:
        ValueError: Names the input and the fix; or two outputs are one file, or their place is read-only.
    """
    outputs = list(outputs)
    for path in outputs:
        check_writable(path)
    written = {path.resolve(): path for path in outputs}
    if len(written) < len(outputs):
        raise ValueError(f"two results would go to the same file, one of {', '.join(map(str, outputs))}; rename one.")
    for option, given in inputs:
        if given is None or not given.exists():
            continue
        place = given.resolve()
        for path, shown in written.items():
            inside = place.is_dir() and path.exists() and place in path.parents
            if inside or path == place or (path.exists() and path.samefile(place)):
                raise ValueError(
                    f"{option} {given} would be overwritten by {shown}; choose another --out, or move the file."
                )


def check_sidecars(recipe: Path, formats: Iterable[str], others: Iterable[Path] = ()) -> None:
    """Refuse to replace files beside a video that no command of ours wrote.

    Args:
        recipe: The JSON that comes beside the video.
        formats: What its `format` may say if it is there already.
        others: Further files; they are ours where the JSON is.

    Raises:
        ValueError: Names the file and the fix.
    """
    if recipe.exists():
        try:
            values = json.loads(recipe.read_text(encoding="utf-8"))
            ours = isinstance(values, dict) and values.get("format") in tuple(formats)
        except (OSError, ValueError):
            ours = False
        found = [] if ours else [recipe]
    else:
        found = [path for path in others if path.exists()]
    if found:
        raise ValueError(
            f"{found[0]} was not written by sanawm and would be overwritten; choose another --out, or move the file."
        )
