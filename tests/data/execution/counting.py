"""A worker that writes small files and counts how often, and a driver for it: `python counting.py FOLDER '{...}'`.

For each item it leaves `FOLDER/done/ITEM`, whole or not at all, and one file `FOLDER/ends/ITEM.*` for each time that it
came to the end. It prints one line of JSON.
"""

import json
import os
import secrets
import signal
import sys
import time
from functools import partial
from pathlib import Path

from sanawm_env.data.execution import Result, execute


class Counting:
    def __init__(self, folder, slots=1, seconds=0.0, kill_once=(), kill_always=(), fail=(), refuse=False, full=()):
        if refuse:
            raise ValueError("there is no such checkpoint.")
        self.slots, self.folder, self.seconds = slots, Path(folder), seconds
        self.kill_once, self.kill_always, self.fail, self.full = kill_once, kill_always, fail, full
        for name in ("starts", "ends", "done", "killed"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)

    def run(self, items):
        for item in items:
            (self.folder / "starts" / f"{item}.{secrets.token_hex(4)}").touch()
            time.sleep(self.seconds)
            if item in self.fail:
                yield Result(item, failure="ValueError: as told")
                continue
            if item in self.full:
                raise OSError(28, "No space left on device")
            killed = self.folder / "killed" / str(item)
            if item in self.kill_always or (item in self.kill_once and not killed.exists()):
                killed.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            temporary = self.folder / f"{item}.{secrets.token_hex(4)}.tmp"
            temporary.write_text(str(item) * 1000)
            (self.folder / "ends" / f"{item}.{secrets.token_hex(4)}").touch()
            os.replace(temporary, self.folder / "done" / str(item))
            yield Result(item, value={"square": item**2, "threads": os.environ.get("OMP_NUM_THREADS")})


def is_done(folder, item):
    return (Path(folder) / "done" / str(item)).exists()


def drive(folder, count, worker=None, shared=None, **options):
    """Do what is not done yet."""
    todo = [item for item in range(count) if not is_done(folder, item)]
    said, last = [], []
    results = execute(
        todo,
        partial(Counting, folder, **(worker or {})),
        is_done=partial(is_done, folder),
        shared=None if shared is None else Path(shared),
        log=Path(folder) / "progress.jsonl",
        tell=lambda progress, result: last.append(progress),
        say=said.append,
        **options,
    )
    ended = [
        {"item": r.item, "value": r.value, "failure": r.failure, "found": r.found, "worker": r.worker} for r in results
    ]
    end = last[-1] if last else None
    counts = {"done": end.done, "failed": end.failed, "queued": end.queued, "running": end.running} if end else {}
    more = {"retries": end.retries, "lost": end.lost, "workers": len(end.workers)} if end else {}
    return {"todo": todo, "results": ended, "said": said} | counts | more


if __name__ == "__main__":
    try:
        print(json.dumps(drive(sys.argv[1], **json.loads(sys.argv[2]))))
    except (ValueError, OSError, RuntimeError) as error:
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}))
