"""Reaching a Ray cluster, or beginning one: authentication by token, no usage statistics, one clear error."""

from __future__ import annotations

import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["check_address", "import_ray", "session"]

_OBJECT_STORE = 200 * 2**20
"""Bytes: results are small, and files go to the file system."""
_ADDRESS = re.compile(r"[^\s:/]+:\d+")
_TOKEN_HELP = (
    "every process of a cluster needs the same token: copy ~/.ray/auth_token of the machine where `ray start --head` "
    "ran to this one, or name it by RAY_AUTH_TOKEN_PATH; for a cluster that was begun with RAY_AUTH_MODE=disabled set "
    "that here, too."
)
_BEGIN_HELP = "Begin one by `RAY_AUTH_MODE=token ray start --head`, or use --ray local."


def import_ray() -> Any:
    """The module, with token authentication on and usage statistics off unless the user has decided otherwise.

    Raises:
        ValueError: It is not installed.
    """
    # Ray 2.60 protects clusters by a token and yet lets clients come without one, which are then refused. A Ray that
    # was imported before has read the variable already; it begins clusters of its own with a token anyway.
    if "ray" not in sys.modules:
        os.environ.setdefault("RAY_AUTH_MODE", "token")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        if error.name != "ray":
            raise
        raise ValueError(
            "Ray is not installed: pip install 'sanawm_env[ray]', or leave --ray out to work in this process."
        ) from None
    return ray


def check_address(address: str) -> Any:
    """Refuse what cannot be reached by no means.

    Returns:
        The module `ray`.

    Raises:
        ValueError: Not installed, or no address.
    """
    if address not in ("auto", "local") and not _ADDRESS.fullmatch(address):
        hint = ""
        if address.startswith("ray://"):
            hint = " Programs cannot come in through ray://: start this one on a machine of the cluster, or send it "
            hint += "there by `ray job submit`."
        raise ValueError(f"--ray {address}: give auto, local or HOST:PORT.{hint}")
    return import_ray()


@contextmanager
def session(address: str, say: Callable[[str], None]) -> Iterator[Any]:
    """Be connected to Ray; a connection that exists already is used and kept.

    Args:
        address: `auto`, `local` or `HOST:PORT`, as `execute` has it.
        say: Takes the address of the dashboard, if there is one.

    Yields:
        The module `ray`.

    Raises:
        ValueError: Not installed, not an address, nobody there, or another token.
    """
    ray = check_address(address)
    ours = not ray.is_initialized()
    if ours:
        context = _connect(ray, address)
    else:
        context = ray.init(ignore_reinit_error=True, logging_level="ERROR")
    try:
        if ours and context.dashboard_url:
            say(f"Ray's dashboard: http://{context.dashboard_url}")
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _connect(ray: Any, address: str) -> Any:
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": "WARNING"}
    if address == "local":
        # Another cluster that RAY_ADDRESS names is not what was asked for.
        return ray.init(address="local", object_store_memory=_OBJECT_STORE, **common)
    if address != "auto" and (reason := _silence(address)) is not None:
        raise ValueError(f"--ray {address}: no Ray cluster there ({reason}). {_BEGIN_HELP}")
    try:
        return ray.init(address=address, **common)
    except ray.exceptions.AuthenticationError as error:
        raise ValueError(f"--ray {address}: the cluster refuses this process; {_TOKEN_HELP}") from error
    except (ConnectionError, ray.exceptions.RaySystemError, RuntimeError, ValueError) as error:
        said = " ".join(str(error).split())
        tried = _ADDRESS.search(said)
        # Ray says no more than "failed to connect" to who brings another token.
        if tried is not None and _silence(tried[0]) is None:
            raise ValueError(
                f"--ray {address}: the Ray cluster at {tried[0]} does not let this process in; {_TOKEN_HELP}"
            ) from error
        raise ValueError(f"--ray {address}: no Ray cluster there ({said[:200]}). {_BEGIN_HELP}") from error


def _silence(address: str) -> str | None:
    """Why nobody answers there, told at once (Ray itself tries for a minute); None if somebody does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        return str(error)
    return None
