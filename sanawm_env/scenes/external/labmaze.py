"""DeepMind Lab's mazes and textures (the package `labmaze`, Apache-2.0), drawn by MuJoCo (Apache-2.0)."""

from __future__ import annotations

import functools
import io
import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sanawm_env.scenes.builder import Dice
from sanawm_env.scenes.external.source import Array, Take, pinhole
from sanawm_env.scenes.motion import free_path

__all__ = ["Maze", "draw_maze", "film"]

FAR = 200.0
"""Metres; what is not drawn nearer is sky."""
_NEAR = 0.02
_STYLES = ("style_01", "style_02", "style_03", "style_04", "style_05")
_TO_MUJOCO = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])
"""From +x right, +y down, +z ahead to MuJoCo's +z up."""
_TO_OPENGL = np.diag([1.0, -1.0, -1.0])
"""MuJoCo's cameras look along -z, with +y up."""


@dataclass(frozen=True, eq=False)
class Maze:
    """A maze of square cells; the world's axes are +x right, +y down, +z ahead, its floor is y = 0."""

    walls: NDArray[np.bool_]
    """(rows along z, columns along x) whether a cell is wall."""
    rooms: NDArray[np.int64]
    """The same shape: number of the room that a cell belongs to, 0 for corridors."""
    pillars: Array
    """(N, 4) x, z, half width, height, m."""
    cell: float
    """Side of a cell, m."""
    height: float
    """Of the walls, m."""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Of the floor: see `scenes.motion.Space`."""
        rows, columns = self.walls.shape
        return (0.0, columns * self.cell, 0.0, rows * self.cell)

    def blocks(self) -> Array:
        """(N, 4) x, z, half width, height of all that stands in the way, m."""
        z, x = np.nonzero(self.walls)
        half = np.full(len(x), self.cell / 2)
        walls = np.stack([(x + 0.5) * self.cell, (z + 0.5) * self.cell, half, np.full(len(x), self.height)], -1)
        return np.concatenate([walls, self.pillars])

    def clearance(self, points: Array) -> Array:
        """Metres from points (..., 3) to the nearest surface; all things count as if they reached the sky.

        Negative inside of things, and outside of the maze.
        """
        blocks = self.blocks()
        away = np.abs(points[..., None, [0, 2]] - blocks[:, :2]) - blocks[:, 2:3]
        flat = np.hypot(*np.moveaxis(away.clip(0), -1, 0)) + away.max(-1).clip(None, 0)
        x0, x1, z0, z1 = self.bounds
        x, y, z = np.moveaxis(points, -1, 0)
        # Below the top of the walls, because there may be a ceiling.
        edges = np.stack([x - x0, x1 - x, z - z0, z1 - z, -y, self.height + y])
        found: Array = np.minimum(flat.min(-1), edges.min(0))
        return found


def draw_maze(seed: int) -> Maze:
    """The maze of a seed."""
    import labmaze

    dice = Dice(seed, 10)
    side = 7 + 2 * dice.index(4)
    grid = labmaze.RandomMaze(
        height=side, width=side, max_rooms=1 + dice.index(5), room_min_size=3, room_max_size=5,
        extra_connection_probability=dice.uniform(0.0, 0.5), objects_per_room=dice.index(3), spawns_per_room=0,
        random_seed=int(np.random.SeedSequence([seed, 11]).generate_state(1)[0] >> 1),
    )  # fmt: skip
    entities = np.array([list(row) for row in str(grid.entity_layer).splitlines()])
    variations = np.array([list(row) for row in str(grid.variations_layer).splitlines()])
    cell, height = dice.uniform(1.7, 2.6), dice.uniform(2.4, 3.2)
    pillars = [
        [(x + dice.uniform(0.3, 0.7)) * cell, (z + dice.uniform(0.3, 0.7)) * cell,
         dice.uniform(0.12, 0.3), dice.uniform(0.4, 2.2)]
        for z, x in np.argwhere(entities == "G")
    ]  # fmt: skip
    rooms = np.where(variations == ".", 0, np.vectorize(ord)(variations) - ord("A") + 1)
    return Maze(entities == "*", rooms, np.array(pillars).reshape(-1, 4), cell, height)


def film(seed: int, frames: int, height: int, width: int) -> Take:
    """Walk through the maze of a seed.

    Raises:
        RuntimeError: No way to draw without a screen.
    """
    maze = draw_maze(seed)
    mujoco = _mujoco()
    dice = Dice(seed, 12)
    intrinsics = pinhole(height, width, dice.uniform(60.0, 90.0))
    xml, textures = _model(maze, dice, height, width, float(intrinsics[1]))
    model = mujoco.MjModel.from_xml_string(xml, textures)
    data = mujoco.MjData(model)
    c2w = free_path(seed, maze, frames)
    rgb = np.empty((frames, height, width, 3), np.uint8)
    depth = np.empty((frames, height, width), np.float32)
    with mujoco.Renderer(model, height, width) as renderer:
        for i, pose in enumerate(c2w):
            model.cam_pos[0] = _TO_MUJOCO @ pose[:3, 3]
            mujoco.mju_mat2Quat(model.cam_quat[0], (_TO_MUJOCO @ pose[:3, :3] @ _TO_OPENGL).ravel())
            mujoco.mj_forward(model, data)
            renderer.update_scene(data, camera=0)
            renderer.render(out=rgb[i])
            renderer.enable_depth_rendering()
            renderer.render(out=depth[i])
            renderer.disable_depth_rendering()
    depth[depth > 0.9 * FAR] = np.inf
    return Take(rgb, depth, c2w, intrinsics)


def _mujoco() -> Any:
    """MuJoCo, told to draw in software where nobody said how and there is no screen."""
    how = "on Debian `apt-get install libosmesa6`, or set MUJOCO_GL=egl where a GPU draws"
    if not os.environ.get("DISPLAY") and not os.environ.get("MUJOCO_GL"):
        if "mujoco" in sys.modules:  # it has chosen by now, and would abort the process
            raise RuntimeError("MuJoCo was imported without a screen: set MUJOCO_GL=osmesa before.")
        os.environ["MUJOCO_GL"] = "osmesa"
    try:
        import mujoco
    except (AttributeError, ImportError, OSError) as error:
        found = os.environ.get("MUJOCO_GL")
        raise RuntimeError(f"MuJoCo finds no OpenGL for MUJOCO_GL={found} ({error}): {how}.") from error
    return mujoco


def _model(maze: Maze, dice: Dice, height: int, width: int, focal: float) -> tuple[str, dict[str, bytes]]:
    """MuJoCo's model of a maze (camera, light, floors, walls, pillars, and a ceiling or the sky) and its textures."""
    root = ElementTree.Element("mujoco")
    visual = ElementTree.SubElement(root, "visual")
    ElementTree.SubElement(visual, "global", offwidth=str(width), offheight=str(height))
    # All light is fixed in the world: a lamp on the camera would change the picture of a wall as the camera turns.
    bright = dice.uniform(0.55, 0.8)
    ElementTree.SubElement(visual, "headlight", ambient=_text([bright] * 3), diffuse="0 0 0", specular="0 0 0")
    ElementTree.SubElement(visual, "map", znear=str(_NEAR), zfar=str(FAR))
    ElementTree.SubElement(root, "statistic", extent="1", center="0 0 0")
    assets, world = ElementTree.SubElement(root, "asset"), ElementTree.SubElement(root, "worldbody")
    sun = [dice.uniform(-1, 1), dice.uniform(-1, 1), -1.0]
    ElementTree.SubElement(
        world, "light", directional="true", castshadow="false", dir=_text(sun),
        diffuse=_text([1.05 - bright] * 3), specular="0 0 0",
    )  # fmt: skip
    fovy = np.rad2deg(2 * np.arctan(height / 2 / focal))
    ElementTree.SubElement(world, "camera", name="camera", fovy=f"{fovy:.9f}")
    paint = _Paint(assets, dice, min(1024, 2 << math.ceil(math.log2(height))))
    rows, columns = maze.walls.shape
    for z, x in np.argwhere(~maze.walls):
        at = [(x + 0.5) * maze.cell, (z + 0.5) * maze.cell, 0.0]
        _plane(world, at, maze.cell, paint.floor(int(maze.rooms[z, x])))
    if dice.chance(0.4):
        middle = [columns * maze.cell / 2, rows * maze.cell / 2, maze.height]
        _plane(world, middle, max(rows, columns) * maze.cell, paint.ceiling(maze.cell), down=True)
    blocks, walls = maze.blocks(), np.argwhere(maze.walls)
    for i, (x, z, half, tall) in enumerate(blocks):
        material = paint.wall(_beside(maze, *walls[i])) if i < len(walls) else paint.pillar()
        ElementTree.SubElement(
            world, "geom", type="box", pos=_text([x, z, tall / 2]), size=_text([half, half, tall / 2]),
            material=material,
        )  # fmt: skip
    return ElementTree.tostring(root, encoding="unicode"), paint.files


def _beside(maze: Maze, z: int, x: int) -> int:
    """The room that a cell of wall belongs to: the largest number among its neighbours."""
    return int(maze.rooms[max(z - 1, 0) : z + 2, max(x - 1, 0) : x + 2].max())


def _plane(world: ElementTree.Element, at: list[float], side: float, material: str, *, down: bool = False) -> None:
    size = _text([side / 2, side / 2, 1.0])
    placed = {"type": "plane", "pos": _text(at), "size": size, "material": material}
    ElementTree.SubElement(world, "geom", placed | ({"euler": "180 0 0"} if down else {}))


class _Paint:
    """Materials of one maze: each room has a wall and a floor of its own."""

    def __init__(self, parent: ElementTree.Element, dice: Dice, side: int) -> None:
        from labmaze import assets as labmaze

        self._parent, self._dice, self._side = parent, dice, side
        self.files: dict[str, bytes] = {}
        """PNG files by name. They are made smaller: MuJoCo takes a second to load the originals of 1024 px."""
        style = _STYLES[dice.index(len(_STYLES))]
        # Floors and walls may be of different styles, as long as one maze is of one piece.
        other = _STYLES[dice.index(len(_STYLES))]
        self._walls = _shuffled(dice, labmaze.get_wall_texture_paths(style))
        self._floors = _shuffled(dice, labmaze.get_floor_texture_paths(other))
        self._things = _shuffled(dice, labmaze.get_wall_texture_paths(other))
        sky = labmaze.get_sky_texture_paths(labmaze.SKY_STYLES[dice.index(len(labmaze.SKY_STYLES))])
        faces = {f"file{face}": self._file(path) for face, path in sky._asdict().items()}
        ElementTree.SubElement(parent, "texture", {"name": "sky", "type": "skybox"} | faces)
        self._tile = dice.uniform(1.0, 2.0)

    def wall(self, room: int) -> str:
        """The material of a room's walls."""
        return self._material("wall", self._walls[room % len(self._walls)], kind="cube")

    def pillar(self) -> str:
        """The material of the next pillar."""
        return self._material("wall", self._things[self._dice.index(len(self._things))], kind="cube")

    def floor(self, room: int) -> str:
        """The material of a room's floor."""
        return self._material("floor", self._floors[room % len(self._floors)], repeat=1 / self._tile)

    def ceiling(self, tile: float) -> str:
        """The material of the ceiling."""
        return self._material("ceiling", self._floors[-1], repeat=1 / tile)

    def _material(self, role: str, path: str, kind: str = "2d", repeat: float = 1.0) -> str:
        name = f"{role} {Path(path).parent.name} {Path(path).stem}"
        if self._parent.find(f"material[@name='{name}']") is None:
            ElementTree.SubElement(self._parent, "texture", name=name, type=kind, file=self._file(path))
            uniform = "false" if kind == "cube" else "true"
            ElementTree.SubElement(
                self._parent, "material", name=name, texture=name, texuniform=uniform,
                texrepeat=_text([repeat, repeat]), specular="0", shininess="0", reflectance="0",
            )  # fmt: skip
        return name

    def _file(self, path: str) -> str:
        name = "-".join(Path(path).parts[-2:])
        self.files[name] = _png(path, self._side)
        return name


@functools.cache
def _png(path: str, side: int) -> bytes:
    """A texture made smaller."""
    with Image.open(path) as image, io.BytesIO() as out:
        rgb = image.convert("RGBA").convert("RGB").resize((side, side), Image.Resampling.BOX)
        rgb.save(out, "PNG", compress_level=1)
        return out.getvalue()


def _shuffled(dice: Dice, paths: dict[str, str]) -> list[str]:
    """Textures in random order, whatever order the package lists them in."""
    names = sorted(paths)
    return [paths[names[i]] for i in dice.order(len(names))]


def _text(values: list[float]) -> str:
    return " ".join(f"{value:.6f}" for value in values)
