"""`maze`: nine cells joined by doorways and wide openings."""

from __future__ import annotations

from sanawm_env.scenes.builder import Color, Dice, Material, Palette, SceneBuilder, blend, shade
from sanawm_env.scenes.scene import Scene

WHITE: Color = (0.96, 0.95, 0.92)
CELLS = 3
THICK = 0.2
DOOR_HEIGHT = 2.1


def _edges() -> list[tuple[int, int, bool]]:
    """Inner edges between neighbouring cells, as (cell, cell, whether the wall runs along z)."""
    found = []
    for i in range(CELLS):
        for j in range(CELLS):
            if i + 1 < CELLS:
                found.append((i * CELLS + j, (i + 1) * CELLS + j, True))
            if j + 1 < CELLS:
                found.append((i * CELLS + j, i * CELLS + j + 1, False))
    return found


def build_maze(dice: Dice) -> Scene:
    """A 3 by 3 grid of cells; a random spanning tree of openings makes every cell reachable."""
    colors = Palette(dice)
    b = SceneBuilder()
    cell, h = dice.uniform(2.6, 3.4), dice.uniform(2.4, 2.8)
    floor, low = colors.soft(), colors.soft()
    tile, band = cell / 3, dice.uniform(0.7, 1.1)

    def wall(color: Color) -> Material:
        return Material(color, shade(low, 0.8), cell=(cell / 4, 0.0), weight=0.2, band=band, fade=0.18)

    b.shell((CELLS * cell, h, CELLS * cell), [
        Material(shade(floor, 0.9), shade(floor, 0.55), cell=(tile, tile), weight=1.0, fade=0),
        Material(WHITE, shade(floor, 0.9), cell=(cell / 2, cell / 2), weight=0.4, fade=0),
        *(wall(colors.soft()) for _ in range(4)),
    ])  # fmt: skip
    b.light = (dice.uniform(-0.6, 0.6) * cell, -h + 0.3, dice.uniform(-0.6, 0.6) * cell)
    b.lighting = (0.58, 0.6, 0.025)

    edges = _edges()
    # Few materials: inner walls share three colours, all lintels one.
    inner = [blend(colors.vivid(), colors.soft(), 0.5) for _ in range(3)]
    lintel = colors.vivid()
    group = list(range(CELLS * CELLS))
    spare = 1 + dice.index(2)  # openings beyond the tree, which make loops
    for e in dice.order(len(edges)):
        first, second, along_z = edges[e]
        joined = group[first] == group[second]
        is_open = not joined or spare > 0
        if joined and is_open:
            spare -= 1
        if not joined:
            group = [group[first] if g == group[second] else g for g in group]
        x = (first // CELLS - 1) * cell + (cell / 2 if along_z else 0)
        z = (first % CELLS - 1) * cell + (0 if along_z else cell / 2)
        color = inner[dice.index(3)]
        if not is_open:
            _wall(b, x, z, cell + THICK - 0.02, along_z, wall(color), h)
        elif dice.chance(0.6) and b.free_slots() >= 3:
            _doorway(b, dice, x, z, cell, along_z, wall(color), h, lintel)
    _landmarks(b, dice, colors, cell)
    b.bounds = (-1.5 * cell, 1.5 * cell, -1.5 * cell, 1.5 * cell)
    return b.build()


def _wall(
    b: SceneBuilder, x: float, z: float, length: float, along_z: bool, m: Material, h: float, base: float = 0.0
) -> None:
    size = (THICK, h - base, length) if along_z else (length, h - base, THICK)
    b.box(x, z, size, m, base=base)


def _doorway(
    b: SceneBuilder, dice: Dice, x: float, z: float, cell: float, along_z: bool, m: Material, h: float, lintel: Color
) -> None:
    """Two pieces of wall with a gap of 1.2 to 1.5 m, and a lintel over it."""
    gap = dice.uniform(1.2, 1.5)
    shift = dice.uniform(-0.25, 0.25) * (cell - gap)
    total = cell + THICK - 0.02
    for side in (-1, 1):
        edge, end = shift + side * gap / 2, side * total / 2
        mid, length = (edge + end) / 2, abs(end - edge)
        _wall(b, x + (0 if along_z else mid), z + (mid if along_z else 0), length, along_z, m, h)
    at = (x + (0 if along_z else shift), z + (shift if along_z else 0))
    _wall(b, *at, gap + 0.02, along_z, Material(lintel, shade(lintel, 0.6), border=0.08), h, DOOR_HEIGHT)


def _landmarks(b: SceneBuilder, dice: Dice, colors: Palette, cell: float) -> None:
    """A thing in a corner of most cells, in a colour of its own, and pictures on the outer walls."""
    for c in dice.order(CELLS * CELLS):
        cx, cz = (c // CELLS - 1) * cell, (c % CELLS - 1) * cell
        x, z = (cx + s * (cell / 2 - 0.55) for cx, s in ((cx, dice.index(2) * 2 - 1), (cz, dice.index(2) * 2 - 1)))
        color, second = colors.vivid(), colors.vivid()
        kind = dice.index(3)
        if kind == 0 and b.free_slots(1):
            b.cylinder(x, z, 0.28, dice.uniform(0.9, 1.7), Material(color, second, cell=(0.0, 0.4), weight=0.9))
        elif kind == 1 and b.free_slots(1) and b.free_slots(2):
            b.cylinder(x, z, 0.22, 0.8, Material(shade(color, 0.8)))
            b.ellipsoid(
                x, z, (0.35, 0.35, 0.35), 1.12, Material(second, shade(second, 0.7), cell=(0.0, 0.24), weight=0.6)
            )
        else:
            b.box(x, z, (0.7, dice.uniform(0.6, 1.2), 0.7), Material(color, second, border=0.1))
    half = 1.5 * cell
    while b.free_slots():
        wall, along = dice.index(4), (dice.index(3) - 1) * cell + dice.uniform(-0.4, 0.4)
        side = -1 if wall % 2 == 0 else 1
        m = Material(colors.vivid(), WHITE, border=0.12)
        if wall < 2:
            b.box(side * half, along, (0.06, 0.8, 1.0), m, base=1.25)
        else:
            b.box(along, side * half, (1.0, 0.8, 0.06), m, base=1.25)
