"""Drive a robot's base through dreamt worlds, and draw its laser scan over the floor plan of the true scenes.

Each world begins with a picture of a procedural scene, whose solids are known. So the scan that the robot takes, from
the depth of what the world shows, can be drawn over the plan, beside the scan of a perfect sensor at the same place.

Run: python examples/scan_over_plan.py [--out scan_over_plan.png]   (needs matplotlib)
"""

import math
from pathlib import Path

import sanawm_env  # noqa: F401  before torch: docs/explanation/busy-machine.md

# isort: split
import matplotlib.pyplot as plt
import numpy as np
import torch
import tyro
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse, Polygon, Rectangle
from numpy.typing import NDArray

from sanawm_env import SanaWMEnv
from sanawm_env.envs.sensors.scan import Scan, laser_scan
from sanawm_env.envs.wrappers import DifferentialDrive
from sanawm_env.scenes import Scene, first_frame, render_scene
from sanawm_env.scenes.scene import NUM_BOXES, NUM_CYLINDERS

TRUE, OWN = "#0f8b8d", "#ec7505"


def main(
    out: Path = Path("scan_over_plan.png"),
    checkpoint: str = "small-reflect",
    room: int = 38,
    maze: int = 5,
    outdoor: int = 16,
    steps: int = 4,
    speed: float = 0.3,
    turn: float = 0.15,
) -> None:
    """Draw one column per family of scenes.

    Args:
        out: The drawing.
        checkpoint: An anchored world (built-in name or folder).
        room: Seed of the room.
        maze: Seed of the maze.
        outdoor: Seed of the place outdoors.
        steps: Steps of the drive.
        speed: Of the base, m/s.
        turn: Of the base, rad/s, to the left.
    """
    figure, axes = plt.subplots(2, 3, figsize=(13, 7.6), height_ratios=(1, 1.75), layout="constrained")
    for column, (family, seed) in enumerate({"room": room, "maze": maze, "outdoor": outdoor}.items()):
        scan = Scan(rays=121, thickness=0.1, range_max=8)
        scene, camera, start = level_start(family, seed)
        picture, _ = render_scene(scene, torch.tensor(start)[None].float(), camera, 128, 224)
        env = DifferentialDrive(
            SanaWMEnv(checkpoint, picture[0].numpy(), intrinsics=camera.numpy(), sensors=(scan,)), max_speed=0.5
        )
        _, info = env.reset(seed=0)
        path = [start]
        for _ in range(steps):
            *_, info = env.step(np.array([speed, turn], np.float32))
            path += [start @ pose for pose in info["frame_c2w"]]
        here = path[-1]
        _, depth = render_scene(scene, torch.tensor(here)[None].float(), camera, 128, 224)
        true, first, increment = laser_scan(depth[0].numpy(), camera.numpy(), info["c2w"], scan)
        angles = first + increment * np.arange(scan.rays)

        axes[0, column].imshow(info["frames"][-1])
        axes[0, column].axhline(64, color="white", linewidth=0.8, alpha=0.7)
        axes[0, column].set_title(f"{family}: the world after {info['time']:.1f} s")
        axes[0, column].axis("off")
        plan = axes[1, column]
        draw_plan(plan, scene, height=-here[1, 3], thickness=scan.thickness)
        draw_scan(plan, here, angles, true, TRUE, "true scene", 3.0)
        draw_scan(plan, here, angles, info["scan"], OWN, "the world's own depth", 1.4)
        places = np.array(path)[:, [0, 2], 3]
        plan.plot(*places.T, color="black", linewidth=1.6)
        plan.plot(*places[-1], "o", color="black", markersize=5)
        x, z = (here @ [0, 0, 2.5, 1])[[0, 2]]
        plan.set(xlim=(x - 4, x + 4), ylim=(z - 4, z + 4), xlabel="x, m", aspect="equal")
        both = np.isfinite(true) & np.isfinite(info["scan"])
        error = np.abs(info["scan"][both] / true[both] - 1)
        print(f"{family} {seed}: {both.sum()} rays return in both scans, median difference {np.median(error):.1%}")
    axes[1, 0].set_ylabel("z, m")
    axes[1, 0].legend(loc="lower left", framealpha=0.9)
    figure.savefig(out, dpi=110)
    print(out)


def level_start(family: str, seed: int) -> tuple[Scene, torch.Tensor, NDArray[np.float64]]:
    """The scene of a seed, its camera, and the seed's first pose without pitch and roll, as a robot's camera stands."""
    _, camera, scene, pose = first_frame(seed, 128, 224, families=[family])
    yaw = math.atan2(pose[0, 2], pose[2, 2])
    level = np.eye(4)
    level[0, 0] = level[2, 2] = math.cos(yaw)
    level[0, 2], level[2, 0] = math.sin(yaw), -math.sin(yaw)
    level[:3, 3] = pose[:3, 3]
    return scene, camera, level


def draw_plan(axes: Axes, scene: Scene, height: float, thickness: float) -> None:
    """The scene from above (x to the right, z up): filled where it reaches into the slab, else as an outline."""
    center, half, turn = (part[0].double().numpy() for part in (scene.center, scene.half, scene.turn))
    if not scene.open_air[0]:
        wide = scene.shell_half[0].numpy()[[0, 2]]
        axes.add_patch(Rectangle(tuple(-wide), *(2 * wide), facecolor="#fbfaf7", edgecolor="black", linewidth=2))
    for number in np.flatnonzero(scene.active[0].numpy()):
        (x, y, z), (wide, high, deep), (cos, sin) = center[number], half[number], turn[number]
        off = max(abs(-y - height) - thickness / 2, 0)
        cut = off < high
        style = {"facecolor": "#b9b4aa" if cut else "none", "edgecolor": "#6b675f", "linewidth": 0.9 if cut else 0.4}
        if number < NUM_BOXES:
            corners = np.array([[-wide, -deep], [wide, -deep], [wide, deep], [-wide, deep]])
            axes.add_patch(Polygon(corners @ np.array([[cos, -sin], [sin, cos]]) + [x, z], **style))
        else:
            # The widest cut through it within the slab, where that is an ellipsoid.
            share = math.sqrt(1 - (off / high) ** 2) if cut and number >= NUM_BOXES + NUM_CYLINDERS else 1
            axes.add_patch(Ellipse((x, z), 2 * wide * share, 2 * deep * share, **style))


def draw_scan(axes: Axes, c2w: NDArray, angles: NDArray, ranges: NDArray, color: str, label: str, size: float) -> None:
    """Returns as dots, and the free space that they bound."""
    heading = math.atan2(-c2w[0, 2], c2w[2, 2])
    ways = np.stack([-np.sin(angles + heading), np.cos(angles + heading)], 1)
    place, known = c2w[[0, 2], 3], ~np.isnan(ranges)
    reach = np.nan_to_num(ranges, posinf=8.0, neginf=0.0)
    fan = place + ways[known] * reach[known, None]
    axes.add_patch(Polygon(np.vstack([place, fan]), facecolor=color, alpha=0.12))
    hits = np.isfinite(ranges)
    axes.plot(*(place + ways[hits] * ranges[hits, None]).T, "o", color=color, markersize=size, label=label)


if __name__ == "__main__":
    tyro.cli(main)
