"""`sanawm ros2 replay`: a robot's bag inside a world."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from sanawm_env.cli.common.console import note
from sanawm_env.cli.common.outputs import check_outputs
from sanawm_env.cli.common.world import WorldOptions

__all__ = ["ReplayBag"]


@dataclass
class ReplayBag:
    """Start a world from a robot's first picture, walk the robot's path, and write what the world shows; needs no ROS.

    Reads bags of ROS 2 (MCAP or sqlite3), also those whose recording was interrupted.
    """

    bag: Annotated[Path, tyro.conf.Positional]
    """Folder of `ros2 bag record`, or its .mcap or .db3."""
    out: Path | None = None
    """Folder for world.mcap, side_by_side.mp4 (left the robot, right the world) and replay.json; otherwise
    <bag>_world. Must not be there."""
    image_topic: str | None = None
    """Where the bag has several cameras."""
    odom_topic: str | None = None
    """Where it has several odometries; /tf takes the path out of tf."""
    camera_frame: str | None = None
    """The camera's frame in tf, if not the one that its images name."""
    world_frame: str | None = None
    """Fixed frame of a path out of tf; odom otherwise, or what stands above all others."""
    max_speed: float = 5.0
    """m/s; poses further apart are a jump, at which the path ends."""
    ignore_distortion: bool = False
    """Take images of a lens with distortion as they are."""
    fov: float | None = None
    """Horizontal field of view in degrees, in place of the bag's CameraInfo."""
    seconds: float | None = None
    """At most so much of the robot's time, from its first image on."""
    slow: float = 1.0
    """Walk so many times slower than the robot, whose path may be too fast for the world; stamps remain the robot's."""
    seed: int = 0
    """Of the noise."""
    storage: str = "mcap"
    """Of the answer: mcap or sqlite3."""
    world: Annotated[WorldOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=WorldOptions)
    """The world, and how it is stepped."""

    def run(self) -> None:
        """Do it.

        Raises:
            ModuleNotFoundError: No rosbags.
            ValueError, FileNotFoundError, FileExistsError: An option or a bag that cannot be used; nothing is written.
        """
        from sanawm_env.bridges.ros2.bags import require

        require()
        from tqdm import tqdm

        from sanawm_env.bridges.ros2.bags.recording import Choices, read_recording
        from sanawm_env.bridges.ros2.bags.replay import plan_replay, replay
        from sanawm_env.bridges.ros2.bags.storage import open_bag

        out = self._check_options()
        bag = open_bag(self.bag)
        choices = Choices(
            self.image_topic, self.odom_topic, self.camera_frame, self.world_frame, self.max_speed,
            self.ignore_distortion,
        )  # fmt: skip
        recording = read_recording(bag, choices)
        env = self.world.env()
        model = env.model
        plan = plan_replay(recording, model, seconds=self.seconds, slow=self.slow, fov_deg=self.fov)
        for text in (*bag.damage.values(), *plan.notes):
            note(text)
        with tqdm(total=len(plan.c2w), unit="frames", desc=out.name, disable=None) as bar:
            found = replay(
                recording, plan, model, out,
                seed=self.seed, texts=self.world.texts(model), storage=self.storage, progress=bar.update,
                chunk_frames=env.frames_per_step // model.vae.temporal_stride, sigmas=env.sigmas,
            )  # fmt: skip
        print(
            f"{out}: {found['frames']} frames along {found['path_metres']:.2f} m of {found['path']}, beside "
            f"{found['robot_images_shown']} of {found['robot_images']} images; PSNR to them "
            f"{found['psnr_db']['mean']:.1f} dB, in the first second {found['psnr_db']['of_each_second'][0]:.1f} dB"
        )

    def _check_options(self) -> Path:
        """Where the answer goes."""
        from sanawm_env.bridges.ros2.bags.writer import STORAGES

        out = self.bag.with_name(f"{self.bag.stem}_world") if self.out is None else self.out
        if out.exists():
            raise FileExistsError(f"{out} is there already; choose another --out, or remove it.")
        check_outputs([out], [("BAG", self.bag)])
        if self.storage not in STORAGES:
            raise ValueError(f"unknown storage {self.storage!r}; known are {', '.join(STORAGES)}.")
        for option, value in (("--slow", self.slow), ("--max-speed", self.max_speed), ("--seconds", self.seconds)):
            if value is not None and not 0 < value < 1e6:
                raise ValueError(f"{option} must be positive; got {value}.")
        if self.fov is not None and not 0 < self.fov < 180:
            raise ValueError(f"--fov must lie between 0 and 180 degrees; got {self.fov}.")
        return out
