"""What a server takes before it serves: a socket, and a data folder for itself."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["listen", "locked"]


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: Address of this machine.
        port: 0 takes a free one.

    Raises:
        ValueError: The address cannot be had.
    """
    found = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        found.bind((host, port))
        found.listen()
    except OSError as error:
        found.close()
        raise ValueError(
            f"{host}:{port} cannot be had ({error.strerror or error}); give another --port, or --port 0 for a free one."
        ) from None
    return found


@contextmanager
def locked(folder: Path | None) -> Iterator[Path]:
    """A data folder that no other server uses; None is a temporary one.

    Raises:
        ValueError: Another server has it.
    """
    if folder is None:
        with tempfile.TemporaryDirectory(prefix="sanawm-serve-") as temporary:
            yield Path(temporary)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.lock").open("wb") as handle:
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # falls with the process, however that ends
        except ImportError:
            pass
        except OSError:
            raise ValueError(f"another server uses {folder}; end that one, or give another --data.") from None
        yield folder
