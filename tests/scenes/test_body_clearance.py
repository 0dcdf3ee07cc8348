"""Room around a body, by hand and against rendered depth."""

import math

import numpy as np
import pytest
import torch

from sanawm_env.scenes import FAMILIES, make_scene, render_scene
from sanawm_env.scenes.builder import Material, SceneBuilder

PLAIN = Material((0.5, 0.5, 0.5))
RADIUS, ABOVE, BELOW = 0.1, 0.1, 0.3


def hall() -> SceneBuilder:
    builder = SceneBuilder()
    builder.shell((8.0, 3.0, 8.0), [PLAIN] * 6)
    return builder


def room_at(builder: SceneBuilder, *places: tuple[float, float, float]) -> list[float]:
    scene = builder.build()
    return [float(v) for v in scene.body_clearance(torch.tensor(places)[None], RADIUS, ABOVE, BELOW)[0]]


def test_walls_floor_and_ceiling() -> None:
    found = room_at(hall(), (3.0, -1.5, 0.0), (0.0, -1.5, -3.5), (0.0, -0.2, 0.0), (0.0, -2.95, 0.0), (5.0, -1.5, 0.0))
    assert found == pytest.approx([0.9, 0.4, -math.inf, -math.inf, -1.1])


def test_a_table_counts_only_at_its_height() -> None:
    builder = hall()
    builder.box(0.0, 0.0, (1.0, 0.7, 1.0), PLAIN, yaw=0.0)
    over, at, inside = (0.8, -1.1, 0.0), (0.8, -0.9, 0.0), (0.4, -0.9, 0.0)
    assert room_at(builder, over, at, inside) == pytest.approx([3.1, 0.2, -0.2], abs=1e-6)


def test_turned_boxes_corners_and_round_things() -> None:
    builder = hall()
    builder.box(0.0, 0.0, (1.0, 2.0, 1.0), PLAIN, yaw=math.pi / 4)
    assert room_at(builder, (1.0, -1.0, 0.0)) == pytest.approx([1 - math.sqrt(0.5) - RADIUS], abs=1e-6)
    builder = hall()
    builder.cylinder(0.0, 0.0, 0.3, 1.0, PLAIN)
    builder.ellipsoid(3.0, 0.0, (0.4, 0.5, 0.4), 1.0, PLAIN)
    cylinder, middle = (0.6, -0.8, 0.0), (2.0, -1.0, 0.0)
    # The body's lowest point is 0.3 m, that is 3/5 of the half height, above the ellipsoid's middle.
    high = (2.4, -1.6, 0.0)
    assert room_at(builder, cylinder, middle, high) == pytest.approx([0.2, 0.5, 0.6 - 0.4 * 0.8 - RADIUS], abs=1e-6)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_agrees_with_what_a_ring_of_cameras_sees(family: str) -> None:
    """The nearest thing beside a body is the nearest point that looking all round shows at its height."""
    scene = make_scene(family, 7)
    low = scene.bounds[0, ::2]
    size = scene.bounds[0, 1::2] - low
    draw = torch.rand(200, 2, generator=torch.Generator().manual_seed(3))
    at = low + size * draw
    places = torch.stack([at[:, 0], torch.full((200,), -1.0), at[:, 1]], -1)
    room = scene.body_clearance(places[None], 0.0, ABOVE, BELOW)[0]
    free = torch.nonzero((room > 0.05) & (scene.clearance(places[None])[0] > 0.05))[:4, 0]
    assert len(free) == 4
    width, focal = 96, 96 / 2  # 90 degrees
    camera = torch.tensor([focal, focal, width / 2, width / 2])
    for index in free.tolist():
        nearest = math.inf
        for height in np.linspace(-ABOVE, BELOW, 9):  # cameras along the axis see over edges
            poses = torch.eye(4).repeat(4, 1, 1)
            for quarter in range(4):
                c, s = math.cos(quarter * math.pi / 2), math.sin(quarter * math.pi / 2)
                poses[quarter, :3, :3] = torch.tensor([[c, 0, s], [0, 1, 0], [-s, 0, c]])
            poses[:, :3, 3] = places[index] + torch.tensor([0.0, float(height), 0.0])
            _, depth = render_scene(scene, poses, camera, width, width)
            slope = (torch.arange(width) + 0.5 - width / 2) / focal
            down = depth * slope[:, None] + float(height)
            beside = (down >= -ABOVE) & (down <= BELOW)
            flat = depth * (1 + slope**2).sqrt()
            nearest = min(nearest, float(flat[beside].min()))
        assert nearest == pytest.approx(float(room[index]), rel=0.01, abs=0.01), places[index]


def test_bad_arguments() -> None:
    builder = hall()
    with pytest.raises(ValueError, match="places must have shape"):
        builder.build().body_clearance(torch.zeros(1, 3), RADIUS, ABOVE, BELOW)
    builder.ellipsoid(0.0, 0.0, (0.4, 0.5, 0.3), 1.0, PLAIN)
    with pytest.raises(ValueError, match="round"):
        builder.build().body_clearance(torch.zeros(1, 1, 3), RADIUS, ABOVE, BELOW)
