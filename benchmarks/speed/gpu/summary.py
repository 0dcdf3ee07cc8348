"""What a GPU hour came to: how many parts ran, and the goals that its figures meet or miss."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.speed.gpu.runner import read
from benchmarks.speed.gpu.stages import STAGES

CLIP_S, EVENNESS, EIGHT_OVER_ONE = 10.0, 1.1, 1.5
"""A minute of 720p of stage 1 in so many seconds; p95 over p50 of chunks; frames per second of 8 slots over one."""


def gather(out: Path) -> dict[str, dict[str, dict[str, Any]]]:
    """Every part's record by stage and part."""
    found = {}
    for stage in STAGES:
        names = read(out / stage.name / "parts.json").get("names", [])
        found[stage.name] = {name: read(out / stage.name / f"{name}.json") for name in names}
    return found


def finished(out: Path, stage: str) -> bool:
    """Whether every part of a stage has a result or an error."""
    names = read(out / stage / "parts.json").get("names")
    return names is not None and all({"result", "error"} & read(out / stage / f"{name}.json").keys() for name in names)


def summarize(out: Path) -> dict[str, Any]:
    """Counts, errors and goals."""
    records = gather(out)
    stages = {
        stage: {
            "finished": finished(out, stage),
            "parts": len(parts),
            "results": sum("result" in record for record in parts.values()),
            "errors": {name: record["error"] for name, record in parts.items() if "error" in record},
            "seconds": round(sum(record.get("seconds") or 0 for record in parts.values()), 1),
        }
        for stage, parts in records.items()
    }
    ways = {name: record["result"] for name, record in records["ways"].items() if "result" in record}
    return {"stages": stages, "goals": goals(ways), "machine": ways.get("machine")}


def goals(ways: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The best way for each goal, and whether it is met; None where nothing was measured."""
    alone = {name[:-2]: row for name, row in ways.items() if name.endswith("-1") and "clip_stage1_s" in row}
    eight = {name[:-2]: row for name, row in ways.items() if name.endswith("-8") and "frames_per_s" in row}
    ratios = {way: eight[way]["frames_per_s"] / alone[way]["frames_per_s"] for way in eight if way in alone}
    return {
        "clip_stage1_s": _best({way: row["clip_stage1_s"] for way, row in alone.items()}, CLIP_S),
        "chunk_p95_over_p50": _best({way: row["chunk_p95_over_p50"] for way, row in alone.items()}, EVENNESS),
        "eight_slots_over_one": _best(ratios, EIGHT_OVER_ONE, most=True),
    }


def _best(values: dict[str, float], goal: float, *, most: bool = False) -> dict[str, Any] | None:
    if not values:
        return None
    way = (max if most else min)(values, key=lambda name: values[name])
    met = values[way] >= goal if most else values[way] <= goal
    return {"way": way, "value": round(values[way], 4), "goal": goal, "met": met}
