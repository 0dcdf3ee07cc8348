"""`sanawm data info`: what is in a dataset."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

__all__ = ["DataInfo", "facts"]


@dataclass
class DataInfo:
    """Show a dataset's format, length, checkpoint, success and size on disk; no frame is decoded."""

    dataset: Annotated[Path, tyro.conf.Positional]
    """Folder or file of any format that `sanawm data convert` knows."""
    json: bool = False
    """Print JSON instead of a table."""

    def run(self) -> None:
        """Print it."""
        found = facts(self.dataset)
        if self.json:
            import json

            print(json.dumps(found, indent=2))
            return
        width = max(map(len, found))
        for name, value in found.items():
            print(f"{name:<{width}}  {_text(value)}")


def facts(path: Path) -> dict[str, Any]:
    """JSON-ready facts.

    Raises:
        FileNotFoundError: There is nothing.
        ValueError: No dataset, or a damaged one.
    """
    from sanawm_env.data.formats import detect
    from sanawm_env.data.formats.selection import checkpoints_of, dropped_names

    found = detect(path)
    episodes = list(found.load().read(path))
    judged = [episode.success for episode in episodes if episode.success is not None]
    steps = sum(len(episode.actions) for episode in episodes)
    files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
    checkpoints = checkpoints_of(episodes)
    return {
        "format": found.title,
        "episodes": len(episodes),
        "dropped in review": len(dropped_names(path)),
        "frames": sum(map(len, episodes)),
        "minutes": round(sum(episode.seconds for episode in episodes) / 60, 2),
        "steps": steps,
        "frames per second": sorted({episode.fps for episode in episodes}),
        "frame size": sorted({f"{episode.size[0]}x{episode.size[1]}" for episode in episodes}),
        "depth": any(episode.depth is not None for episode in episodes),
        "checkpoint": [f"{name or 'unknown'} ({key[:12]})" for key, name in sorted(checkpoints.items())],
        "episodes with a recipe": sum(episode.recipe is not None for episode in episodes),
        "success": round(sum(judged) / len(judged), 4) if judged else None,
        "mean reward of an episode": round(sum(float(e.rewards.sum()) for e in episodes) / len(episodes), 4)
        if steps
        else None,
        "megabytes": round(sum(file.stat().st_size for file in files) / 1e6, 2),
    }


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "unknown"
    return (
        {True: "yes", False: "no", None: "unknown"}[value]
        if value is None or value is True or value is False
        else str(value)
    )
