"""`sanawm evaluate`: how good is a world, measured on held-out scenes."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sanawm_env.cli.common.cluster import RayWorkers, give_memory_back
from sanawm_env.cli.common.world import check_encoder
from sanawm_env.registration import DEFAULT_CHECKPOINT

if TYPE_CHECKING:
    from sanawm_env.data.execution import Result
    from sanawm_env.evaluation.parts import Setting
    from sanawm_env.evaluation.suite import Suite, SuiteRun
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
    """Built-in name, checkpoint folder or release; `untrained` is a small world of random weights, for tests."""
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

    cluster: Annotated[RayWorkers, tyro.conf.OmitArgPrefixes] = field(default_factory=RayWorkers)
    """Processes of Ray."""

    def run(self) -> None:
        """Do it.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used.
        """
        from sanawm_env.cli.common.probe import black_start
        from sanawm_env.evaluation.policy import cost
        from sanawm_env.evaluation.report.summary import summarize_results
        from sanawm_env.files import write_json
        from sanawm_env.scenes import EVAL_SEEDS

        require("evo", "skimage", *(("matplotlib", "jinja2") if self.report or self.suite == "full" else ()))
        if self.out.exists() and not self.out.is_dir():
            raise ValueError(f"--out {self.out} is a file; name a folder.")
        if self.first_seed < 0:
            raise ValueError(f"--first_seed must not be negative; got {self.first_seed}.")
        check_encoder(self.text_encoder)
        self.cluster.check()
        threads = self.cluster.process_threads
        scenes = Scenes(self, threads)
        if self.first_seed not in EVAL_SEEDS:
            print(f"note: scenes outside {EVAL_SEEDS} may not be held out", file=sys.stderr)
        about, run, state_bytes = self._about(scenes), scenes.run, black_start(scenes.world).nbytes

        began = time.monotonic()
        if self.cluster.ray is None:
            self._do(run, map(scenes.do, run.todo()))
        else:
            del scenes  # memory, perhaps a GPU's, for those who do the work
            give_memory_back()
            self._do(run, self._share(run, about["depends_on"]))
        limits = self.useful
        summary: dict[str, Any] = {"about": about | {"seconds": round(time.monotonic() - began, 1)}}
        summary |= summarize_results(run.results(), cost.Thresholds(limits.rot_err_deg, limits.trans_err, limits.drift))
        summary["cost"]["state_bytes"] = state_bytes
        write_json(self.out / "summary.json", summary)
        if self.report or self.suite == "full":
            self._report(summary)
        print(json.dumps({name: value for name, value in summary.items() if name != "curves"}, allow_nan=False))

    # -- what is evaluated --------------------------------------------------------------------------------

    @property
    def chosen_suite(self) -> Suite:
        """The suite itself."""
        from sanawm_env.evaluation.suite import SUITES

        return SUITES[self.suite]

    def world(self) -> WorldModel:
        """Load it."""
        from sanawm_env.world.model import WorldModel

        return WorldModel.load(self.checkpoint, self.device)

    def setting(self, world: WorldModel) -> Setting:
        """How it is run.

        Raises:
            ValueError: Chunk, steps or prompt that the checkpoint cannot use.
        """
        from sanawm_env.envs.options import sampler_sigmas
        from sanawm_env.evaluation.captions import Captions
        from sanawm_env.evaluation.parts import Setting

        config = world.config
        chunk = config.chunk_frames if self.chunk_frames is None else self.chunk_frames
        if not 1 <= chunk <= config.max_chunk_frames:
            raise ValueError(f"chunk_frames must lie in 1..{config.max_chunk_frames} for this checkpoint; got {chunk}.")
        sigmas = sampler_sigmas(config.sigmas, self.steps, None)
        captions = Captions(world, self.prompt, self.text_encoder)
        captions.of("room")  # if there is no text encoder, it shows now
        return self.chosen_suite.setting(world, Setting(chunk, sigmas, captions=captions))

    # -- doing it -----------------------------------------------------------------------------------------

    def _do(self, run: SuiteRun, results: Iterable[Result | None]) -> None:
        """Go through what is done as it is done, with a bar.

        Raises:
            RuntimeError: Some of it could not be done.
        """
        from tqdm import tqdm

        total, failed = len(run.jobs), []
        with tqdm(results, initial=total - len(run.todo()), total=total, unit="scene") as bar:
            for result in bar:
                if result is not None and result.failed:
                    failed.append(result)
        if failed:
            part, seed = run.jobs[failed[0].item]
            raise RuntimeError(
                f"{len(failed)} of {total} scenes could not be done, the first of them {part} of scene {seed} "
                f"({failed[0].failure}); the same line tries them again."
            )

    def _share(self, run: SuiteRun, depends_on: dict[str, Any]) -> Iterator[Result]:
        from sanawm_env.cli.evaluation.sharing import share

        there = replace(self, out=self.out.resolve())
        return share(
            run.todo(), partial(Scenes, there), depends_on,
            cluster=self.cluster, is_done=run.is_done, folder=there.out,
        )  # fmt: skip

    def _about(self, scenes: Scenes) -> dict[str, Any]:
        from sanawm_env.evaluation.parts import ESTIMATOR

        return {
            "checkpoint": self.checkpoint,
            "checkpoint_hash": scenes.world.checkpoint,
            "suite": self.suite,
            "first_seed": self.first_seed,
            "chunk_frames": scenes.setting.chunk_frames,
            "sigmas": list(scenes.setting.sigmas or ()),
            "device": str(scenes.world.device),
            "depends_on": scenes.depends_on,
            "pose_estimator": ESTIMATOR,
        }

    def _report(self, summary: dict[str, Any]) -> None:
        from sanawm_env.evaluation.report.page import write_clips, write_report

        world = self.world()
        clips = write_clips(world, range(self.first_seed, self.first_seed + CLIPS), self.setting(world), self.out)
        print(f"report: {write_report(summary, self.out, clips)}", file=sys.stderr)


class Scenes:
    """The scenes of a suite with a world of its own: `Pieces` for one process."""

    def __init__(self, command: Evaluate, threads: int | None = None) -> None:
        """Load the world.

        Args:
            command: What is evaluated.
            threads: Of the processes that do the work, where this one does none.

        Raises:
            ValueError, FileNotFoundError: See `Evaluate.run`.
        """
        from sanawm_env.evaluation.provenance import numbers_depend_on

        self.world = command.world()
        self.setting = command.setting(self.world)
        self.depends_on: dict[str, Any] = numbers_depend_on(self.world, threads) | self.setting.key()
        self._command = command

    @cached_property
    def run(self) -> SuiteRun:
        """What is stored, and what is to be done."""
        from sanawm_env.evaluation.suite import SuiteRun

        command = self._command
        return SuiteRun(command.chosen_suite, command.first_seed, command.out / "scenes", self.depends_on)

    def do(self, number: int) -> None:
        """Do a piece and store it."""
        self.run.do(number, self.world, self.setting)
