"""`room`: a furnished living room."""

from __future__ import annotations

import math
from collections.abc import Callable

from sanawm_env.scenes.builder import Color, Dice, Material, Palette, SceneBuilder, blend, shade
from sanawm_env.scenes.scene import Scene

WHITE: Color = (0.96, 0.95, 0.92)


class _Piece:
    """One piece of furniture: places boxes relative to its centre; its back is towards local -z."""

    def __init__(self, builder: SceneBuilder, x: float, z: float, yaw: float) -> None:
        self.builder, self.x, self.z, self.yaw = builder, x, z, yaw

    def box(self, dx: float, dz: float, size: tuple[float, float, float], m: Material, base: float = 0.0) -> None:
        c, s = math.cos(self.yaw), math.sin(self.yaw)
        self.builder.box(self.x + c * dx + s * dz, self.z - s * dx + c * dz, size, m, base=base, yaw=self.yaw)


def _sofa(p: _Piece, a: Color, b: Color) -> None:
    cloth = Material(a, shade(a, 0.75), cell=(0.6, 0.0), weight=0.6)
    p.box(0, 0.1, (1.9, 0.45, 0.75), cloth)
    p.box(0, -0.32, (1.9, 0.9, 0.25), Material(shade(a, 0.9)))
    p.box(-0.85, 0.05, (0.22, 0.65, 0.88), Material(b))
    p.box(0.85, 0.05, (0.22, 0.65, 0.88), Material(b))


def _bed(p: _Piece, a: Color, b: Color) -> None:
    p.box(0, 0.05, (1.5, 0.5, 1.9), Material(a, shade(a, 0.7), cell=(0.0, 0.5), weight=0.7))
    p.box(0, -0.95, (1.6, 1.1, 0.12), Material(b, shade(b, 0.7), border=0.12))
    p.box(0, -0.65, (1.2, 0.16, 0.45), Material(WHITE), 0.5)


def _wardrobe(p: _Piece, a: Color, b: Color) -> None:
    p.box(0, 0, (1.3, 2.05, 0.62), Material(a, b, border=0.12, fade=0.25))


def _shelf(p: _Piece, a: Color, b: Color) -> None:
    p.box(0, 0, (1.4, 1.8, 0.42), Material(a, b, cell=(0.0, 0.45), weight=0.85))


def _cabinet(p: _Piece, a: Color, b: Color) -> None:
    p.box(0, 0, (1.5, 0.8, 0.5), Material(a, b, border=0.1))
    p.box(0.35, 0, (0.4, 0.45, 0.3), Material(b, a), 0.8)


def _desk(p: _Piece, a: Color, b: Color) -> None:
    p.box(0, 0, (1.4, 0.1, 0.75), Material(a), 0.68)
    p.box(-0.5, 0, (0.35, 0.68, 0.65), Material(b))
    p.box(0.5, 0, (0.35, 0.68, 0.65), Material(b))
    p.box(0, -0.2, (0.75, 0.5, 0.1), Material((0.12, 0.14, 0.2), (0.3, 0.75, 0.9), border=0.07), 0.78)


def _armchair(p: _Piece, a: Color, b: Color) -> None:
    p.box(0, 0.08, (0.8, 0.45, 0.7), Material(a))
    p.box(0, -0.3, (0.8, 0.95, 0.22), Material(b))


def _crate(p: _Piece, a: Color, b: Color) -> None:
    p.box(0, 0, (0.8, 0.8, 0.8), Material(a, b, border=0.1))


Maker = Callable[[_Piece, Color, Color], None]
# Width and depth of the footprint (m), the number of boxes, and what draws them.
_PIECES: list[tuple[float, float, int, Maker]] = [
    (2.0, 0.95, 4, _sofa), (1.6, 2.1, 3, _bed), (1.3, 0.65, 1, _wardrobe), (1.4, 0.45, 1, _shelf),
    (1.5, 0.5, 2, _cabinet), (1.4, 0.8, 4, _desk), (0.85, 0.9, 2, _armchair), (0.85, 0.85, 1, _crate),
]  # fmt: skip


def build_room(dice: Dice) -> Scene:
    """Four walls with wainscot, tiled floor, door, windows, pictures, rug, 5 to 8 pieces of furniture."""
    colors = Palette(dice)
    b = SceneBuilder()
    sx, sz, h = dice.uniform(4.8, 7.6), dice.uniform(4.8, 7.6), dice.uniform(2.5, 2.9)
    floor, wall, low = colors.soft(), colors.soft(), colors.soft()
    accent = colors.soft()
    tile = dice.uniform(0.7, 1.1)
    band = dice.uniform(0.8, 1.1)
    walls = [
        Material(c, shade(low, 0.85), cell=(dice.uniform(0.7, 1.1), 0), weight=0.22, band=band, fade=0.18)
        for c in (wall, blend(wall, WHITE, 0.5), accent, shade(wall, 0.85))
    ]
    b.shell((sx, h, sz), [
        Material(shade(floor, 0.9), shade(floor, 0.55), cell=(tile, tile), weight=1.0, fade=0),
        Material(WHITE, shade(wall, 0.9), cell=(0.0, 1.2), weight=0.45, fade=0),
        *walls,
    ])  # fmt: skip
    b.light = (dice.uniform(-0.2, 0.2) * sx, -h + 0.25, dice.uniform(-0.2, 0.2) * sz)
    b.lighting = (0.5, 0.75, 0.05)
    _panels(b, dice, colors, sx, sz)
    rug = colors.vivid()
    size = (dice.uniform(1.6, 2.4), 0.02, dice.uniform(1.4, 2.2))
    b.box(
        dice.uniform(-0.4, 0.4),
        dice.uniform(-0.4, 0.4),
        size,
        Material(rug, blend(rug, WHITE, 0.7), border=0.2),
    )
    _furnish(b, dice, colors, sx, sz)
    return b.build()


def _panels(b: SceneBuilder, dice: Dice, colors: Palette, sx: float, sz: float) -> None:
    """Door, windows and pictures: thin boxes on the walls, one per wall and one more."""
    kinds = ["door", "window", "picture", "picture", "window"]
    for i, wall in enumerate([*dice.order(4), dice.index(4)]):
        span, far = (sz, sx / 2) if wall < 2 else (sx, sz / 2)
        along = dice.uniform(-0.5, 0.5) * (span - 1.9)
        if i == 4:  # the second thing on a wall goes to the far side of the first
            along = math.copysign(span / 2 - 0.9, along)
        if kinds[i] == "door":
            wood = colors.vivid()
            w, h, base, m = 0.95, 2.05, 0.0, Material(shade(wood, 0.8), shade(wood, 0.5), border=0.12)
        elif kinds[i] == "window":
            w, h, base, m = 1.4, 1.2, 1.0, Material((0.62, 0.85, 1.0), WHITE, cell=(0.7, 0.0), border=0.1)
        else:
            c = colors.vivid()
            w, h, base, m = 0.95, 0.75, 1.25, Material(c, colors.vivid(), border=0.13)
        side = -1 if wall % 2 == 0 else 1
        x, z = (side * far, along) if wall < 2 else (along, side * far)
        b.box(x, z, (0.06, h, w) if wall < 2 else (w, h, 0.06), m, base=base)


def _furnish(b: SceneBuilder, dice: Dice, colors: Palette, sx: float, sz: float) -> None:
    """Puts furniture along the walls, its back to them, and one or two round things anywhere."""
    taken: list[tuple[float, float, float, float]] = []

    def place(x: float, z: float, hx: float, hz: float) -> bool:
        # A strip of 0.1 m stays between neighbours; the middle of the room stays free for the camera.
        if any(abs(x - tx) < hx + thx + 0.1 and abs(z - tz) < hz + thz + 0.1 for tx, tz, thx, thz in taken):
            return False
        taken.append((x, z, hx, hz))
        return True

    wanted, done = 5 + dice.index(3), 0
    for kind in [*dice.order(len(_PIECES)), *dice.order(len(_PIECES))]:
        width, depth, boxes, make = _PIECES[kind]
        if done >= wanted or b.free_slots() < boxes:
            continue
        for _ in range(8):
            wall = dice.index(4)
            span, far = (sz, sx / 2) if wall < 2 else (sx, sz / 2)
            along = dice.uniform(-1, 1) * (span / 2 - width / 2 - 0.05)
            away = far - depth / 2 - 0.04
            side = -1 if wall % 2 == 0 else 1
            x, z = (side * away, along) if wall < 2 else (along, side * away)
            yaw = (-side * math.pi / 2) if wall < 2 else (0.0 if side < 0 else math.pi)
            half = (depth / 2, width / 2) if wall < 2 else (width / 2, depth / 2)
            if place(x, z, *half):
                make(_Piece(b, x, z, yaw), colors.vivid(), colors.vivid())
                done += 1
                break
    for _ in range(6):
        x, z = dice.uniform(-0.42, 0.42) * sx, dice.uniform(-0.42, 0.42) * sz
        if max(abs(x) / sx, abs(z) / sz) < 0.25 or not b.free_slots(1) or not place(x, z, 0.3, 0.3):
            continue
        c = colors.vivid()
        if dice.chance(0.5):  # a plant in a pot
            b.cylinder(x, z, 0.24, 0.45, Material(c))
            b.ellipsoid(
                x,
                z,
                (0.36, 0.5, 0.36),
                0.85,
                Material((0.2, 0.65, 0.25), (0.1, 0.4, 0.2), cell=(0.0, 0.25), weight=0.5),
            )
        else:  # a lamp on a plinth
            b.cylinder(x, z, 0.2, 1.0, Material(c, shade(c, 0.6), cell=(0.0, 0.34), weight=0.7))
            b.ellipsoid(x, z, (0.28, 0.28, 0.28), 1.26, Material((1.0, 0.92, 0.65)))
