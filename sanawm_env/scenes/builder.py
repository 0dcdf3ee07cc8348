"""Collects solids, materials and light in NumPy and turns them into a `Scene` of batch one."""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass

import numpy as np
import torch

from sanawm_env.scenes.scene import NUM_BOXES, NUM_CYLINDERS, NUM_ELLIPSOIDS, NUM_FACES, NUM_ROWS, NUM_SOLIDS, Scene

Color = tuple[float, float, float]
Vec3 = tuple[float, float, float]


class Dice:
    """Random choices of one scene, all drawn from `Generator.random`, the most stable NumPy stream."""

    def __init__(self, *seed: int) -> None:
        self._rng = np.random.default_rng(list(seed))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A float in [low, high)."""
        return low + (high - low) * float(self._rng.random())

    def index(self, n: int) -> int:
        """An integer in [0, n)."""
        return min(int(self._rng.random() * n), n - 1)

    def chance(self, p: float) -> bool:
        """True with probability p."""
        return float(self._rng.random()) < p

    def order(self, n: int) -> list[int]:
        """A random permutation of range(n)."""
        return [int(i) for i in np.argsort(self._rng.random(n), kind="stable")]


class Palette:
    """Distinct hues of one scene: successive calls of `vivid` never repeat a hue until all ten are used."""

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._offset = dice.uniform()
        self._order = dice.order(10)
        self._next = 0

    def _hue(self) -> float:
        self._next += 1
        return (self._offset + self._order[self._next % 10] / 10) % 1.0

    def vivid(self) -> Color:
        """A saturated colour for objects."""
        return colorsys.hsv_to_rgb(self._hue(), self._dice.uniform(0.65, 0.9), self._dice.uniform(0.7, 0.95))

    def soft(self) -> Color:
        """A lighter, half saturated colour for walls and floors."""
        return colorsys.hsv_to_rgb(self._hue(), self._dice.uniform(0.3, 0.5), self._dice.uniform(0.78, 0.95))


def shade(color: Color, factor: float) -> Color:
    """A darker (factor < 1) or lighter colour."""
    r, g, b = (min(1.0, c * factor) for c in color)
    return r, g, b


def blend(a: Color, b: Color, weight: float) -> Color:
    """`a` moved towards `b` by `weight`."""
    r, g, bl = (x + (y - x) * weight for x, y in zip(a, b, strict=True))
    return r, g, bl


@dataclass(frozen=True)
class Material:
    """Two colours and the large-scale pattern that mixes them."""

    a: Color
    """Base colour."""
    b: Color = (1.0, 1.0, 1.0)
    """Colour of checks, border and wainscot."""
    cell: tuple[float, float] = (0.0, 0.0)
    """Size of a check along u and v, m; 0 leaves stripes along that axis."""
    weight: float = 0.0
    """Contrast of the checks, 0 to 1."""
    border: float = 0.0
    """Width of a frame round every face, m."""
    band: float = -1e3
    """Height of a wainscot above the bottom of a face, m; far below zero for none."""
    fade: float = 0.2
    """How much darker the bottom of upright faces is than their top."""
    phase: tuple[float, float] = (0.0, 0.0)
    """Shift of the checks, in cycles of two cells."""


class SceneBuilder:
    """Adds things to one scene. Positions are of the centre on the ground plane, heights above the floor."""

    def __init__(self) -> None:
        self._solids = np.zeros((NUM_SOLIDS, 3 + 3 + 2), np.float64)
        # Unused slots are tiny and deep underground: every ray meets the shell's floor before them.
        self._solids[:] = [0, 500.0, 0, 1e-2, 1e-2, 1e-2, 1, 0]
        self._rows = np.zeros((NUM_ROWS, 3 + 3 + 4 + 4), np.float64)
        self._active = np.zeros(NUM_SOLIDS, bool)
        self._used = [0, 0, 0]
        self._shell = ((0.0, -1.5, 0.0), (3.0, 1.5, 3.0))
        self.light: Vec3 = (0.0, -2.3, 0.0)
        self.lighting: Vec3 = (0.45, 0.75, 0.04)
        self.fog: tuple[float, float, float, float] = (0.5, 0.5, 0.5, 0.0)
        self.sky: tuple[Color, Color, Color] = ((0.25, 0.5, 0.95), (0.85, 0.9, 1.0), (0.35, 0.45, 0.6))
        self.hills: Vec3 = (0.0, 0.0, 0.0)
        self.open_air = False
        self.bounds: tuple[float, float, float, float] | None = None

    def free_slots(self, kind: int = 0) -> int:
        """How many more boxes (0), cylinders (1) or ellipsoids (2) fit."""
        return (NUM_BOXES, NUM_CYLINDERS, NUM_ELLIPSOIDS)[kind] - self._used[kind]

    def shell(self, size: Vec3, faces: list[Material]) -> None:
        """The surrounding box of `size` (x, y, z) metres standing on y = 0, and its six face materials."""
        if len(faces) != NUM_FACES:
            raise ValueError(f"a shell needs {NUM_FACES} face materials, got {len(faces)}")
        x, y, z = size
        self._shell = ((0.0, -y / 2, 0.0), (x / 2, y / 2, z / 2))
        for i, material in enumerate(faces):
            self._paint(NUM_SOLIDS + i, material)

    def _paint(self, row: int, m: Material) -> None:
        freq = [0.5 / c if c else 0.0 for c in m.cell]
        # Without checks along an axis its phase puts the wave on a constant crest.
        phase = [p if c else 0.5 for p, c in zip(m.phase, m.cell, strict=True)]
        self._rows[row] = [*m.a, *m.b, *freq, *phase, m.weight, m.border, m.band, m.fade]

    def _solid(self, kind: int, center: Vec3, half: Vec3, yaw: float, material: Material) -> bool:
        if not self.free_slots(kind):
            return False
        slot = (0, NUM_BOXES, NUM_BOXES + NUM_CYLINDERS)[kind] + self._used[kind]
        self._used[kind] += 1
        self._active[slot] = True
        self._solids[slot] = [*center, *half, math.cos(yaw), math.sin(yaw)]
        self._paint(slot, material)
        return True

    def box(self, x: float, z: float, size: Vec3, material: Material, *, base: float = 0.0, yaw: float = 0.0) -> bool:
        """A box of `size` (width, height, depth) m whose bottom is `base` m above the floor."""
        w, h, d = size
        return self._solid(0, (x, -base - h / 2, z), (w / 2, h / 2, d / 2), yaw, material)

    def cylinder(
        self, x: float, z: float, radius: float, height: float, material: Material, *, base: float = 0.0
    ) -> bool:
        """An upright cylinder."""
        return self._solid(1, (x, -base - height / 2, z), (radius, height / 2, radius), 0.0, material)

    def ellipsoid(self, x: float, z: float, radii: Vec3, height: float, material: Material) -> bool:
        """An ellipsoid centred `height` m above the floor."""
        return self._solid(2, (x, -height, z), radii, 0.0, material)

    def build(self) -> Scene:
        """The scene, with a batch axis of one, float32 on CPU."""

        def row(values: object) -> torch.Tensor:
            return torch.tensor(np.asarray(values, np.float64), dtype=torch.float32, device="cpu")[None]

        (cx, cy, cz), (hx, hy, hz) = self._shell
        bounds = self.bounds or (cx - hx, cx + hx, cz - hz, cz + hz)
        return Scene(
            center=row(self._solids[:, 0:3]), half=row(self._solids[:, 3:6]), turn=row(self._solids[:, 6:8]),
            active=torch.from_numpy(self._active.copy())[None],
            shell_center=row((cx, cy, cz)), shell_half=row((hx, hy, hz)),
            color_a=row(self._rows[:, 0:3]), color_b=row(self._rows[:, 3:6]),
            wave=row(self._rows[:, 6:10]), style=row(self._rows[:, 10:14]),
            light=row(self.light), lighting=row(self.lighting), fog=row(self.fog),
            sky=row([c for color in self.sky for c in color]), hills=row(self.hills),
            open_air=row(float(self.open_air)), bounds=row(bounds),
        )  # fmt: skip
