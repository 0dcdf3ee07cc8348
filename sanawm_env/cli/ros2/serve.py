"""`sanawm ros2 serve`: a world in the ROS 2 graph, as a robot with a camera."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from sanawm_env.cli.common.console import report
from sanawm_env.cli.common.specs import env_arguments
from sanawm_env.cli.common.world import check_encoder
from sanawm_env.registration import DEFAULT_CHECKPOINT

if TYPE_CHECKING:
    from sanawm_env.bridges.ros2.runner import Mode
    from sanawm_env.bridges.ros2.session import Session

__all__ = ["Serve"]

_OWN = {
    "image": "--image",
    "prompt": "--prompt",
    "text_encoder": "--text-encoder",
    "device": "--device",
    "sensors": "--sensors",
    "contact": "--contact",
    "chunk_frames": "--chunk-frames",
    "task": "nothing: a robot has its own",
    "action_mode": "nothing: commands are velocities",
    "obs_mode": "nothing: every topic is there",
    "info_frames": "nothing: every frame is published",
    "episode_seconds": "--seconds",
    "max_episode_steps": "--seconds",
}
"""Arguments of the environment that this command sets by itself or by options of its own."""


@dataclass
class Serve:
    """Publish a world as a robot's camera, odometry and clock, and drive by `/cmd_vel`; needs a sourced ROS 2.

    Stop it with Ctrl-C. Topics, services and quality of service: docs/how-to/ros2.md.
    """

    mode: str = "lockstep"
    """lockstep (each command makes one step, deterministic), realtime (a simulated second takes a second) or fast
    (as quick as the machine)."""
    worlds: int = 1
    """Robots, each in a world of its own; of several the namespaces are /world_0, /world_1, ..."""
    namespace: str = ""
    """Of the robot, or before those of several."""
    image: str | None = None
    """First frame of your own; otherwise a built-in scene, drawn by --seed."""
    seed: int = 0
    """Chooses scene and noise; world i has SEED + i."""
    chunk_frames: int = 1
    """Latent frames of a step, 4 frames (0.25 s) each in the built-in worlds. Commands count from step to step; longer
    steps cost less for each frame."""
    sensors: tuple[str, ...] = ("depth", "scan")
    """Beside the camera: depth, scan, or none with a bare --sensors. They need a world that knows depth."""
    contact: str = "block"
    """none, report (what the robot would run into is counted) or block (and stops it)."""
    stamped: bool = False
    """Take commands as geometry_msgs/TwistStamped in place of Twist."""
    holonomic: bool = False
    """Obey linear y and z, too; otherwise the robot drives by linear x and angular z."""
    max_linear: float | None = None
    """m/s to which commands are limited; what the world can do otherwise."""
    max_angular: float | None = None
    """rad/s, likewise."""
    acceleration: float = 1.0
    """m/s^2 by which the speed of a robot with two wheels changes at most."""
    turn_acceleration: float = 2.0
    """rad/s^2, likewise of turning."""
    timeout: float = 0.5
    """Seconds of simulated time after which a command that is not repeated stops the robot (realtime and fast)."""
    best_effort: bool = False
    """Offer sensors as BEST_EFFORT in place of RELIABLE."""
    seconds: float | None = None
    """Simulated time after which to stop; otherwise it goes on until Ctrl-C."""
    prompt: str | None = None
    """What the worlds are to look like, for checkpoints that are conditioned on text."""
    text_encoder: Path | None = None
    """Folder of gemma-2-2b-it; otherwise beside the checkpoint, or from the Hub."""
    env: tuple[str, ...] = ()
    """Further arguments of SanaWMEnv, such as max_rotation=0.2 sampler_steps=2."""
    checkpoint: Annotated[str, tyro.conf.arg(aliases=["-c"])] = DEFAULT_CHECKPOINT
    """Built-in name, checkpoint folder or release; `untrained` is a small world of random weights, for tests."""
    device: str = "auto"
    """cpu, cuda, or auto."""

    def run(self) -> None:
        """Do it.

        Raises:
            ImportError: No ROS 2 for this Python; before the world is loaded.
            ValueError, FileNotFoundError: An option that cannot be used.
        """
        from sanawm_env.bridges.ros2.live.messages import require_rclpy
        from sanawm_env.bridges.ros2.live.server import ServeOptions, serve
        from sanawm_env.bridges.ros2.session import namespaces_of
        from sanawm_env.bridges.ros2.teleop import Limits
        from sanawm_env.world.accel.threads import aside

        mode = self._mode()
        namespaces = namespaces_of(self.worlds, self.namespace)
        if self.seconds is not None and not self.seconds > 0:
            raise ValueError(f"--seconds must be positive; got {self.seconds}.")
        for name in ("max_linear", "max_angular", "acceleration", "turn_acceleration", "timeout"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"--{name.replace('_', '-')} must be positive; got {value}.")
        check_encoder(self.text_encoder)
        require_rclpy()  # before the world is loaded
        session = aside(lambda: self._session(namespaces))  # another thread steps it
        linear, angular = session.top_speeds
        limits = Limits(
            min(linear, self.max_linear or linear),
            min(angular, self.max_angular or angular),
            self.holonomic,
            self.timeout,
        )
        serve(session, ServeOptions(mode, limits, self.stamped, self.best_effort, self.seconds), report)

    def _mode(self) -> Mode:
        from sanawm_env.bridges.ros2.runner import MODES

        for mode in MODES:
            if mode == self.mode:
                return mode
        raise ValueError(f"unknown --mode {self.mode!r}; there are {', '.join(MODES)}.")

    def _session(self, namespaces: list[str]) -> Session:
        """The worlds, not yet begun."""
        from sanawm_env.bridges.ros2.session import Session
        from sanawm_env.envs.vector_env import SanaWMVectorEnv

        arguments: dict[str, Any] = env_arguments(self.env, _OWN)
        envs = SanaWMVectorEnv(
            len(namespaces),
            self.checkpoint,
            autoreset_mode="Disabled",
            image=self.image,
            prompt=self.prompt,
            text_encoder=self.text_encoder,
            device=self.device,
            chunk_frames=self.chunk_frames,
            sensors=self.sensors,
            contact=self.contact,
            episode_seconds=None,
            **arguments,
        )
        accelerations = self.acceleration, self.turn_acceleration
        return Session(envs, namespaces, seed=self.seed, holonomic=self.holonomic, accelerations=accelerations)
