"""`Store`: a collection's folder. An episode is done when its JSON is there, which is written last."""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sanawm_env.data.collection.plan import Plan
from sanawm_env.data.recipe import EpisodeRecipe
from sanawm_env.data.storage.depth import depth_file
from sanawm_env.data.storage.native import CAMERA, FOLDER, item_file, item_files, poses_file, video_file, video_number
from sanawm_env.files import FULL, replacing, write_json

__all__ = ["Store"]

_ORPHANS_SECONDS = 60.0
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}(\.\w+)?")
"""Names that `files.replacing` gives until a file is whole."""


class Store:
    """The native layout of a dataset: see `docs/how-to/collecting.md`."""

    def __init__(self, root: str | Path) -> None:
        """Remember the folder; nothing is touched."""
        self.root = Path(root)

    # -- where things are -------------------------------------------------------------------------------

    @property
    def ours(self) -> Path:
        """The folder of ours within the dataset."""
        return self.root / FOLDER

    def episode(self, number: int) -> Path:
        """The JSON of an item; it is there exactly if the item is done."""
        return item_file(self.root, number)

    def arrays(self, number: int) -> Path:
        """Poses, intrinsics, actions and rewards of an item."""
        return poses_file(self.episode(number))

    def video(self, number: int) -> Path:
        """The video of an item that is kept."""
        return video_file(self.root, number)

    def depth(self, number: int) -> Path:
        """The depth of an item that is kept, if the environment has that sensor."""
        return depth_file(self.root, number)

    # -- one process at a time --------------------------------------------------------------------------

    @contextmanager
    def opened(self) -> Iterator[Store]:
        """Make the folder if it is new, hold it for this process, and clear away what killed ones left.

        A new folder in which neither a plan nor an episode has been written down in the end is gone again, and so is
        one in which something went wrong before the first episode was there, such as a cluster that could not be
        reached.

        Raises:
            ValueError: Something else lies there, another process collects into it, it cannot be written to, or the
                disk runs full while it is open.
        """
        if self.root.exists() and not self.root.is_dir():
            raise ValueError(f"{self.root} is a file; name a folder for the dataset.")
        if self.root.is_dir() and any(self.root.iterdir()) and not self.ours.is_dir():
            raise ValueError(f"{self.root} holds something else than a collection; choose another --out.")
        new, held, ended = not self.root.exists(), False, False
        try:
            self.ours.mkdir(parents=True, exist_ok=True)
            handle = os.open(self.ours / "lock", os.O_CREAT | os.O_RDWR, 0o666)
        except OSError as error:
            raise ValueError(f"{self.root} cannot be written to ({error.strerror}); choose another --out.") from None
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # falls with the process, however that ends
            except OSError:
                raise ValueError(
                    f"another process collects into {self.root} already; wait for it, or choose another --out."
                ) from None
            held = True
            if not self.sweep(_ORPHANS_SECONDS):
                raise ValueError(
                    f"workers of an earlier run still write into {self.root}; wait until they have ended, or end them."
                )
            yield self
            ended = True
        except OSError as error:
            if error.errno not in FULL:
                raise
            raise ValueError(
                f"the disk of {self.root} is full after {len(item_files(self.root))} episodes ({error}). Nothing is "
                "broken: make room, and give the same line again."
            ) from error
        finally:
            empty = held and new and not ended and not item_files(self.root) and self.sweep(0)
            begun = (self.ours / "collection.json").exists() or bool(item_files(self.root))
            if empty or (held and not begun):
                shutil.rmtree(self.root if new else self.ours, ignore_errors=True)
            os.close(handle)

    def announce(self) -> int:
        """Tell that this process, a worker of whoever opened the store, writes into it: until it ends.

        Returns:
            The handle that holds the announcement; closing it takes that back.
        """
        handle = os.open(self.ours / "writers", os.O_CREAT | os.O_RDWR, 0o666)
        fcntl.flock(handle, fcntl.LOCK_SH)
        return handle

    def sweep(self, patience: float) -> bool:
        """Clear away what killed writers left, once there is none that lives; for whoever opened the store.

        Workers in other processes outlive a killed driver, or one that lets go of them, by seconds.

        Args:
            patience: Seconds to wait for them.

        Returns:
            Whether it was done.
        """
        handle = os.open(self.ours / "writers", os.O_CREAT | os.O_RDWR, 0o666)
        until = time.monotonic() + patience
        try:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError:
                    if time.monotonic() > until:
                        return False
                    time.sleep(0.1)
            self._tidy()
            return True
        finally:
            os.close(handle)

    def _tidy(self) -> None:
        """Remove temporaries, and files of episodes whose JSON never came: with the lock held they have no writer."""
        for left in self.root.glob(".index-*"):
            shutil.rmtree(left, ignore_errors=True)
        for folder, _, names in os.walk(self.root):
            for name in names:
                if _TEMPORARY.fullmatch(name):
                    (Path(folder) / name).unlink(missing_ok=True)
        for path in self.ours.glob("episodes/*.npz"):
            if not path.with_suffix(".json").exists():
                path.unlink()
        for path in self.ours.glob("depth/*.npz"):
            if not item_file(self.root, path.stem).exists():
                path.unlink()
        for path in self.root.glob(f"videos/{CAMERA}/chunk-*/file-*.mp4"):
            if not self.episode(video_number(path)).exists():
                path.unlink()
        for path in self.ours.glob("refined/*.mp4"):
            if not path.with_suffix(".json").exists():
                path.unlink()

    # -- the plan ---------------------------------------------------------------------------------------

    @property
    def plan(self) -> Plan | None:
        """What was asked for; None in a new folder.

        Raises:
            ValueError: The file is of another version, or is no plan.
        """
        path = self.ours / "collection.json"
        if not path.exists():
            return None
        try:
            return Plan.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is no plan of a collection ({error}); collect into another folder.") from None
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from None

    def check(self, plan: Plan) -> None:
        """Refuse to go on with another plan than the one that the collection began with.

        Raises:
            ValueError: Says what differs.
        """
        before = self.plan
        if before is not None and (differ := before.differences(plan)):
            raise ValueError(
                f"{self.root} was begun with another plan: {'; '.join(differ)}. Give the same options to go on, or "
                "choose another --out."
            )

    def begin(self, plan: Plan) -> None:
        """Write the plan down, or go on with it.

        Raises:
            ValueError: See `check`.
        """
        self.check(plan)
        if self.plan != plan:
            write_json(self.ours / "collection.json", plan.to_dict(), durable=True)

    def add_image(self, pixels: NDArray[np.uint8]) -> str:
        """Copy a picture `(H, W, 3)` in, named by its hash, so that recipes need no path outside.

        Returns:
            The file, relative to the dataset's folder.
        """
        from PIL import Image

        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "png")
        name = f"sanawm/images/{hashlib.sha256(buffer.getvalue()).hexdigest()}.png"
        if not (self.root / name).exists():
            with replacing(self.root / name, durable=True) as temporary:
                temporary.write_bytes(buffer.getvalue())
        return name

    # -- episodes ---------------------------------------------------------------------------------------

    def done(self) -> dict[int, dict[str, Any]]:
        """What is there, by item, in order.

        Raises:
            ValueError: A file that no killed run leaves behind, or of another version: names it.
        """
        found = {}
        for path in item_files(self.root):
            try:
                values = json.loads(path.read_text(encoding="utf-8"))
                recipe = values["recipe"]
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(f"{path} is broken ({error}); delete it, and the episode is played again.") from None
            try:
                EpisodeRecipe.from_dict(recipe)  # of another version it could not be indexed in the end
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            found[int(path.stem)] = values
        return found

    def commit(self, number: int, values: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> int:
        """Write an episode whose video is whole and on the disk: the arrays, then the JSON.

        Returns:
            Bytes of the episode.

        Raises:
            OSError: The disk is full, say; the item is not done then.
        """
        with replacing(self.arrays(number), durable=True) as temporary, temporary.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        write_json(self.episode(number), values, durable=True)
        return self.size_of(number)

    def size_of(self, number: int) -> int:
        """Bytes of an episode."""
        files = (self.episode(number), self.arrays(number), self.video(number), self.depth(number))
        return sum(path.stat().st_size for path in files if path.exists())

    def size(self) -> int:
        """Bytes of all files."""
        return sum((Path(folder) / name).stat().st_size for folder, _, names in os.walk(self.root) for name in names)
