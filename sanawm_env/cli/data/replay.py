"""`sanawm replay`: are the frames of a recipe the same to the last bit when they are made again?"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from sanawm_env.cli.common.console import note, report
from sanawm_env.cli.common.outputs import check_outputs

if TYPE_CHECKING:
    from sanawm_env.data.replay import Source, Worlds

__all__ = ["Replay"]


@dataclass
class Replay:
    """Render recipes again and say of each: bit-identical, or where the first difference is and why it may be.

    A recipe is the JSON of an episode of `sanawm collect`, or the one beside the video of `sanawm rollout`. The exit
    code is 0 if all are identical, 1 if one is not or cannot be rendered.
    """

    paths: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Recipes, or folders of datasets, which stand for all of their episodes."""
    episodes: int | None = None
    """Of each dataset the first so many only."""
    episode: tuple[str, ...] = ()
    """Of each dataset these only, by name: 000012, or 12."""
    checkpoint: Annotated[str | None, tyro.conf.arg(aliases=["-c"])] = None
    """Where the world is, if not where the recipe says; its hash must be the recipe's."""
    device: str | None = None
    """cpu, cuda, or auto; otherwise the one that the recipe was made on, if there is such a one here."""
    text_encoder: Path | None = None
    """Folder of gemma-2-2b-it, for a world with text; otherwise the recipe's, or beside the checkpoint."""
    threads: str = "as-recorded"
    """Threads of the CPU, which decide how sums round: as-recorded, here (as they are), or a number."""
    video: Path | None = None
    """Write what was rendered here, *.mp4, also beyond a difference; of several recipes each gets a file."""

    def run(self) -> None:
        """Do it.

        Raises:
            ValueError, FileNotFoundError: An option that cannot be used, before anything is rendered.
        """
        self._check_options()
        import torch

        from sanawm_env.data.replay import NothingToReplay, Worlds, find_sources, read_source
        from sanawm_env.data.storage.native import image_root, is_native
        from sanawm_env.envs.options import as_device

        files = find_sources(self.paths, self.episodes, self.episode)
        videos = self._videos(files)
        datasets = {root for file in files if is_native(root := image_root(file))}
        inputs = [*datasets, *(each for file in files for each in (file, file.with_suffix(".mp4")))]
        check_outputs(videos.values(), [("PATH", path) for path in inputs])
        worlds = Worlds(self.checkpoint, None if self.device is None else str(as_device(self.device)))
        before, same, empty = torch.get_num_threads(), 0, 0
        for file in files:
            try:
                same += self._replay(read_source(file), worlds, videos.get(file))
            except NothingToReplay as nothing:
                empty += 1
                note(f"{file.stem} has no frames to make again: {nothing}")
            except (ValueError, OSError, ImportError) as error:
                report(f"{file.stem}: cannot be rendered: {' '.join(str(error).split())}")
            finally:
                torch.set_num_threads(before)
        if len(files) > 1:
            report(f"{same} of {len(files) - empty} are bit-identical")
        if same < len(files) - empty:
            sys.stdout.flush()
            sys.exit(1)

    def _replay(self, source: Source, worlds: Worlds, out: Path | None) -> bool:
        """Render one recipe, say what came of it, and return whether all bits are the same."""
        from sanawm_env.data.recipe import EpisodeRecipe
        from sanawm_env.data.replay import compare, reasons, rerender, rerender_rollout
        from sanawm_env.video import VideoWriter
        from sanawm_env.world.offline.provenance import frames_depend_on
        from sanawm_env.world.offline.recipe import sidecars, versions

        recipe, world = source.recipe, worlds.of(source)
        self._set_threads(source)
        if isinstance(recipe, EpisodeRecipe):
            pieces = rerender(recipe, source.root, world, text_encoder=self.text_encoder)
        else:
            pieces = rerender_rollout(recipe, sidecars(source.file)[0], world, text_encoder=self.text_encoder)
        began = time.perf_counter()
        with ExitStack() as stack:
            watch: Any = lambda frames: None  # noqa: E731
            if out is not None:
                out.parent.mkdir(parents=True, exist_ok=True)
                watch = stack.enter_context(VideoWriter(out, recipe.fps)).write
            came = compare(
                pieces, recipe.digests, recipe.frames_sha256, source.video, whole=out is not None, watch=watch
            )
        seconds = time.perf_counter() - began
        if came.difference is None:
            report(f"{source.name}: bit-identical ({came.frames} frames in {seconds:.1f} s)")
            return True
        report(f"{source.name}: not identical: {came.difference}")
        for reason in reasons(source.depends_on, frames_depend_on(world), recipe.versions, versions()):
            report(f"  it may be because {reason}" if not reason.startswith("nothing") else f"  {reason}")
        return False

    def _set_threads(self, source: Source) -> None:
        """Use as many threads as are asked for; their number changes the bits of the CPU's sums."""
        import torch

        recorded, now = source.depends_on.get("threads"), torch.get_num_threads()
        wanted = {"as-recorded": recorded, "here": None}.get(self.threads, self.threads)
        if wanted is None or int(wanted) == now:
            return
        torch.set_num_threads(int(wanted))
        if self.threads == "as-recorded":
            note(f"{source.name} was made with {recorded} threads and is made with as many again, not with {now}.")

    def _check_options(self) -> None:
        if not self.paths:
            raise ValueError("nothing to replay: give the JSON of an episode or rollout, or a dataset's folder.")
        if self.episodes is not None and self.episodes < 1:
            raise ValueError(f"--episodes must be at least 1; got {self.episodes}.")
        if self.episodes is not None and self.episode:
            raise ValueError("give either --episodes or --episode, not both.")
        number = self.threads.isdecimal() and int(self.threads) > 0
        if self.threads not in ("as-recorded", "here") and not number:
            raise ValueError(f"--threads must be as-recorded, here or a number of at least 1; got {self.threads!r}.")
        if self.video is not None and self.video.suffix.lower() != ".mp4":
            raise ValueError(f"--video must end in .mp4; got {self.video}.")

    def _videos(self, files: list[Path]) -> dict[Path, Path]:
        """Where what is rendered of each recipe goes."""
        if self.video is None:
            return {}
        if len(files) == 1:
            return {files[0]: self.video}
        found = {file: self.video.with_name(f"{self.video.stem}-{file.stem}.mp4") for file in files}
        if len(set(found.values())) < len(files):  # episodes of several datasets have the same names
            found = {
                file: self.video.with_name(f"{self.video.stem}-{index}-{file.stem}.mp4")
                for index, file in enumerate(files)
            }
        return found
