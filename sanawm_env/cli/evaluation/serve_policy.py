"""`sanawm serve-policy`: a policy for environments in other processes and machines."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass

import tyro

from sanawm_env.cli.common.console import note, report
from sanawm_env.cli.common.specs import parse_spec, policy_maker

__all__ = ["ServePolicy"]


@dataclass
class ServePolicy:
    """Serve a policy by openpi's WebSocket protocol; `evaluate-policy --policy remote:ws://HOST:PORT` plays it.

    With SANAWM_POLICY_API_KEY set, clients have to send that key.
    """

    policy: tyro.conf.Positional[str]
    """Who decides: scripted:follow, random:smooth, sb3:FILE.zip, bc:FILE.safetensors or package.module:function, with
    settings as in `random:smooth,memory=2`. Planners fork the world and cannot be away from it."""
    host: str = "127.0.0.1"
    """Address to listen at; 0.0.0.0 lets other machines in, and needs a key."""
    port: int = 8000
    """0 takes a free port."""

    def run(self) -> None:
        """Serve until interrupted.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used, or a port that cannot be had.
        """
        policy_maker()  # finds policies of the user's own in the working folder
        from sanawm_env.policies.maker import PolicyMaker
        from sanawm_env.policies.remote.link import KEY
        from sanawm_env.policies.remote.server import PolicyServer
        from sanawm_env.policies.remote.wire import need_libraries
        from sanawm_env.server.web.auth import is_loopback
        from sanawm_env.server.web.listening import listen

        need_libraries()
        key = os.environ.get(KEY) or None
        if not 0 <= self.port <= 65535:
            raise ValueError(f"--port must lie in 0..65535; got {self.port}.")
        if key is not None and not (len(key) >= 8 and key.isascii() and key.isprintable()):
            raise ValueError(f"{KEY} has at least 8 letters of ASCII.")
        if not is_loopback(self.host):
            if key is None:
                raise ValueError(f"whoever reaches {self.host} could use this policy; set {KEY}, or --host 127.0.0.1.")
            note("the key goes over the network as it is: put a proxy that speaks TLS in front, or use an ssh tunnel.")
        name, settings = parse_spec(self.policy)
        if name.startswith("planner:"):
            raise ValueError(f"{name} forks the world, which stays with the environment; run it there.")
        server = PolicyServer(PolicyMaker(name, settings), self.policy, key)
        with listen(self.host, self.port) as listening:
            host, port = listening.getsockname()[:2]
            report(f"ws://{f'[{host}]' if ':' in host else host}:{port}")
            asyncio.run(server.run(listening))
