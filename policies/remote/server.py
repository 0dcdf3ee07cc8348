"""A policy of this package behind openpi's WebSocket protocol."""

from __future__ import annotations

import asyncio
import hmac
import http
import logging
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import numpy as np
from sanawm_env.policies.maker import PolicyMaker
from sanawm_env.policies.remote.described import described
from sanawm_env.policies.remote.policy import OURS, VERSION
from sanawm_env.policies.remote.requests import unnamed
from sanawm_env.policies.remote.wire import WireError, pack, unpack

__all__ = ["Player", "PolicyServer"]

_LARGEST_REQUEST = 128 * 2**20
_MOST_CONNECTIONS = 64
_LONGEST_WORDS = 500


class Player:
    """What one connection plays: an episode, then perhaps another."""

    def __init__(self, maker: PolicyMaker) -> None:
        """Wait for the first request."""
        self._maker = maker
        self._policy: Any = None
        self._space: Any = None

    def answer(self, request: Any) -> dict[str, Any]:
        """An action for an observation.

        Args:
            request: Of `requests.named`. The first of an episode has `episode` with the policy's `seed` and the
                `environment` of `described.describe`.

        Returns:
            `actions`, a chunk of one, and how long it took in `server_timing`, as openpi's servers do.

        Raises:
            ValueError: A request that cannot be answered; says why.
            Exception: Of the policy.
        """
        began = time.monotonic()
        if not isinstance(request, dict):
            raise ValueError("a request is a dictionary.")
        episode = request.get("episode")
        if episode is None and self._policy is None:
            raise ValueError("the first request of an episode must have 'episode', with 'seed' and 'environment'.")
        if episode is not None:
            self._policy = None  # whatever happens, nobody goes on with the episode before
            seed = episode.get("seed") if isinstance(episode, dict) else None
            if type(seed) is not int or not 0 <= seed < 2**63:
                raise ValueError("'episode' must be a dictionary with a whole number 'seed'.")
            env = described(episode.get("environment"))
            self._space = env.observation_space
            observation = unnamed(request, self._space)
            policy = self._maker.make(seed)
            policy.begin(env, observation, {})
            self._policy = policy
        else:
            observation = unnamed(request, self._space)
        action = np.asarray(self._policy.act(observation, {}))
        return {"actions": action[None], "server_timing": {"infer_ms": 1000 * (time.monotonic() - began)}}


class PolicyServer:
    """Serves a policy to any number of clients, each with a policy made for its own episodes.

    Decisions are made one at a time, in a thread of their own, so that `/healthz` answers meanwhile. Pages of other
    sites are turned away, since browsers send an origin and programs do not.
    """

    def __init__(self, maker: PolicyMaker, name: str, key: str | None = None) -> None:
        """Nothing listens yet.

        Args:
            maker: Of the policy.
            name: The policy's, in the metadata.
            key: What clients have to send as `Authorization: Api-Key <key>`; None lets everybody in.
        """
        self._maker, self._key = maker, key
        self.metadata = {OURS: VERSION, "policy": name, "digest": maker.digest()}
        """What clients are sent first."""
        self._connections = 0
        self._worker = ThreadPoolExecutor(1, "policy")

    async def run(self, listening: socket.socket) -> None:
        """Serve on a socket until cancelled."""
        from websockets.asyncio.server import serve

        quiet = logging.getLogger("sanawm_env.policies.remote")
        quiet.setLevel(logging.CRITICAL)  # a port scan is no reason for a traceback
        try:
            async with serve(
                self._connection,
                sock=listening,
                process_request=self._admit,
                origins=[None],
                compression=None,
                max_size=_LARGEST_REQUEST,
                close_timeout=1,
                logger=quiet,
                server_header=None,
            ):
                await asyncio.get_running_loop().create_future()
        finally:
            self._worker.shutdown(wait=False, cancel_futures=True)

    def _admit(self, connection: Any, request: Any) -> Any:
        """Refuse a handshake, or answer what is none."""
        if request.path == "/healthz":
            return connection.respond(http.HTTPStatus.OK, "OK\n")
        given = request.headers.get("Authorization", "")
        if self._key is not None and not hmac.compare_digest(given.encode(), f"Api-Key {self._key}".encode()):
            return connection.respond(http.HTTPStatus.UNAUTHORIZED, "The key is missing or wrong.\n")
        if self._connections >= _MOST_CONNECTIONS:
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections.\n")
        return None

    async def _connection(self, websocket: Any) -> None:
        from websockets.exceptions import ConnectionClosed

        self._connections += 1
        try:
            with suppress(ConnectionClosed):
                await websocket.send(pack(self.metadata))
                await self._play(websocket)
        finally:
            self._connections -= 1

    async def _play(self, websocket: Any) -> None:
        """Answer requests; one that cannot be answered is told why, and ends the connection, as in openpi."""
        player, loop = Player(self._maker), asyncio.get_running_loop()

        def answered(message: bytes) -> bytes:
            return pack(player.answer(unpack(message)))

        async for message in websocket:
            try:
                if isinstance(message, str):
                    raise WireError("a request is a binary message; this is text.")
                answer = await loop.run_in_executor(self._worker, answered, message)
            except Exception as error:
                said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
                await websocket.send(" ".join(said.split())[:_LONGEST_WORDS])
                await websocket.close(1011, "the message before says why")
                return
            await websocket.send(answer)
