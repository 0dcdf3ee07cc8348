"""`EpisodeRefiner`: a loaded refiner as executors want it; it reads kept videos and writes refined ones beside them."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from sanawm_env.data.collection.store import Store
from sanawm_env.data.execution import Result, enter_folder
from sanawm_env.data.refinement.wanted import FORMAT, Refinement, record_file
from sanawm_env.data.storage.encode import ClipWriter
from sanawm_env.data.storage.native import refined_file
from sanawm_env.files import write_json
from sanawm_env.world.offline.recipe import versions
from sanawm_env.world.offline.refiner import Offload, Refiner
from sanawm_env.world.offline.refiner_files import RefinerFiles, Rollout, weights_hash

__all__ = ["EpisodeRefiner", "MakeRefiner"]


@dataclass(frozen=True)
class MakeRefiner:
    """Makes an `EpisodeRefiner`, here or in another process, perhaps on another machine."""

    files: RefinerFiles
    """Of `find_refiner`."""
    refinement: Refinement
    root: Path
    """Of the store, absolute."""
    codec: str
    """Of the refined videos, see `encode.CODECS`."""
    device: str
    """cpu, cuda, or auto."""
    offload: Offload
    folder: str
    """Working folder, to which the paths of `files` belong."""

    def __call__(self) -> EpisodeRefiner:
        """Load the refiner.

        Raises:
            ValueError: It is another one than the driver's.
            ImportError, MemoryError: See `Refiner`.
        """
        from sanawm_env.envs.options import as_device

        enter_folder(self.folder)
        if (found := weights_hash(self.files)) != self.refinement.refiner_hash:
            raise ValueError(
                f"the machine {socket.gethostname()} has another refiner in {self.files.transformer.parent} ({found}, "
                f"not {self.refinement.refiner_hash}); install the same one everywhere."
            )
        refiner = Refiner(self.files, as_device(self.device), torch.bfloat16, self.offload)
        return EpisodeRefiner(refiner, self.refinement, Store(self.root), self.codec)


class EpisodeRefiner:
    """Refines episodes one after another."""

    slots = 1

    def __init__(self, refiner: Refiner, refinement: Refinement, store: Store, codec: str) -> None:
        """Announce to the store that somebody writes into it."""
        self.device = refiner.device
        self._refiner, self._refinement, self._store, self._codec = refiner, refinement, store, codec
        self._in_use = store.announce()  # until this process ends, or `close`

    def close(self) -> None:
        """Take the announcement back."""
        os.close(self._in_use)

    def run(self, items: Iterable[int]) -> Iterator[Result]:
        """Refine items; the value of a result is its wall clock in seconds."""
        for number in items:
            began = time.perf_counter()
            self._refine(number)
            yield Result(number, value=time.perf_counter() - began)

    def _refine(self, number: int) -> None:
        store, root = self._store, self._store.root
        values = json.loads(store.episode(number).read_text(encoding="utf-8"))
        recipe, key = values["recipe"], self._refinement.key(values)
        rollout = Rollout(store.video(number), recipe, None)
        frames = self._refiner.refine(rollout, key["prompt"], key["seed"])
        record_file(root, number).unlink(missing_ok=True)  # of another refiner; the video is not its any more
        with ClipWriter(refined_file(root, number), recipe["fps"], self._codec) as clip:
            clip.write(frames)
        about = {"format": FORMAT, "version": 1, "item": number, **key}
        about |= {
            "first_frame": 1,
            "refiner": str(self._refiner.files.transformer.parent),
            "codec": self._codec,
            "device": str(self._refiner.device),
            "threads": torch.get_num_threads(),
            "versions": versions(),
        }
        write_json(record_file(root, number), about, durable=True)
