"""`outdoor`: a little village green with houses, trees, hedges and a path."""

from __future__ import annotations

import math

from sanawm_env.scenes.builder import Color, Dice, Material, Palette, SceneBuilder, blend, shade
from sanawm_env.scenes.scene import Scene

WHITE: Color = (0.96, 0.95, 0.92)
GRASS: Color = (0.42, 0.68, 0.28)
SAND: Color = (0.85, 0.72, 0.48)
EXTENT = 60.0


def build_outdoor(dice: Dice) -> Scene:
    """Tiled ground, a path, 3 or 4 houses round the middle, trees, crates, hills and a sun."""
    colors = Palette(dice)
    b = SceneBuilder()
    ground = blend(GRASS, SAND, dice.uniform(0.0, 0.7))
    tile = dice.uniform(1.6, 2.4)
    plain = Material(WHITE)
    b.shell((2 * EXTENT, 80.0, 2 * EXTENT), [
        Material(ground, shade(ground, 0.68), cell=(tile, tile), weight=1.0, fade=0), *[plain] * 5,
    ])  # fmt: skip
    b.open_air = True
    azimuth, height = dice.uniform(0, 2 * math.pi), dice.uniform(0.45, 0.9)
    b.light = (1e3 * math.sin(azimuth), -1e3 * height, 1e3 * math.cos(azimuth))
    b.lighting = (0.45, 0.75, 0.0)
    zenith = blend((0.22, 0.48, 0.95), (0.45, 0.35, 0.85), dice.uniform(0, 0.5))
    horizon = blend((0.8, 0.9, 1.0), (1.0, 0.82, 0.62), dice.uniform(0, 0.8))
    b.sky = (zenith, horizon, blend((0.3, 0.45, 0.62), (0.4, 0.6, 0.4), dice.uniform()))
    b.hills = (dice.uniform(0, 6.3), dice.uniform(0, 6.3), dice.uniform(0, 6.3))
    b.fog = (*horizon, 0.012)
    b.bounds = (-6.0, 6.0, -6.0, 6.0)

    path = blend(SAND, WHITE, dice.uniform(0, 0.5))
    yaw = dice.uniform(0, math.pi)
    stones = Material(path, shade(path, 0.72), cell=(0.0, 1.0), weight=0.8, border=0.15, fade=0)
    b.box(dice.uniform(-1, 1), dice.uniform(-1, 1), (1.8, 0.02, 26.0), stones, yaw=yaw)

    taken: list[tuple[float, float, float]] = []
    turn = dice.uniform(0, 2 * math.pi)
    houses = 3 + dice.index(2)
    for i in range(houses):
        around = turn + (i + dice.uniform(-0.2, 0.2)) * 2 * math.pi / houses
        reach = dice.uniform(6.0, 8.5)
        x, z = reach * math.sin(around), reach * math.cos(around)
        taken.append((x, z, 3.0))
        _house(b, dice, colors, x, z, around + math.pi + dice.uniform(-0.4, 0.4))
    for _ in range(60):
        if not (b.free_slots(0) or b.free_slots(1)):
            break
        around, reach = dice.uniform(0, 2 * math.pi), dice.uniform(2.2, 9.0)
        x, z = reach * math.sin(around), reach * math.cos(around)
        if any((x - tx) ** 2 + (z - tz) ** 2 < (r + 1.0) ** 2 for tx, tz, r in taken):
            continue
        taken.append((x, z, 0.7))
        _thing(b, dice, colors, x, z)
    return b.build()


def _house(b: SceneBuilder, dice: Dice, colors: Palette, x: float, z: float, yaw: float) -> None:
    """Body, overhanging flat roof, door and window; the front (local +z) looks to the middle."""
    w, h, d = dice.uniform(3.0, 4.6), dice.uniform(2.4, 3.6), dice.uniform(2.6, 3.6)
    body, roof, door = colors.vivid(), colors.vivid(), colors.vivid()
    walls = Material(blend(body, WHITE, 0.25), shade(body, 0.6), cell=(0.0, 0.9), weight=0.25, band=0.5, fade=0.15)
    b.box(x, z, (w, h, d), walls, yaw=yaw)
    b.box(
        x,
        z,
        (w + 0.5, 0.4, d + 0.5),
        Material(shade(roof, 0.8), shade(roof, 0.55), border=0.2),
        base=h,
        yaw=yaw,
    )
    s, c = math.sin(yaw), math.cos(yaw)
    for dx, size, base, m in (
        (-w / 4, (0.95, 1.9, 0.08), 0.0, Material(door, shade(door, 0.6), border=0.1)),
        (w / 4, (1.2, 0.9, 0.08), 1.0, Material((0.55, 0.8, 0.98), WHITE, border=0.12)),
    ):
        b.box(x + c * dx + s * d / 2, z - s * dx + c * d / 2, size, m, base=base, yaw=yaw)


def _thing(b: SceneBuilder, dice: Dice, colors: Palette, x: float, z: float) -> None:
    """A tree, a bush, a crate or a low wall."""
    kind = dice.index(4)
    green = blend((0.1, 0.5, 0.15), (0.75, 0.6, 0.1), dice.uniform(0, 0.8))
    leaves = Material(green, shade(green, 0.7), cell=(0.0, 0.35), weight=0.6)
    if kind <= 1 and b.free_slots(1) and b.free_slots(2):
        trunk = dice.uniform(1.2, 1.9)
        r = dice.uniform(0.75, 1.1)
        b.cylinder(x, z, 0.18, trunk + 0.5, Material((0.45, 0.3, 0.18)))
        b.ellipsoid(x, z, (r, r * 1.15, r), trunk + r * 1.1, leaves)
    elif kind == 2 and b.free_slots():
        color = colors.vivid()
        size = dice.uniform(0.7, 1.1)
        b.box(x, z, (size, size, size), Material(color, colors.vivid(), border=0.12), yaw=dice.uniform(0, 1.5))
    elif b.free_slots():
        size3 = (dice.uniform(1.2, 2.0), dice.uniform(0.6, 1.0), 0.5)
        b.box(
            x,
            z,
            size3,
            Material(green, shade(green, 0.65), cell=(0.5, 0.0), weight=0.7),
            yaw=dice.uniform(0, 3.1),
        )
