"""`sanawm evaluate`: how good is a world, measured on held-out scenes."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sanawm_env.registration import DEFAULT_CHECKPOINT

if TYPE_CHECKING:
    from sanawm_env.evaluation.parts import Setting
    from sanawm_env.world.model import WorldModel

__all__ = ["Evaluate", "Thresholds", "require"]

PACKAGES = {"skimage": "scikit-image"}
CLIPS = 6
"""Side-by-side videos in a report."""


def require(*packages: str) -> None:
    """Check that packages of the extra `eval` are installed, before hours of work rest on them.

    Raises:
        ValueError: One is missing; names the extra.
    """
    # Found by the name of their module; scikit-image's is another one.
    missing = [PACKAGES.get(name, name) for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f'this needs {", ".join(missing)}: pip install "sanawm_env[eval]" (or -e ".[eval]").')


@dataclass(frozen=True)
class Thresholds:
    """When a rollout counts as useful."""

    rot_err_deg: float = 3.0
    """Largest camera rotation error, degrees."""
    trans_err: float = 0.1
    """Largest camera translation error, share of the path's length."""
    drift: float = 0.1
    """Largest loss or gain of sharpness, share."""


@dataclass
class Evaluate:
    """Measure a world on held-out procedural scenes and print one JSON line.

    Results of single scenes are kept in --out, so that an interrupted run goes on where it stopped.
    """

    suite: Literal["smoke", "quick", "full"] = "quick"
    """`quick` takes minutes on two cores; `full` also writes report.html."""
    checkpoint: Annotated[str, tyro.conf.arg(aliases=["-c"])] = DEFAULT_CHECKPOINT
    """Built-in name or checkpoint folder; `untrained` is a small world of random weights, for tests."""
    out: Path = Path("runs/evaluate")
    """Folder of results."""
    first_seed: int = 20_000_000
    """Scene seeds count up from here; those from 20,000,000 on were never trained on."""
    chunk_frames: int | None = None
    """Latent frames per step; the checkpoint's default otherwise."""
    steps: int | None = None
    """Sampler steps per chunk; the checkpoint's schedule otherwise."""
    prompt: str | None = None
    """Text for all scenes, for checkpoints with text; otherwise what each scene shows."""
    text_encoder: Path | None = None
    """Folder of gemma-2-2b-it; otherwise beside the checkpoint, or from the Hub."""
    report: bool = False
    """Write report.html for other suites than `full` too."""
    useful: Thresholds = field(default_factory=Thresholds)
    """What counts as a useful rollout."""
    device: str = "auto"
    """cpu, cuda, or auto."""

    def run(self) -> None:
        """Do it.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used.
        """
        from sanawm_env.cli.common.probe import black_start
        from sanawm_env.envs.options import as_device, sampler_sigmas
        from sanawm_env.evaluation.captions import Captions
        from sanawm_env.evaluation.parts import Setting
        from sanawm_env.evaluation.policy import cost
        from sanawm_env.evaluation.report.summary import summarize_results
        from sanawm_env.evaluation.suite import SUITES, run_suite
        from sanawm_env.files import write_json
        from sanawm_env.scenes import EVAL_SEEDS
        from sanawm_env.world.model import WorldModel

        require("evo", "skimage", *(("matplotlib", "jinja2") if self.report or self.suite == "full" else ()))
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"--out {self.out} is a file; name a folder.")
        if self.first_seed < 0:
            raise ValueError(f"--first_seed must not be negative; got {self.first_seed}.")
        device = as_device(self.device)
        made_up = self.checkpoint == "untrained"
        world = WorldModel.untrained(device=device) if made_up else WorldModel.load(self.checkpoint, device)
        config = world.config
        chunk = config.chunk_frames if self.chunk_frames is None else self.chunk_frames
        if not 1 <= chunk <= config.max_chunk_frames:
            raise ValueError(f"chunk_frames must lie in 1..{config.max_chunk_frames} for this checkpoint; got {chunk}.")
        sigmas = sampler_sigmas(config.sigmas, self.steps, None)
        captions = Captions(world, self.prompt, self.text_encoder)
        suite, setting = SUITES[self.suite], Setting(chunk, sigmas, captions=captions)
        if self.first_seed not in EVAL_SEEDS:
            print(f"note: scenes outside {EVAL_SEEDS} may not be held out", file=sys.stderr)

        began = time.monotonic()
        results = run_suite(world, suite, self.first_seed, setting, self.out / "scenes")
        limits = self.useful
        summary: dict[str, Any] = {"about": self._about(world, setting, time.monotonic() - began)}
        summary |= summarize_results(results, cost.Thresholds(limits.rot_err_deg, limits.trans_err, limits.drift))
        summary["cost"]["state_bytes"] = black_start(world).nbytes
        write_json(self.out / "summary.json", summary)
        if self.report or self.suite == "full":
            self._report(world, setting, summary)
        print(json.dumps({name: value for name, value in summary.items() if name != "curves"}, allow_nan=False))

    def _about(self, world: WorldModel, setting: Setting, seconds: float) -> dict[str, Any]:
        from sanawm_env.evaluation.parts import ESTIMATOR
        from sanawm_env.evaluation.provenance import numbers_depend_on

        return {
            "checkpoint": self.checkpoint,
            "checkpoint_hash": world.checkpoint,
            "suite": self.suite,
            "first_seed": self.first_seed,
            "chunk_frames": setting.chunk_frames,
            "sigmas": list(setting.sigmas or ()),
            "device": str(world.device),
            "depends_on": numbers_depend_on(world) | setting.key(),
            "pose_estimator": ESTIMATOR,
            "seconds": round(seconds, 1),
        }

    def _report(self, world: WorldModel, setting: Setting, summary: dict[str, Any]) -> None:
        from sanawm_env.evaluation.report.page import write_clips, write_report

        clips = write_clips(world, range(self.first_seed, self.first_seed + CLIPS), setting, self.out)
        print(f"report: {write_report(summary, self.out, clips)}", file=sys.stderr)
