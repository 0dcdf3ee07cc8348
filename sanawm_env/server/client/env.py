"""`RemoteSanaWMEnv`: an environment whose world lives in a session server."""

from __future__ import annotations

import copy
from typing import Any, ClassVar

import gymnasium as gym
from gymnasium.utils import seeding

from sanawm_env.server.client.connection import Connection
from sanawm_env.server.client.session import RemoteSession
from sanawm_env.server.client.values import RemoteSnapshot, plain, read_space

__all__ = ["RemoteSanaWMEnv"]

_MODES = ("rgb_array",)


class RemoteSanaWMEnv(gym.Env[Any, Any]):
    """
    ## Description
    `SanaWMEnv` at a distance: the world runs in `sanawm serve`, here are NumPy, Gymnasium and websockets alone.
    Spaces, observations, rewards, info, seeds and reset options are those of `SanaWMEnv`, and with a lossless
    encoding the same bits.

    ```python
    import gymnasium as gym

    env = gym.make("sanawm_env.client:RemoteSanaWM-v0", url="http://127.0.0.1:8766/?token=...", task="PointNav")
    observation, info = env.reset(seed=7)
    here = env.unwrapped.snapshot()  # a handle: the moment stays on the server
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    env.unwrapped.restore(here)
    ```

    A connection that is lost is made again, and so is one to a server that was started again on its `--data`: requests
    are numbered, so that no step is lost or done twice.

    ## Arguments
    | Argument      | Default | Meaning                                                                             |
    |---------------|---------|-------------------------------------------------------------------------------------|
    | `url`         |         | what `sanawm serve` printed                                                         |
    | `token`       | `None`  | in place of the address's                                                           |
    | `session`     | `None`  | id of a session that is there; None makes a new one, which ends with `close`        |
    | `take`        | `False` | take control of `session` from whoever has it                                       |
    | `encoding`    | `"raw"` | of images: `"raw"` and `"png"` are lossless, `"jpeg"` is smaller (both need Pillow) |
    | `patience`    | `60.0`  | seconds for which a lost connection is waited for                                   |
    | `render_mode` | `None`  | `"rgb_array"`                                                                       |
    | others        |         | as in `SanaWMEnv`, but for what belongs to the server: `checkpoint`, `device`, ...  |
    """  # noqa: D205, D212

    metadata: ClassVar[dict[str, Any]] = {"render_modes": list(_MODES), "render_fps": 16}  # type: ignore[misc]

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        session: str | None = None,
        take: bool = False,
        encoding: str = "raw",
        patience: float = 60.0,
        render_mode: str | None = None,
        **settings: Any,
    ) -> None:
        """See the class.

        Raises:
            ConnectionError, PermissionError: No server, or a wrong token.
            ValueError: A setting that cannot be used.
        """
        if render_mode not in (None, *_MODES):
            raise ValueError(f"render_mode must be None or 'rgb_array'; got {render_mode!r}.")
        if encoding not in ("raw", "png", "jpeg"):
            raise ValueError(f"encoding must be 'raw', 'png' or 'jpeg'; got {encoding!r}.")
        if session is not None and settings:
            raise ValueError(f"a session has its settings; leave out {next(iter(settings))!r}.")
        connection = Connection(url, token, patience=patience)
        try:
            if session is None:
                remote = RemoteSession.create(connection, settings, encoding)
            else:
                remote = RemoteSession.join(connection, session, encoding, mine=False, take=take)
        except BaseException:
            connection.close()
            raise
        self._settle(remote, render_mode)

    def _settle(self, remote: RemoteSession, render_mode: str | None) -> None:
        facts = remote.facts
        self._remote: RemoteSession | None = remote
        self.render_mode = render_mode
        self.frames_per_step: int = facts["frames_per_step"]
        """Pixel frames F of one step."""
        self.step_seconds: float = facts["step_seconds"]
        """World time of one step."""
        self.max_translation: float = facts["max_translation"]
        """Metres per step of a full action component (not in action mode `keys`)."""
        self.max_rotation: float = facts["max_rotation"]
        """Radians per step of a full action component (likewise)."""
        self.keys: tuple[str, ...] = tuple(facts["keys"])
        """Names of the components of an action in mode `keys`."""
        self.action_space = read_space(facts["action_space"])
        self.observation_space = read_space(facts["observation_space"])
        self.metadata = self.metadata | {"render_fps": facts["fps"] / self.frames_per_step}  # type: ignore[misc]
        if facts["goal_form"]:  # only then, as in `SanaWMEnv`
            self.compute_reward = remote.compute_reward

    # -- Gymnasium ----------------------------------------------------------------------------------------

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode; options as in `SanaWMEnv`, where `state` is a `RemoteSnapshot`.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used; the episode before goes on.
        """
        remote = self._required
        answer = remote.done(remote.connection.ask(remote.reset_message(seed, dict(options or {}))))
        if seed is not None or self._np_random is None:
            self._np_random, self._np_random_seed = seeding.np_random(seed)
        # The server draws; whoever draws from `np_random` here goes on where it stopped.
        self._np_random.bit_generator.state = answer["rng"]
        return answer["observation"], answer["info"]

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Move the camera and let the world follow.

        Raises:
            ResetNeeded: Before the first `reset` or `restore`.
            ValueError: An action outside the space; nothing has changed then.
        """
        answer = self._required.ask("step", action=plain(action))
        return (
            answer["observation"], answer["reward"], answer["terminated"], answer["truncated"], answer["info"]
        )  # fmt: skip

    def render(self) -> Any:
        """The last frame `(H, W, 3)`."""
        return None if self.render_mode is None else self._required.last_frame()

    def close(self) -> None:
        """End the session, and the connection with its last environment; safe to call again."""
        if (remote := getattr(self, "_remote", None)) is not None:
            self._remote = None
            remote.close()

    # -- snapshot, restore, fork --------------------------------------------------------------------------

    def snapshot(self, name: str | None = None) -> RemoteSnapshot:
        """This moment, as a handle; it lasts as long as the session.

        Raises:
            ResetNeeded: Before the first `reset` or `restore`.
            RemoteError: `full`: the server's snapshots hold as much as they may.
        """
        return self._required.snapshot(name)

    def restore(self, snapshot: RemoteSnapshot) -> tuple[Any, dict[str, Any]]:
        """Go back to a moment, bit for bit; also to one of another session with an equal task."""
        remote = self._required
        answer = remote.done(remote.connection.ask(remote.restore_message(snapshot)))
        return answer["observation"], answer["info"]

    def fork(self, n: int) -> list[RemoteSanaWMEnv]:
        """Make n environments that share this one's past, and nothing else; each ends with its own `close`.

        Raises:
            ValueError: n below 1, or more sessions than the server holds.
        """
        if n < 1:
            raise ValueError(f"fork needs at least one copy; got n = {n}.")
        twins = []
        for remote in self._required.fork(n):
            twin = object.__new__(type(self))
            twin._settle(remote, self.render_mode)
            twin.spec = self.spec
            twin._np_random, twin._np_random_seed = copy.deepcopy(self._np_random), self._np_random_seed
            twins.append(twin)
        return twins

    def save(self) -> bytes:
        """The present as a world file; where torch is, `EnvSnapshot.load` reads it."""
        return self._required.save()

    def open_world(self, data: bytes) -> RemoteSnapshot:
        """The moment of a world file, to be restored."""
        return self._required.open_world(data)

    @property
    def session(self) -> str:
        """Id of the session."""
        return self._required.id

    @property
    def _required(self) -> RemoteSession:
        if self._remote is None:
            raise gym.error.ClosedEnvironmentError("the environment was closed; make another one.")
        return self._remote
