"""`collect`: play a plan's items into a store until it is enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

from sanawm_env.data.collection.plan import Item, Plan
from sanawm_env.data.collection.progress import Progress, closing_lines
from sanawm_env.data.collection.recorder import Done
from sanawm_env.data.collection.store import Store
from sanawm_env.data.collection.work import WorkList

__all__ = ["Play", "collect", "write_index"]

Play: TypeAlias = "Callable[[Iterator[Item]], Iterator[Done | None]]"
"""Who plays: `Worker.play`, or something that shares the items out among many workers."""

_INDEX_SECONDS = 120.0
"""How often the dataset's index is written anew while a collection grows, so that readers may begin."""


def collect(
    plan: Plan, store: Store, play: Play, *, quota: int | None = None, say: Callable[[str], None] = print
) -> bool:
    """Play what is still to be played.

    However this ends, what is done stays done, and another call goes on with the rest.

    Args:
        plan: What was asked for; `Store.begin` has accepted it.
        store: An opened one.
        play: Who plays.
        quota: Bytes of the folder at which to stop; None is no limit.
        say: Takes lines for the user.

    Returns:
        Whether all of it is there.

    Raises:
        OSError: The disk is full, say; `Store.opened` tells how to go on.
        Exception: Whatever ended the playing.
    """
    done = store.done()
    work = WorkList(plan, done, size=store.size(), quota=quota)
    if work.complete:
        write_index(store.root)  # the run before may have been killed within it
        say(f"{store.root} is complete: {len(done)} episodes. Ask for more --episodes or --hours to go on.")
        return True
    if done:
        say(f"{store.root}: going on after {len(done)} episodes")
    progress = Progress(store.ours / "progress.jsonl", work)
    written = time.monotonic()
    try:
        with closing(play(work)) as results:  # type: ignore[type-var]
            for result in results:
                if result is not None:
                    work.add(result)
                    progress.add(result)
                elif time.monotonic() - written > _INDEX_SECONDS:
                    write_index(store.root)
                    written = time.monotonic()
        write_index(store.root)
    except KeyboardInterrupt:
        progress.close()
        write_index(store.root)
        _say_all(store, progress, say)
        say("interrupted; the same line goes on")
        raise
    finally:
        progress.close()
    _say_all(store, progress, say)
    if work.complete:
        return True
    if work.full:
        say(f"stopped at the quota of {(quota or 0) / 1e9:g} GB; give the same line with a higher --quota to go on")
    elif work.hopeless:
        say("stopped: the last 100 episodes were all dropped or failed; look at the reasons above, and at --keep")
    return False


def _say_all(store: Store, progress: Progress, say: Callable[[str], None]) -> None:
    for line in closing_lines(store.root, store.done(), progress, store.size()):
        say(line)


def write_index(root: Path) -> None:
    """Bring the dataset's own files (`data/`, `meta/`, the card) up to what `sanawm/episodes` holds.

    Without an episode that is kept there is no dataset yet.
    """
    if not any(values["outcome"]["kept"] for values in Store(root).done().values()):
        return
    from sanawm_env.data.card import write_card
    from sanawm_env.data.formats.lerobot.native import index

    index(root)
    write_card(root)
