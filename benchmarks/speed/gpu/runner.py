"""Run one stage in this process, part by part: `python -m benchmarks.speed.gpu.runner STAGE SETTINGS`.

Each part leaves `STAGE/PART.json` when it is done, with a result or an error; a part that began and left nothing ended
its process. So a stage that was killed goes on where it stopped, and what kills it twice is left out.
"""

from __future__ import annotations

import gc
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from benchmarks.speed.gpu.stages import STAGES, Settings, Stage
from sanawm_env.files import write_text

ATTEMPTS = 2
"""Times that a part may end its process."""


def run(stage: Stage, settings: Settings) -> None:
    """Run the parts of a stage that have no result yet, as far as its time allows; at least one."""
    folder = settings.out / stage.name
    folder.mkdir(parents=True, exist_ok=True)
    clock, worked = time.monotonic(), False
    parts = list(stage.parts(settings))
    write(folder / "parts.json", {"names": [part.name for part in parts]})
    for part in parts:
        path = folder / f"{part.name}.json"
        found = read(path)
        if "result" in found or "error" in found:
            continue
        if worked and (time.monotonic() - clock) / 60 + part.minutes > settings.stage_minutes:
            return
        begun = found.get("begun", 0)
        if begun >= ATTEMPTS:
            write(path, {"error": f"ended its process {begun} times", "seconds": None})
            continue
        write(path, {"begun": begun + 1})
        print(f"{stage.name}: {part.name}", file=sys.stderr, flush=True)
        write(path, outcome(part.work))
        worked = True


def outcome(work: Any) -> dict[str, Any]:
    """Result or error of a part, and its seconds."""
    clock = time.perf_counter()
    try:
        found: dict[str, Any] = {"result": work()}
    except Exception as error:  # whatever a driver, a compiler or a missing package says; the next part runs
        lines = str(error).splitlines()
        found = {
            "error": f"{type(error).__name__}: {lines[0] if lines else ''}",
            "trace": traceback.format_exc().splitlines()[-12:],
        }
    _free()
    return found | {"seconds": round(time.perf_counter() - clock, 2)}


def read(path: Path) -> dict[str, Any]:
    """What a part left; empty if it left nothing, or half a file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def write(path: Path, values: dict[str, Any]) -> None:
    """Write JSON in one piece."""
    write_text(path, json.dumps(values, indent=1, default=str) + "\n")


def _free() -> None:
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()


def main(argv: list[str] | None = None) -> None:
    name, given = sys.argv[1:] if argv is None else argv
    values = json.loads(given)
    stage = next(stage for stage in STAGES if stage.name == name)
    run(stage, Settings(**{**values, "out": Path(values["out"])}))


if __name__ == "__main__":
    main()
