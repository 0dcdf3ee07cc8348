"""`Recordings`: the datasets of a server, to which recorded walks are added one by one."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sanawm_env.server.errors import ServerError
from sanawm_env.server.sessions.host import Host
from sanawm_env.server.sessions.pasts import LONGEST, past_of

if TYPE_CHECKING:
    from sanawm_env.server.recording.episode import Retelling

__all__ = ["Recordings"]

T = TypeVar("T")

FREE = "walks"
"""The dataset of walks without a task."""
_WAITING = 8
"""Episodes that may be asked for and not yet written."""


class Recordings:
    """Writes one episode at a time, in a thread of its own."""

    def __init__(self, host: Host, folder: Path, loading: Mapping[str, Any] | None = None) -> None:
        """Touch nothing yet.

        Args:
            host: Whose sessions are recorded.
            folder: Of the datasets, a folder each.
            loading: Arguments of `SanaWMEnv` that the world was loaded with, such as `precision`; replay needs them.
        """
        self._host, self._folder, self._loading = host, folder, dict(loading or {})
        self._writer = ThreadPoolExecutor(1, "sanawm-recorder")
        self._waiting = 0

    def add(self, session: str, snapshot: str | None = None) -> Future[dict[str, Any]]:
        """Write a walk, from its beginning to a snapshot or to the present, as an episode; takes as long as the walk.

        Steps are computed in the host's thread, one by one between those of sessions. What is walked meanwhile does
        not matter.

        Args:
            session: Its id.
            snapshot: Where the episode ends; None is the present.

        Returns:
            What the protocol has as `recorded`; or a `ServerError`: `invalid`, how the walk came about is not known or
            nobody has moved; `failed`, the disk.

        Raises:
            ServerError: `too-fast`.
        """
        if self._waiting >= _WAITING:
            raise ServerError("too-fast", f"{_WAITING} episodes are still to be written; await them.")
        self._waiting += 1
        found = self._host.call(lambda: self._find(session, snapshot))  # now, whoever has to wait for the writer
        written = self._writer.submit(self._told, session, found)
        written.add_done_callback(lambda _: self._done())
        return written

    def _done(self) -> None:
        self._waiting -= 1

    def _find(self, session: str, snapshot: str | None) -> Retelling:
        """What is to be written; in the host's thread."""
        from sanawm_env.server.recording.episode import Retelling

        walk = self._host.session(session)
        end = walk.require().only if snapshot is None else walk.tree.moment(snapshot)
        past = past_of(end)
        if past is None:
            raise ServerError(
                "invalid",
                "how this walk began is not known, so it makes no episode: it came from a world file, a reset without "
                f"a seed, other settings midway, or has more than {LONGEST} steps. Begin another.",
            )
        if not past.steps:
            raise ServerError("invalid", "nobody has moved yet; an episode has at least one step.")
        return Retelling(self._host, past, end)

    def _told(self, session: str, found: Future[Retelling]) -> dict[str, Any]:
        """Write it; whatever goes wrong is a `ServerError`."""
        try:
            return {"type": "recorded", "session": session, **self._written(found.result())}
        except ModuleNotFoundError as error:
            raise ServerError("failed", f"recording needs {error.name}: pip install 'sanawm_env[data]'.") from None
        except ServerError:
            raise
        except (OSError, ValueError) as error:
            reason = " ".join(str(error).replace(str(self._folder.parent), "").split())
            raise ServerError("failed", f"the episode could not be written: {reason[:400]}") from error

    def _written(self, walk: Retelling) -> dict[str, Any]:
        from sanawm_env.data.collection.plan import Item
        from sanawm_env.data.collection.recorder import EpisodeRecorder
        from sanawm_env.data.collection.run import write_index
        from sanawm_env.data.collection.store import Store
        from sanawm_env.data.storage.encode import DEFAULT_CODEC
        from sanawm_env.data.storage.native import item_files, item_number
        from sanawm_env.scenes.start_image import read_image
        from sanawm_env.server.recording.kinds import kind_of, kind_there

        kind, task = kind_of(walk.simulator, walk.entries), walk.simulator.task
        name = FREE if task is None else re.sub(r"\W+", "-", task.name.lower())
        folder = _fitting(self._folder / name, lambda root: kind_there(root) in (None, kind))
        with Store(folder).opened() as store:
            number = 1 + max(map(item_number, item_files(store.root)), default=-1)
            image = None if walk.image is None else store.add_image(read_image(self._host.find_image(walk.image)))
            item = Item(number, walk.seed, image, prompt=None, fov=None, speed=1.0, policy_seed=0)
            recorder = EpisodeRecorder(store, item, walk.simulator.model.config.fps, DEFAULT_CODEC, (), False)
            with _discarding(recorder):
                recorder.add(*self._in_turn(lambda: walk.begin(item, recorder)))
                for action in walk.actions:
                    recorder.add(*self._in_turn(lambda action=action: walk.step(action)))  # type: ignore[misc]
                    if walk.ended:
                        break
                played = walk.played(image, self._loading)
                recorder.finish(played)
            write_index(store.root)
        return {
            "dataset": folder.relative_to(self._folder.parent).as_posix(),
            "episode": number,
            "frames": len(played.c2w),
            "seconds": played.outcome["seconds_of_world"],
            "reward": played.outcome["reward"],
            "success": played.outcome["success"],
            "exact": walk.exact,
        }

    def _in_turn(self, function: Callable[[], T]) -> T:
        """Do something in the host's thread."""
        return self._host.call(function).result()


def _fitting(first: Path, fits: Callable[[Path], bool]) -> Path:
    """The folder itself, or the first of `-2`, `-3`, ... that fits."""
    folder, number = first, 1
    while not fits(folder):
        number += 1
        folder = first.with_name(f"{first.name}-{number}")
    return folder


@contextmanager
def _discarding(recorder: Any) -> Any:
    """Leave nothing of an episode that could not be finished."""
    try:
        yield
    finally:
        if not recorder.closed:
            recorder.discard()
