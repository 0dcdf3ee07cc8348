"""`sanawm collect`: from a policy to a dataset."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from sanawm_env.cli.common.cluster import RayWorkers, give_memory_back
from sanawm_env.cli.common.console import note, report
from sanawm_env.cli.common.specs import env_arguments, make_task, parse_spec, policy_maker, read_tasks
from sanawm_env.cli.common.world import check_encoder
from sanawm_env.cli.data.refining import Refining
from sanawm_env.registration import DEFAULT_CHECKPOINT

if TYPE_CHECKING:
    from sanawm_env.data.collection.plan import Plan
    from sanawm_env.data.collection.store import Store
    from sanawm_env.world.model import WorldModel

__all__ = ["Collect"]

_OWN = {
    "image": "--images",
    "prompt": "--prompts",
    "text_encoder": "--text-encoder",
    "task": "--task",
    "device": "--device",
    "max_episode_steps": "--max-steps",
    "info_frames": "nothing: policies may want them",
}
"""Arguments of the environment that this command sets by options of their own."""
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


@dataclass
class Collect:
    """Let a policy act, and keep its episodes as a dataset (LeRobotDataset v3.0) that can be replayed bit for bit.

    Kill it whenever you like: the same line goes on, and no episode is made twice.
    """

    policy: str
    """Who acts: scripted:follow, random:smooth, planner:cem, sb3:FILE.zip, bc:FILE.safetensors, remote:ws://HOST:PORT
    or package.module:function, with settings as in `planner:cem,frame_budget=2304`."""
    out: Path
    """Folder of the dataset; a new one, or one that this command began."""
    task: str | None = None
    """PointNav, ImageNav, FollowPath, Explore or LoopClosure, with settings as in PointNav,stop_action=True; without
    it a free walk, for policies that need no task."""
    episodes: int | None = None
    """How many to play."""
    hours: float | None = None
    """How much world time to keep, in place of --episodes; episodes that are in play when it is reached come on top."""
    images: Path | None = None
    """Folder of first frames, taken in turns by name; a text file of the same name is a picture's prompt."""
    prompts: Path | None = None
    """Text file of prompts, one a line; worlds without text only write them down."""
    text_encoder: Path | None = None
    """Folder of gemma-2-2b-it, for worlds with text; otherwise beside the checkpoint, or from the Hub."""
    seed: int = 0
    """Reset seeds count up from here. Those from 1,000,000 on are kept for evaluation."""
    vary: tuple[str, ...] = ()
    """What is drawn anew for each episode: fov=50,80 (degrees), speed=0.5,1 (factor on the most metres of a step)."""
    keep: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Filters, give it several times: success, length=SECONDS, drift=FACTOR, distinct=BITS, camera=DEGREES or
    package.module:function. What is dropped leaves its recipe and the reason, and no video."""
    codec: str = "h264-444"
    """h264-444, rgb (lossless) or h264 (4:2:0, which browsers play)."""
    slots: int | None = None
    """Episodes at a time; 8 where slots share a forward, 1 on the CPU, where more bring nothing."""
    max_steps: int | None = None
    """Steps after which an episode is truncated; those that make 60 s otherwise."""
    discrete: bool = False
    """The policy acts by Habitat's four actions, as in `evaluate-policy --discrete`; episodes hold the pose deltas that
    they stand for."""
    env: tuple[str, ...] = ()
    """Further arguments of SanaWMEnv, such as max_rotation=0.2 sampler_steps=2."""
    quota: float | None = None
    """GB (1e9 bytes) of the folder at which to stop; episodes that are in play then are finished."""
    checkpoint: Annotated[str, tyro.conf.arg(aliases=["-c"])] = DEFAULT_CHECKPOINT
    """Built-in name, checkpoint folder or release; `untrained` is a small world of random weights, for tests."""
    device: str = "auto"
    """cpu, cuda, or auto."""

    refining: Annotated[Refining, tyro.conf.OmitArgPrefixes] = field(default_factory=Refining)
    """Refine what is kept, in a second queue."""
    cluster: Annotated[RayWorkers, tyro.conf.OmitArgPrefixes] = field(default_factory=RayWorkers)
    """Processes of Ray."""

    def run(self) -> None:
        """Do it.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used, before anything is written.
        """
        if self.quota is not None and not self.quota > 0:
            raise ValueError(f"--quota must be positive; got {self.quota} GB.")
        if self.slots is not None and self.slots < 1:
            raise ValueError(f"--slots must be at least 1; got {self.slots}.")
        self.cluster.check()
        policy_maker()  # finds policies of the user's own in the working folder
        pictures = self._pictures()
        self._check_early()
        job = self.refining.job(self.codec, self.device, self.cluster)

        from sanawm_env.data.collection.run import Play, collect
        from sanawm_env.data.collection.store import Store
        from sanawm_env.data.collection.worker import Worker
        from sanawm_env.scenes.seeds import HELD_OUT_RESETS
        from sanawm_env.world.checkpoints.prompts import takes_prompts
        from sanawm_env.world.offline.refiner_files import check_size

        with Store(self.out).opened() as store:
            world = self._world()
            if job is not None:
                check_size(job.files, world.config.height, world.config.width)
            plan = self._plan(world, store, pictures)
            if plan.has_prompts and not takes_prompts(world):
                note(f"checkpoint {world.config.name!r} was trained without text: the prompts are only written down.")
            store.check(plan)
            worker = Worker(world, plan, store, self.slots or (8 if world.batched else 1))
            worker.check()
            store.begin(plan)
            if plan.task is not None and plan.first_seed + (plan.episodes or 1) > HELD_OUT_RESETS.start:
                note("reset seeds from 1,000,000 on are kept for evaluating policies; do not train on these episodes.")
            quota = None if self.quota is None else round(self.quota * 1e9)
            play: Play
            if self.cluster.ray is None:
                play = worker.play
            else:
                from sanawm_env.data.collection.share import Sharing, share

                load = partial(_load_world, self.checkpoint, self.device, _loading(plan.env))
                ahead = self.hours is None and self.quota is None
                sharing = Sharing(self.cluster.ray, self.cluster.workers, self.cluster.threads, self.slots, ahead)
                play = share(plan, store, load, sharing, report)
                del worker, world  # memory, perhaps a GPU's, for those who do the work
                give_memory_back()
            run = partial(collect, plan, store, quota=quota, say=report)
            if job is None:
                complete = run(play)
            elif self.cluster.ray is None:
                from sanawm_env.data.refinement.run import refine_after

                complete = run(play)
                del play, worker, world  # memory for the refiner
                give_memory_back()
                complete = refine_after(job, store, report) and complete
            else:
                from sanawm_env.data.execution.ray_session import session
                from sanawm_env.data.refinement.run import refining_beside

                with session(self.cluster.ray, report), refining_beside(job, store, report) as beside:
                    complete = run(beside.play(play))
                complete = beside.complete and complete
            if not complete:
                sys.exit(1)

    # -- reading the options ------------------------------------------------------------------------------

    def _check_early(self) -> None:
        """What needs no world, so that a mistake is told before minutes of loading."""
        from sanawm_env.data.collection.filters import make_filters
        from sanawm_env.data.storage.encode import CODECS

        if self.codec not in CODECS:
            raise ValueError(f"unknown codec {self.codec!r}; there are {', '.join(CODECS)}.")
        make_filters(self.keep)
        if "success" in self.keep and self.task is None:
            raise ValueError("--keep success needs a task; give --task PointNav, say.")
        self._plan_from("", None, ())

    def _pictures(self) -> list[Path]:
        if self.images is None:
            return []
        if not self.images.is_dir():
            raise FileNotFoundError(f"no folder {self.images}; check the path of --images.")
        found = sorted(path for path in self.images.iterdir() if path.suffix.lower() in _PICTURES)
        if not found:
            raise ValueError(f"--images {self.images} holds no picture ({', '.join(_PICTURES)}).")
        return found

    def _plan(self, world: WorldModel, store: Store, pictures: Sequence[Path]) -> Plan:
        """What is asked for; copies the pictures in."""
        from sanawm_env.scenes.start_image import read_image

        images = []
        for path in pictures:
            beside = path.with_suffix(".txt")
            prompt = beside.read_text(encoding="utf-8").strip() if beside.is_file() else None
            images.append((store.add_image(read_image(path)), prompt or None))
        return self._plan_from(world.checkpoint, self._policy_hash(), tuple(images))

    def _plan_from(
        self, checkpoint_hash: str, policy_hash: str | None, images: tuple[tuple[str, str | None], ...]
    ) -> Plan:
        from sanawm_env.data.collection.plan import Plan

        name, settings = parse_spec(self.policy)
        task = None
        if self.task is not None:
            found = read_tasks([self.task])
            if len(found) > 1:
                raise ValueError(
                    "a collection has one task; name one, and collect the others into folders of their own."
                )
            task = make_task(*found[0][1]).to_dict()
        return Plan(
            checkpoint=self.checkpoint,
            checkpoint_hash=checkpoint_hash,
            task=task,
            policy=name,
            policy_settings=settings,
            policy_sha256=policy_hash,
            env=self._env(),
            discrete=self.discrete,
            first_seed=self.seed,
            images=images,
            prompts=self._prompts(),
            ranges=dict(map(_range, self.vary)),
            keep=tuple(self.keep),
            codec=self.codec,
            episodes=self.episodes,
            hours=self.hours,
        )

    def _prompts(self) -> tuple[str, ...]:
        if self.prompts is None:
            return ()
        if not self.prompts.is_file():
            raise FileNotFoundError(f"no file {self.prompts}; check the path of --prompts.")
        lines = tuple(line.strip() for line in self.prompts.read_text(encoding="utf-8").splitlines() if line.strip())
        if not lines:
            raise ValueError(f"--prompts {self.prompts} is empty; write one prompt a line.")
        return lines

    def _policy_hash(self) -> str | None:
        """Of a trained policy's file: with another one of the same name it is another plan."""
        path = Path(parse_spec(self.policy)[0].partition(":")[2])
        return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None

    def _env(self) -> dict[str, Any]:
        from sanawm_env.envs.settings import Settings

        further = env_arguments(self.env, _OWN)
        if self.text_encoder is not None:
            check_encoder(self.text_encoder)
            further["text_encoder"] = str(self.text_encoder)
        if self.max_steps is not None:
            if self.max_steps < 1:
                raise ValueError(f"--max-steps must be at least 1; got {self.max_steps}.")
            further["max_episode_steps"] = self.max_steps
        elif further.get("episode_seconds", 60) is None:
            raise ValueError("--env episode_seconds=None: an episode needs an end; give --max-steps.")
        Settings.read(dict(further))  # tells what is wrong with one
        return further

    def _world(self) -> WorldModel:
        return _load_world(self.checkpoint, self.device, _loading(self._env()))


def _loading(env: dict[str, Any]) -> dict[str, Any]:
    """Of the environment's arguments, those that load the world."""
    return {key: env[key] for key in ("dtype", "precision", "state_precision") if key in env}


def _load_world(checkpoint: str, device: str, loading: dict[str, Any]) -> WorldModel:
    """Here, or in a worker on another machine."""
    from sanawm_env.envs.settings import Settings
    from sanawm_env.world.model import WorldModel

    return WorldModel.load(**Settings(device=device, **loading).source(checkpoint, None))


def _range(text: str) -> tuple[str, tuple[float, float]]:
    """`name=low,high`."""
    name, _, ends = text.partition("=")
    try:
        low, high = (float(end) for end in ends.split(","))
    except ValueError:
        raise ValueError(f"--vary {text}: give name=least,greatest, for example speed=0.5,1.") from None
    return name, (low, high)
