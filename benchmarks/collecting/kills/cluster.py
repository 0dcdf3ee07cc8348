"""A Ray cluster of several machines on this one, in a process of its own: whoever holds it must not be forked.

    python -m benchmarks.collecting.kills.cluster

takes lines (`add`; `remove PID`) and answers each with one, `@` and the process id of the raylet. It ends with its
standard input.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

__all__ = ["Machines", "cluster"]

_STORE = 80 * 2**20
"""Bytes of a machine's object store."""


@dataclass
class Machines:
    """The cluster from outside."""

    process: subprocess.Popen[str]
    address: str
    """`HOST:PORT`."""
    raylets: list[int] = field(default_factory=list)
    """Process ids, one a machine that can work."""

    def add(self) -> None:
        """Another machine of one core."""
        self.raylets.append(int(self._ask("add")))

    def replace(self, raylet: int) -> None:
        """Clear away what is left of a machine whose raylet is dead, and add another one."""
        self.raylets.remove(raylet)
        self._ask(f"remove {raylet}")
        self.add()

    def workers(self) -> list[int]:
        """Process ids of the workers, also of those that are not ready yet."""
        found = []
        for raylet in self.raylets:
            try:
                children = psutil.Process(raylet).children(recursive=True)
                found += [each.pid for each in children if "".join(each.cmdline()[:1]).startswith("ray::Host")]
            except psutil.NoSuchProcess:
                continue
        return sorted(found)

    def _ask(self, line: str) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return _answer(self.process)


@contextmanager
def cluster(machines: int) -> Iterator[Machines]:
    """Begin one, and end it.

    Raises:
        RuntimeError: Ray is not installed, or does not begin.
    """
    os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    process = subprocess.Popen(
        [sys.executable, "-m", __spec__.name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        cwd=Path(__file__).resolve().parents[3],
    )
    try:
        found = Machines(process, _answer(process))
        for _ in range(machines):
            found.add()
        yield found
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            process.kill()


def _answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("@"):
            return line[1:].strip()
    raise RuntimeError("no Ray cluster could be begun here: pip install 'sanawm_env[ray]'.")


def _serve() -> None:
    from ray.cluster_utils import Cluster

    held = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": _STORE})
    nodes = {}
    try:
        print(f"@{held.address}", flush=True)
        for line in sys.stdin:
            order, _, pid = line.strip().partition(" ")
            if order == "add":
                node = held.add_node(num_cpus=1, object_store_memory=_STORE)
                pid = str(node.all_processes["raylet"][0].process.pid)
                nodes[pid] = node
            else:
                held.remove_node(nodes.pop(pid), allow_graceful=False)
            print(f"@{pid}", flush=True)
    finally:
        held.shutdown()


if __name__ == "__main__":
    _serve()
