"""The truth that contact is judged against: room, and what frame 0 shows."""

import numpy as np
import pytest
import torch

from benchmarks.worlds.contact_truth import Truth
from sanawm_env.envs.sensors.contact import Body
from sanawm_env.scenes import render_scene
from sanawm_env.scenes.builder import Material, SceneBuilder

PLAIN = Material((0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def truth():
    """A hall with a post 2 m ahead of frame 0, and another behind it."""
    builder = SceneBuilder()
    builder.shell((8.0, 3.0, 12.0), [PLAIN] * 6)
    builder.box(0.0, 2.0, (1.0, 2.5, 0.2), PLAIN)
    builder.cylinder(0.0, 3.0, 0.2, 2.5, PLAIN)
    scene, start = builder.build(), np.eye(4)
    start[1, 3] = -1.4
    camera = np.array([60.0, 60.0, 48.0, 32.0])
    pose = torch.from_numpy(start)[None].float()
    depth = render_scene(scene, pose, torch.from_numpy(camera).float(), 64, 96)[1][0].double().numpy()
    return Truth(scene, start, camera, depth, Body(radius=0.2))


def test_room_is_asked_for_in_the_worlds_axes(truth):
    places = np.array([[0, 0, 0], [0, 0, 1.5], [0, 0, 1.8], [3.5, 0, 0]], float)
    np.testing.assert_allclose(truth.room(places), [1.7, 0.2, -0.1, 0.3], atol=1e-5)
    np.testing.assert_allclose(truth.true_depth(np.eye(4)), truth.depth)


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ((0, 0, 1.72), True),
        ((0, 0, 2.65), False),
        ((-0.62, 0, 2.0), False),
        ((0, 0, -5.9), False),
        ((-3, 0, 5.85), True),
    ],
)
def test_frame_0_shows_what_it_sees_and_not_what_is_hidden_or_behind(truth, place, shown):
    assert truth.shows_contact(np.array(place, float)) == shown


def test_frame_0_looks_through_empty_ways_only(truth):
    z = np.linspace(0.6, 1.5, 10)[:, None]
    assert truth.shows_way(z * [0, 0, 1])
    assert not truth.shows_way((z + 1) * [0, 0, 1])  # through the post
    assert not truth.shows_way(-z * [0, 0, 1])
    assert not truth.shows_way(z * [1, 0, 0])
