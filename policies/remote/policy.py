"""`remote:<address>`: a policy behind openpi's WebSocket protocol."""

from __future__ import annotations

import hashlib
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from sanawm_env.policies.base import Env, Info
from sanawm_env.policies.remote.chunks import read_actions
from sanawm_env.policies.remote.described import describe
from sanawm_env.policies.remote.link import Link, RemotePolicyError, read_address
from sanawm_env.policies.remote.requests import PROMPT, instruction, named
from sanawm_env.policies.remote.wire import need_libraries, pack

__all__ = ["OURS", "VERSION", "RemotePolicy"]

OURS = "sanawm_env"
"""Key of a served policy's metadata that says so; its value is `VERSION`."""
VERSION = 1
"""Of what is beyond openpi's protocol: the request's `episode`."""


class RemotePolicy:
    """Sends each observation to a policy server, and does the actions that come back.

    Every episode has a connection of its own, which is what tells a server that a new one begins. One that breaks is
    not mended in the middle of an episode, since the server's memory of it went with the connection: the episode
    fails, and the next one connects again.
    """

    def __init__(
        self,
        address: str,
        replan: int | None = None,
        timeout: float = 60.0,
        wait: float = 0.0,
        prompt: str | None = None,
        names: Mapping[str, str] | None = None,
        clip: bool = False,
        seed: int = 0,
    ) -> None:
        """Check the settings; the server is not asked yet.

        Args:
            address: `ws://HOST:PORT`, `wss://...`, or `HOST:PORT`. A key is given by SANAWM_POLICY_API_KEY.
            replan: Actions of a chunk that are done before the server is asked again; None is the whole chunk.
            timeout: Seconds for each answer.
            wait: Seconds that an episode waits for a server that does not listen yet.
            prompt: The instruction; None is the task in words.
            names: Entry of the observation to its name in the request, where the server wants another one.
            clip: Take actions that are out of range to the nearest end, instead of failing.
            seed: Of a policy that `sanawm serve-policy` serves; others are not told.

        Raises:
            ValueError: One that cannot be, or a library is missing.
        """
        need_libraries()
        self._address = read_address(address)
        if replan is not None and (not isinstance(replan, int) or replan < 1):
            raise ValueError(f"replan must be at least 1, or None for the whole chunk; got {replan!r}.")
        if not 0 < timeout < float("inf") or not 0 <= wait < float("inf"):
            raise ValueError(f"timeout must be positive and wait not negative; got {timeout} and {wait} s.")
        if names is not None and not isinstance(names, Mapping):
            raise ValueError(f"names must be a dictionary such as {{'image': 'observation/exterior'}}; got {names!r}.")
        self._replan, self._timeout, self._wait, self._clip = replan, float(timeout), float(wait), bool(clip)
        self._prompt, self._names, self._seed = prompt, dict(names or {}), int(seed)
        self._link: Link | None = None
        self._closing: Callable[[], Any] | None = None
        self._first: dict[str, Any] = {}
        self._space: Any = None
        self._instruction = ""
        self._ahead: deque[Any] = deque()

    def check(self) -> str:
        """Ask the server who it is.

        Returns:
            A hash of what it says of itself.

        Raises:
            RemotePolicyError: There is none.
        """
        link = Link(self._address, self._timeout, self._wait)
        link.close()
        return hashlib.sha256(pack(link.metadata)).hexdigest()

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        if self._closing is not None:
            self._closing()
        self._ahead.clear()
        self._link = link = Link(self._address, self._timeout, self._wait)
        self._closing = weakref.finalize(self, link.close)
        named(observation, self._names)
        self._space = env.action_space
        self._instruction = instruction(env) if self._prompt is None else self._prompt
        self._first = {}
        if (version := link.metadata.get(OURS)) == VERSION:
            self._first = {"episode": {"seed": self._seed, "environment": describe(env)}}
        elif version is not None:
            raise self._error(f"it speaks version {version} and this is {VERSION}; install the same sanawm_env there")

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`.

        Raises:
            RemotePolicyError: The server is gone, is too slow, or gives what is no action here.
        """
        if not self._ahead:
            assert self._link is not None, "call begin first"
            request = {**named(observation, self._names), PROMPT: self._instruction, **self._first}
            answer = self._link.ask(request)
            self._first = {}
            try:
                self._ahead.extend(read_actions(answer, self._space, self._replan, self._clip))
            except ValueError as error:
                raise self._error(str(error)) from None
        return self._ahead.popleft()

    def _error(self, said: str) -> RemotePolicyError:
        return RemotePolicyError(f"policy server {self._address}: {said}.")
