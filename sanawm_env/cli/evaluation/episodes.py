"""What `sanawm evaluate-policy` plays: each episode by its number, with the same result in any order and process."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sanawm_env.cli.common.specs import env_arguments, make_task, parse_spec, policy_maker, read_tasks
from sanawm_env.registration import EPISODE_SECONDS

if TYPE_CHECKING:
    from sanawm_env.cli.evaluation.evaluate_policy import EvaluatePolicy
    from sanawm_env.evaluation.policy.stored import TrialStore
    from sanawm_env.evaluation.policy.trials import Trial, Watch
    from sanawm_env.policies.maker import PolicyMaker
    from sanawm_env.tasks import Task
    from sanawm_env.world.model import WorldModel

__all__ = ["Episode", "Episodes", "Stored", "episodes_of", "makers_of"]

_OWN = {
    "checkpoint": "--checkpoint",
    "task": "--task",
    "chunk_frames": "--chunk-frames",
    "obs_size": "--obs-size",
    "prompt": "--prompt",
    "text_encoder": "--text-encoder",
    "obs_mode": "--obs-mode",
    "max_episode_steps": "--max-steps",
    "episode_seconds": "--max-steps",
    "device": "--device",
    "render_mode": "--video",
}
"""Arguments of the environment that the command sets by options of their own."""


@dataclass(frozen=True)
class Episode:
    """One episode before it is played."""

    task: str
    """Its name in the table."""
    policy: str
    """Likewise."""
    seed: int
    """Of the reset."""
    place: int
    """Among the episodes of its policy and task."""


def episodes_of(command: EvaluatePolicy) -> list[Episode]:
    """All of them, in the order of the table.

    Raises:
        ValueError: Tasks or seeds that cannot be played.
    """
    tasks = [label for label, _ in read_tasks(command.task)]
    seeds = list(enumerate(command.reset_seeds()))
    return [Episode(task, policy, seed, place) for task in tasks for policy in command.policy for place, seed in seeds]


def makers_of(command: EvaluatePolicy) -> dict[str, PolicyMaker]:
    """Who plays, by the name in the table.

    Raises:
        ValueError, FileNotFoundError: A policy that cannot be made.
    """
    policy_maker()  # finds policies of the user's own in the working folder
    from sanawm_env.policies.maker import PolicyMaker

    return {text: PolicyMaker(*parse_spec(text)) for text in command.policy}


class Episodes:
    """Plays the episodes of a command with a world of its own: `Pieces` for one process."""

    def __init__(
        self, command: EvaluatePolicy, makers: Mapping[str, PolicyMaker] | None = None, threads: int | None = None
    ) -> None:
        """Load the world.

        Args:
            command: Whose.
            makers: Of `makers_of`; None makes them.
            threads: Of the processes that do the work, where this one does none.

        Raises:
            ValueError, FileNotFoundError: A world, policy or environment that cannot be made.
        """
        from sanawm_env.evaluation.provenance import episodes_depend_on

        self.all = episodes_of(command)
        self._makers = makers_of(command) if makers is None else makers
        self.world = _world(command)
        self.envs = {label: _env(command, self.world, make_task(*spec)) for label, spec in read_tasks(command.task)}
        self.env.unwrapped.simulation.plan(None)  # a prompt that cannot be read shows now
        self.depends_on: dict[str, Any] = episodes_depend_on(self.world, threads)
        self.stored: Stored | None = None
        if command.out is not None:
            self.stored = Stored(command, self.all, self._makers, self.depends_on)

    @property
    def env(self) -> Any:
        """That of the first task."""
        return next(iter(self.envs.values()))

    def do(self, number: int, watch: Watch | None = None) -> Trial:
        """Play an episode, and keep it where the command keeps them.

        The policy is made anew, with a seed that follows from the reset's.
        """
        from sanawm_env.evaluation.policy.trials import play
        from sanawm_env.policies.maker import seed_beside

        episode = self.all[number]
        policy = self._makers[episode.policy].make(seed_beside(episode.seed))
        env = self.envs[episode.task]
        trial = play(env, policy, episode.seed, name=episode.policy, task=episode.task, watch=watch)
        if self.stored is not None:
            self.stored.put(number, trial)
        return trial


class Stored:
    """Episodes on disk by number. It holds no world, so that whoever only waits for others to play needs none."""

    def __init__(
        self,
        command: EvaluatePolicy,
        episodes: list[Episode],
        makers: Mapping[str, PolicyMaker],
        depends_on: Mapping[str, Any],
    ) -> None:
        """Nothing is opened yet.

        Args:
            command: Its `out` is the folder.
            episodes: Of `episodes_of`.
            makers: Of `makers_of`.
            depends_on: What all episodes depend on.
        """
        self._episodes, self._makers, self._out = episodes, makers, command.out
        self._key = (
            dict(depends_on)
            | {
                "chunk_frames": command.chunk_frames,
                "max_steps": command.max_steps,
                "obs_size": command.obs_size,
                "obs_mode": command.obs_mode,
                "discrete": command.discrete,
                "env": sorted(command.env),
            }
            | ({} if command.prompt is None else {"prompt": command.prompt})
        )
        self._stores: dict[tuple[str, str], TrialStore] = {}

    def get(self, number: int) -> Trial | None:
        """An episode; None if it is not there."""
        return self._of(number).get(self._episodes[number].seed)

    def put(self, number: int, trial: Trial) -> None:
        """Keep it, unless it failed."""
        self._of(number).put(trial)

    def is_done(self, number: int) -> bool:
        """Whether it is there."""
        return self.get(number) is not None

    def _of(self, number: int) -> TrialStore:
        from sanawm_env.evaluation.policy.stored import TrialStore

        assert self._out is not None
        episode = self._episodes[number]
        pair = episode.task, episode.policy
        if pair not in self._stores:
            own = {"task": episode.task, "policy": episode.policy, "policy_code": self._makers[episode.policy].digest()}
            self._stores[pair] = TrialStore(self._out, self._key | own)
        return self._stores[pair]


def _world(command: EvaluatePolicy) -> WorldModel:
    from sanawm_env.world.model import WorldModel

    return WorldModel.load(command.checkpoint, command.device)


def _env(command: EvaluatePolicy, world: WorldModel, task: Task) -> Any:
    import gymnasium as gym

    further = env_arguments(command.env, _OWN)
    further |= {"obs_mode": command.obs_mode, "prompt": command.prompt, "text_encoder": command.text_encoder}
    if command.chunk_frames is not None:
        further["chunk_frames"] = command.chunk_frames
    if command.obs_size is not None:
        further["obs_size"] = command.obs_size
    steps = command.max_steps
    if steps is None:
        chunk = command.chunk_frames or world.config.chunk_frames
        steps = max(1, round(EPISODE_SECONDS * world.config.fps / (chunk * world.vae.temporal_stride)))
    name = f"SanaWM/{task.name}-v0"
    limit: dict[str, Any] = {"max_episode_steps": steps, "episode_seconds": None}
    env = gym.make(name, checkpoint=world, task=task, disable_env_checker=True, **limit, **further)
    if command.discrete:
        from sanawm_env.envs.wrappers.discrete import habitat_moves

        return habitat_moves(env)
    return env
