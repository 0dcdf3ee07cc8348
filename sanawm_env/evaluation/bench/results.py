"""Where SANA-WM-Bench keeps a method's videos and scores.

Of a method in `results/<method>`, the videos are `<split>/<id>_generated.mp4`, the camera errors
`<split>/eval_poses.json`, the other scores `eval/<split>/*.json`. A `refiner` key in `method_info.json` makes
evaluators leave out the first frame.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sanawm_env.evaluation.bench.files import read_json
from sanawm_env.evaluation.bench.layout import SPLITS, BenchError
from sanawm_env.files import write_json

__all__ = ["RESULT_FILES", "ResultFolder"]

RESULT_FILES = ("camera_accuracy", "vbench_scores", "revisit_consistency", "temporal_degradation", "summary")
"""Names without `.json`."""


@dataclass(frozen=True)
class ResultFolder:
    """The results of one method."""

    root: Path
    """`results/<method>`."""

    def video(self, split: str, name: str) -> Path:
        """The video of a scene."""
        return self.root / _known(split) / f"{name}_generated.mp4"

    def missing(self, split: str, names: Iterable[str]) -> list[str]:
        """Scenes without a video, for a run to go on with."""
        return [name for name in names if not self.video(split, name).is_file()]

    def scores(self, split: str, name: str) -> Path:
        """A file of scores, one of `RESULT_FILES`."""
        if name not in RESULT_FILES:
            raise BenchError(f"no results file {name!r}; choose one of {', '.join(RESULT_FILES)}.")
        return self.root / "eval" / _known(split) / f"{name}.json"

    def poses(self, split: str) -> Path:
        """Camera errors per scene: `RotErr` (degrees), `TransErr_rel`, `CamMC_rel`, `n_frames`."""
        return self.root / _known(split) / "eval_poses.json"

    def write_scores(self, split: str, name: str, data: Any) -> Path:
        """Write a file of scores in one go.

        Raises:
            ValueError: Data with NaN, which no JSON reader takes; write None.
        """
        path = self.scores(split, name)
        write_json(path, data)
        return path

    def read_scores(self, split: str, name: str) -> Any:
        """Read a file of scores.

        Raises:
            BenchError: Missing or half written.
        """
        return read_json(self.scores(split, name))

    def write_poses(self, split: str, data: dict[str, Any]) -> Path:
        """Write the camera errors per scene in one go."""
        path = self.poses(split)
        write_json(path, data)
        return path

    def write_info(self, info: dict[str, Any]) -> Path:
        """Write `method_info.json`."""
        path = self.root / "method_info.json"
        write_json(path, info)
        return path

    def claim(self, info: dict[str, Any], split: str, scenes: dict[str, str]) -> Path:
        """Say in `method_info.json` what the videos come from, before the first is made.

        Args:
            info: What all videos of the method depend on.
            split: Of the scenes.
            scenes: Id of each scene to a hash of what it brings; others, of an earlier call, stay.

        Raises:
            BenchError: Videos that are there come from something else, or nobody knows from what. Nothing has changed.
        """
        path = self.root / "method_info.json"
        before = read_json(path) if path.exists() else {}
        before = before if isinstance(before, dict) else {}
        known: dict[str, dict[str, str]] = before.get("scenes", {})
        there = {each: list((self.root / each).glob("*_generated.mp4")) for each in SPLITS}
        fix = "choose another --method or --results, delete its videos, or score them as they are with -c none"
        if any(there.values()):
            # Through JSON, as it was stored: tuples become lists.
            wanted = json.loads(json.dumps(info["made_from"]))
            found = before.get("made_from")
            if not isinstance(found, dict):
                raise BenchError(f"{self.root} holds videos of another method, or of an older version; {fix}.")
            differ = sorted(key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key))
            if differ:
                was, now = found.get(differ[0]), wanted.get(differ[0])
                raise BenchError(
                    f"the videos in {self.root} were made with another {', '.join(differ)} ({was}, now {now}); {fix}."
                )
            for name, digest in scenes.items():
                if self.video(split, name).is_file() and known.get(split, {}).get(name) != digest:
                    raise BenchError(f"{self.video(split, name)} belongs to another bench or to another scene; {fix}.")
        else:
            known = {}
        return self.write_info(info | {"scenes": known | {split: known.get(split, {}) | scenes}})

    def skips_first_frame(self) -> bool:
        """Whether evaluators leave out frame 0, because a refiner does not make it."""
        path = self.root / "method_info.json"
        if not path.exists():
            return False
        info = read_json(path)
        if not isinstance(info, dict):
            raise BenchError(f"{path} must hold a JSON object.")
        return "refiner" in info


def _known(split: str) -> str:
    if split not in SPLITS:
        raise BenchError(f"no split {split!r}; choose one of {', '.join(SPLITS)}.")
    return split
