"""`sanawm ros2 record`: a walk through a world as a ROS 2 bag."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray

from sanawm_env.cli.common.specs import parse_spec, policy_maker
from sanawm_env.cli.common.world import WorldOptions
from sanawm_env.cli.rollout import TOUR

if TYPE_CHECKING:
    from sanawm_env.bridges.ros2.robot import Frame
    from sanawm_env.envs.env import SanaWMEnv

__all__ = ["Record"]


@dataclass
class Record:
    """Write what a robot with a camera would record in a world; needs no ROS.

    Topics: /clock, /camera/image_raw, /camera/image_raw/compressed, /camera/camera_info, /odom, /tf, /tf_static, and
    with --sensors /camera/depth/image_raw and /scan.
    """

    out: Path = Path("walk.mcap")
    """The bag: walk.mcap or walk.db3 is one file, another name a folder as of `ros2 bag record`. Must not be there."""
    storage: str | None = None
    """Of a folder: mcap (default) or sqlite3."""
    seconds: float | None = None
    """Length in simulated seconds; otherwise as long as --actions. Shorter ones are repeated."""
    seed: int = 1
    """Chooses the built-in scene and the noise, as for `sanawm rollout`, whose frames these are."""
    actions: str | None = None
    """Keys and frames, for example "w-32,dw-16,none-8"; otherwise a stroll of 14 s."""
    keymap: str = "nvlabs"
    """What the keys mean."""
    policy: str | None = None
    """Who acts, in place of --actions: random:smooth or package.module:function, with settings; needs --seconds."""
    image: Path | None = None
    """First frame of your own, any size; otherwise a built-in scene."""
    fov: float | None = None
    """Horizontal field of view in degrees."""
    sensors: tuple[str, ...] = ()
    """depth, scan or both. They see the last frame of every step."""
    world: Annotated[WorldOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=WorldOptions)
    """The world, and how it is stepped."""

    def run(self) -> None:
        """Do it.

        Raises:
            ModuleNotFoundError: No rosbags.
            ValueError, FileNotFoundError, FileExistsError: An option that cannot be used, before anything is written.
        """
        from sanawm_env.bridges.ros2.bags import require

        require()
        from tqdm import tqdm

        from sanawm_env.bridges.ros2.bags.writer import BagWriter, layout

        self._check_options()
        storage, single = layout(self.out, self.storage)
        frames, total = self._walk()
        with (
            BagWriter(self.out, storage, single=single) as bag,
            tqdm(total=total, unit="frames", desc=self.out.name, disable=None) as bar,
        ):
            for frame in frames:
                bag.publish(frame)
                bar.update()
        for topic, count in sorted(bag.counts.items()):
            print(f"{topic}: {count}")
        print(f"{self.out}: {sum(bag.counts.values())} messages, {bag.counts['/clock']} frames")

    def _check_options(self) -> None:
        if self.out.exists():
            raise FileExistsError(f"{self.out} is there already; choose another --out, or remove it.")
        if self.policy is not None and self.actions is not None:
            raise ValueError("give either --actions or --policy, not both.")
        if self.policy is not None and self.seconds is None:
            raise ValueError("a policy has no end: give --seconds, too.")
        if self.seconds is not None and not 0 < self.seconds < 1e6:
            raise ValueError(f"--seconds must be positive; got {self.seconds}.")
        if self.seed < 0:
            raise ValueError(f"--seed must not be negative; got {self.seed}.")
        if self.image is not None and not self.image.is_file():
            raise FileNotFoundError(f"no file {self.image}; check the path.")

    def _walk(self) -> tuple[Iterator[Frame], int]:
        """Frames, and how many there will be."""
        from sanawm_env.camera import rollout_keys

        c2w = rollout_keys(TOUR if self.actions is None else self.actions, self.keymap)
        policy = None
        if self.policy is not None:
            name, settings = parse_spec(self.policy)
            policy = policy_maker()(name, **settings)
        options: dict[str, Any] = {"sensors": self.sensors} if self.sensors else {}
        env = self.world.env(image=self.image, fov_deg=self.fov, episode_seconds=None, **options)
        return self._along(env, c2w) if policy is None else self._under(env, policy)

    def _under(self, env: SanaWMEnv, policy: Any) -> tuple[Iterator[Frame], int]:
        from sanawm_env.bridges.ros2.bags.walk import frames_under, scan_range

        assert self.seconds is not None
        steps = -(-round(self.seconds * env.model.config.fps) // env.frames_per_step)
        frames = frames_under(env, policy, self.seed, steps, scan_range(self.sensors))
        return frames, 1 + steps * env.frames_per_step

    def _along(self, env: SanaWMEnv, c2w: NDArray[np.float64]) -> tuple[Iterator[Frame], int]:
        from sanawm_env.bridges.ros2.bags.walk import frames_along, scan_range, sense_with
        from sanawm_env.camera import rollout_keys

        model = env.model
        if self.seconds is not None:
            count = 1 + round(self.seconds * model.config.fps)
            times = -(-(count - 1) // (len(c2w) - 1))
            c2w = rollout_keys(",".join([self.actions or TOUR] * times), self.keymap)[:count]
        env.reset(seed=self.seed)
        frames = frames_along(
            model, env.snapshot().state, c2w,
            sense=sense_with(model, self.sensors), scan_range=scan_range(self.sensors),
            chunk_frames=env.frames_per_step // model.vae.temporal_stride, sigmas=env.sigmas,
        )  # fmt: skip
        return frames, len(c2w)
