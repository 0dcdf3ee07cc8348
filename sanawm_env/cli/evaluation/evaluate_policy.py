"""`sanawm evaluate-policy`: how well do policies do the tasks, and at what cost."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from sanawm_env.cli.common.cluster import RayWorkers, give_memory_back
from sanawm_env.cli.common.console import note
from sanawm_env.cli.common.outputs import check_outputs
from sanawm_env.cli.common.specs import check_distinct, make_task, parse_spec, read_tasks
from sanawm_env.cli.common.world import check_encoder
from sanawm_env.cli.evaluation.episodes import Episodes, Stored, makers_of
from sanawm_env.registration import DEFAULT_CHECKPOINT

if TYPE_CHECKING:
    from sanawm_env.evaluation.policy.trials import Trial
    from sanawm_env.video import VideoWriter

__all__ = ["EvaluatePolicy"]


@dataclass
class EvaluatePolicy:
    """Let policies do tasks, and print success, SPL, soft SPL, cost and failures, with confidence intervals.

    Each policy meets the same worlds and goals. Policies and tasks may bring settings along:
    `--policy planner:cem,frame_budget=2304 --task PointNav,stop_action=True`.
    """

    policy: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Who plays; give it several times to compare: scripted:follow, random:smooth, planner:cem, sb3:FILE.zip,
    bc:FILE.safetensors, remote:ws://HOST:PORT or package.module:function. An sb3 file holds pickled objects: load only
    what you trust."""
    task: tuple[str, ...] = ("PointNav",)
    """One or more of PointNav, ImageNav, FollowPath, Explore, LoopClosure, or their ids; `suite` is all five."""
    episodes: int | None = None
    """Per policy and task; 20 without --seeds."""
    first_seed: int = 1_000_000
    """Reset seeds count up from here; those from 1,000,000 on are kept for evaluation."""
    seeds: tuple[int, ...] = ()
    """The reset seeds themselves, in place of --episodes and --first-seed."""
    checkpoint: Annotated[str, tyro.conf.arg(aliases=["-c"])] = DEFAULT_CHECKPOINT
    """Built-in name, checkpoint folder or release; `untrained` is a small world of random weights, for tests."""
    chunk_frames: int | None = None
    """Latent frames per step; the checkpoint's default otherwise."""
    max_steps: int | None = None
    """Steps after which an episode is truncated; those that make 60 s otherwise."""
    obs_size: tuple[int, int] | None = None
    """Rows and columns of observed images; the world's own otherwise."""
    obs_mode: Literal["frame", "dict", "pose"] = "frame"
    """What is observed beside the task's entries: the last picture, all of them, or none."""
    discrete: bool = False
    """Habitat's four actions (envs.wrappers.DiscreteNavigation) in place of pose deltas, with moves of 0.25 m and
    turns of 10 degrees, or the most that one step can do if that is less."""
    env: tuple[str, ...] = ()
    """Further arguments of SanaWMEnv, such as max_rotation=0.2 sampler_steps=2."""
    prompt: str | None = None
    """What the worlds are to look like, for checkpoints that are conditioned on text."""
    text_encoder: Path | None = None
    """Folder of gemma-2-2b-it; otherwise beside the checkpoint, or from the Hub."""
    video: Path | None = None
    """Write the first episodes here, *.mp4; several policies or tasks get a file each, named after them."""
    video_episodes: int = 1
    """How many."""
    json: str | None = None
    """Write statistics and all episodes to this file, or to the standard output in place of the table: -"""
    out: Path | None = None
    """Folder in which each episode is kept as it is played, so that the same line goes on where it stopped."""
    device: str = "auto"
    """cpu, cuda, or auto."""

    cluster: Annotated[RayWorkers, tyro.conf.OmitArgPrefixes] = field(default_factory=RayWorkers)
    """Processes of Ray."""

    def run(self) -> None:
        """Do it. Interrupted, it prints what there is.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used, before any episode.
        """
        tasks = read_tasks(self.task)
        if not self.policy:
            raise ValueError("no policy to evaluate: give --policy scripted:follow, for example.")
        self._check_options()
        makers = makers_of(self)  # what is wrong with them shows now
        for _, spec in tasks:
            make_task(*spec)
        seeds = self.reset_seeds()
        videos = self._videos([text for text, _ in tasks])
        written = [video.path for video in videos.values()]
        written += [] if self.json in (None, "-") else [Path(str(self.json))]
        check_outputs(written, self._inputs())

        from tqdm import tqdm

        from sanawm_env.evaluation.policy.trials import HELD_OUT_RESETS

        episodes = Episodes(self, makers, self.cluster.process_threads)
        about, stored, total = self._about(episodes, seeds), episodes.stored, len(episodes.all)
        if any(seed not in HELD_OUT_RESETS for seed in seeds):
            note(f"reset seeds outside {HELD_OUT_RESETS} may have been used to train a policy.")
        trials = {} if stored is None else {n: trial for n in range(total) if (trial := stored.get(n)) is not None}
        filmed = self.video_episodes if videos else 0
        todo = [n for n in range(total) if n not in trials or episodes.all[n].place < filmed]
        if self.cluster.ray is None:
            played = self._here(episodes, todo, videos)
        else:
            del episodes  # memory, perhaps a GPU's, for those who do the work
            give_memory_back()
            played = self._elsewhere(todo, about["depends_on"], stored)
        try:
            with tqdm(initial=total - len(todo), total=total, unit="episode", disable=None, file=sys.stderr) as bar:
                for number, trial in played:
                    trials[number] = trial
                    bar.update()
        except BaseException as error:  # an interrupt, a full disk: what was played is not lost
            if trials:
                note(f"stopped by {type(error).__name__} after {len(trials)} of {total} episodes.")
                with suppress(OSError):  # a full disk or a closed pipe may be what stopped it
                    self._show(_in_order(trials), about | {"complete": False})
            raise
        if not trials:
            raise RuntimeError("not one episode could be played; the notes above say why.")
        self._show(_in_order(trials), about | {"complete": len(trials) == total})
        if len(trials) < total:
            print(f"sanawm: error: {total - len(trials)} episodes are not there; see above.", file=sys.stderr)
            sys.exit(1)
        if all(trial.ending == "failed" for trial in trials.values()):
            print("sanawm: error: no episode could be played to its end; the table says why.", file=sys.stderr)
            sys.exit(1)

    # -- playing ------------------------------------------------------------------------------------------

    def _here(
        self, episodes: Episodes, todo: Sequence[int], videos: Mapping[tuple[str, str], VideoWriter]
    ) -> Iterator[tuple[int, Trial]]:
        """In this process: number and trial, one after another."""
        pair = attrgetter("task", "policy")
        for of, numbers in groupby(todo, key=lambda number: pair(episodes.all[number])):
            with ExitStack() as film:
                watch = self._watch(film, videos.get(of))
                for number in numbers:
                    yield number, episodes.do(number, watch(episodes.all[number].place))

    def _elsewhere(
        self, todo: Sequence[int], depends_on: Mapping[str, Any], stored: Stored | None
    ) -> Iterator[tuple[int, Trial]]:
        """Through Ray: number and trial, as they come."""
        from sanawm_env.cli.evaluation.sharing import share

        there = replace(self, out=None if self.out is None else self.out.resolve())
        results = share(
            todo, partial(Episodes, there), depends_on,
            cluster=self.cluster,
            is_done=None if stored is None else stored.is_done, folder=there.out,
        )  # fmt: skip
        for result in results:
            trial = stored.get(result.item) if result.found and stored is not None else result.value
            if trial is None:
                note(f"episode {result.item} is not there: {result.failure}")
            else:
                yield result.item, trial

    # -- reading the options ------------------------------------------------------------------------------

    def _check_options(self) -> None:
        """Numbers and files, before anything is loaded."""
        if self.cluster.ray is not None and self.video is not None:
            raise ValueError(
                "--video films in this process; leave --ray out, or film episodes afterwards: the same ones are played "
                "by --seeds N --video FILE."
            )
        self.cluster.check()
        if self.out is not None and self.out.exists() and not self.out.is_dir():
            raise ValueError(f"--out {self.out} is a file; name a folder.")
        check_distinct("--policy", self.policy)
        check_encoder(self.text_encoder)
        for name, value in (("--max-steps", self.max_steps), ("--video-episodes", self.video_episodes)):
            if value is not None and value < 1:
                raise ValueError(f"{name} must be at least 1; got {value}.")
        if self.json not in (None, "-"):
            path = Path(str(self.json))
            if path.is_dir() or not path.parent.is_dir():
                raise ValueError(f"--json {path} cannot be written; name a file in a folder that exists, or -.")

    def _inputs(self) -> list[tuple[str, Path | None]]:
        """What is read: the checkpoint, and the files of trained policies (`sb3:FILE`, `bc:FILE`)."""
        files = [Path(parse_spec(text)[0].partition(":")[2]) for text in self.policy]
        return [("--checkpoint", Path(self.checkpoint)), *(("--policy", path) for path in files if path.is_file())]

    def reset_seeds(self) -> Sequence[int]:
        """Of the resets."""
        from sanawm_env.evaluation.policy.trials import check_seeds

        if self.seeds and self.episodes is not None:
            raise ValueError("give either --seeds or --episodes, not both: one episode is played per seed.")
        if self.episodes is not None and self.episodes < 1:
            raise ValueError(f"--episodes must be at least 1; got {self.episodes}.")
        count = 20 if self.episodes is None else self.episodes
        seeds = self.seeds or range(self.first_seed, self.first_seed + count)
        check_seeds(seeds)
        return seeds

    def _videos(self, tasks: Sequence[str]) -> dict[tuple[str, str], VideoWriter]:
        """A writer, which has not opened its file yet, for each task and policy."""
        if self.video is None:
            return {}
        from sanawm_env.video import VideoWriter

        pairs = [(task, policy) for task in tasks for policy in self.policy]
        if len(pairs) == 1:
            return {pairs[0]: VideoWriter(self.video)}
        names = {pair: re.sub(r"[^\w.=-]+", "-", "-".join(pair)) for pair in pairs}
        check_distinct("--video", list(names.values()))
        stem, kind = self.video.stem, self.video.suffix
        return {pair: VideoWriter(self.video.with_name(f"{stem}-{name}{kind}")) for pair, name in names.items()}

    # -- telling ------------------------------------------------------------------------------------------

    def _watch(self, film: ExitStack, video: VideoWriter | None) -> Callable[[int], Any]:
        """What takes the frames of the i-th episode; `film` closes the video, and keeps what an interrupt leaves."""
        if video is None:
            return lambda episode: None
        film.push(lambda kind, error, trace: _end(video, kind))
        return lambda episode: video.write if episode < self.video_episodes else None

    def _about(self, episodes: Episodes, seeds: Sequence[int]) -> dict[str, Any]:
        from sanawm_env.evaluation.policy.table import CONFIDENCE
        from sanawm_env.world.offline.recipe import versions

        world, env = episodes.world, episodes.env
        return {
            "checkpoint": self.checkpoint,
            "checkpoint_hash": world.checkpoint,
            "depends_on": episodes.depends_on,
            "seeds": list(seeds),
            "frames_per_step": env.unwrapped.frames_per_step,
            "step_seconds": env.unwrapped.step_seconds,
            "max_steps": env.spec.max_episode_steps,
            "discrete": {"step": env.step_metres, "turn": env.turn_degrees} if self.discrete else None,
            "obs_mode": env.unwrapped.obs_mode,
            "env": list(self.env),
            "prompt": self.prompt,
            "device": str(world.device),
            "confidence": CONFIDENCE,
            "versions": versions(),
        }

    def _show(self, trials: Sequence[Trial], about: dict[str, Any]) -> None:
        """Write the JSON, then print the table: nobody may be reading, and the episodes took hours."""
        import json

        from sanawm_env.evaluation.policy.table import format_table, summarize_trials
        from sanawm_env.files import write_json

        summaries = summarize_trials(trials)
        everything = {
            "about": about,
            "summaries": [summary.to_dict() for summary in summaries],
            "episodes": [trial.to_dict() for trial in trials],
        }
        if self.json not in (None, "-"):
            write_json(Path(str(self.json)), everything)
        elif self.json == "-":
            print(json.dumps(everything, allow_nan=False))
            return
        seeds = about["seeds"]
        span = f"{seeds[0]}..{seeds[-1]}" if seeds == list(range(seeds[0], seeds[-1] + 1)) else "as given"
        print(
            f"checkpoint {self.checkpoint} ({about['checkpoint_hash'][:16]}), reset seeds {span}, "
            f"{about['frames_per_step']} frames a step, at most {about['max_steps']} steps "
            f"({about['max_steps'] * about['step_seconds']:g} s)"
        )
        if actions := about["discrete"]:
            print(f"discrete actions: moves of {actions['step']:.3g} m, turns of {actions['turn']:.3g}°")
        print()
        print(format_table(summaries), flush=True)


def _in_order(trials: Mapping[int, Trial]) -> list[Trial]:
    return [trials[number] for number in sorted(trials)]


def _end(video: VideoWriter, kind: type[BaseException] | None) -> None:
    """Keep what was filmed up to an interrupt; a failure leaves no video."""
    if kind is None or issubclass(kind, KeyboardInterrupt | GeneratorExit):
        video.close()
    else:
        video.discard()
