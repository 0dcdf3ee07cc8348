"""How far a body gets: by hand-made points, and properties of any path."""

import math
from itertools import pairwise

import gymnasium
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanawm_env import Depth, WorldModel
from sanawm_env.camera.pose import action_to_delta, geodesic
from sanawm_env.envs.sensors.contact import GRAIN, STEP, Body, free_path, stop_short
from sanawm_env.envs.sensors.points import seen_points
from sanawm_env.world.config import small_config

BODY = Body(radius=0.2, height=0.4, camera=0.3)
NOTHING = np.empty((0, 3))


def pose(x=0.0, y=0.0, z=0.0):
    c2w = np.eye(4)
    c2w[:3, 3] = x, y, z
    return c2w


def straight(to, frames=12, start=None):
    """Now, and the frames of a straight move by `to`, m."""
    start = pose() if start is None else start
    return start, geodesic(start, action_to_delta(np.array([*to, 0, 0, 0], float), 1.0, 1.0), frames)


def turning(action, frames=12):
    return pose(), geodesic(pose(), action_to_delta(np.array(action, float), 1.0, 1.0), frames)


def wall(z, half=1.0, spacing=0.02):
    """Points of a wall that stands across the view."""
    x, y = np.meshgrid(np.arange(-half, half, spacing), np.arange(-1.0, 1.0, 0.05))
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, z)], -1)


def nearest(points, places, body=BODY):
    """Horizontal distance of the nearest point at the body's height, over all places, by brute force."""
    rel = points[None] - np.asarray(places)[:, None]
    beside = (rel[..., 1] <= body.camera) & (rel[..., 1] >= body.camera - body.height)
    return np.where(beside, np.hypot(rel[..., 0], rel[..., 2]), np.inf).min()


def test_stops_a_radius_before_a_wall():
    now, path = straight((0, 0, 1.0))
    share, clearance = free_path(wall(0.705), now, path, BODY)
    assert share == pytest.approx(0.5, abs=1.1 * STEP)
    assert 0 <= clearance <= STEP + 1e-9
    stopped = stop_short(now, path, share)
    assert stopped[-1, 2, 3] == pytest.approx(share)
    np.testing.assert_allclose(stopped[:, 2, 3], share * path[:, 2, 3])


def test_a_margin_stops_earlier_and_clearance_stays_of_the_radius():
    now, path = straight((0, 0, 1.0))
    share, clearance = free_path(wall(0.705), now, path, Body(0.2, 0.4, 0.3, margin=0.1))
    assert share == pytest.approx(0.4, abs=1.1 * STEP) and clearance == pytest.approx(0.1, abs=STEP)


def test_nothing_known_is_free():
    now, path = straight((0, 0, 1.0))
    assert free_path(NOTHING, now, path, BODY) == (1.0, math.inf)
    assert free_path(wall(3.0), now, path, BODY)[0] == 1.0


def test_floor_and_ceiling_do_not_count():
    x, z = (part.ravel() for part in np.meshgrid(np.arange(-1, 1, 0.05), np.arange(0.5, 2, 0.05)))
    now, path = straight((0, 0, 1.0))
    for y, share in ((0.31, 1.0), (-0.11, 1.0), (0.29, 0.3), (-0.09, 0.3)):
        plane = np.stack([x, np.full(x.size, y), z], -1)
        assert free_path(plane, now, path, BODY)[0] == pytest.approx(share, abs=1.1 * STEP), y


def test_moves_up_and_down_meet_what_is_above_and_below():
    table = np.array([[0.05, 0.6, 0.0]])
    now, path = straight((0, 0.5, 0))
    share, _ = free_path(table, now, path, BODY)
    assert share * 0.5 == pytest.approx(0.3, abs=1.1 * STEP)
    assert free_path(table, *straight((0, -0.5, 0)), BODY)[0] == 1.0


def test_sideways_and_backwards_are_judged_by_known_points():
    points = np.array([[0.5, 0.0, 0.0], [0.0, 0.0, -0.5]])
    assert free_path(points, *straight((0.6, 0, 0)), BODY)[0] == pytest.approx(0.5, abs=1.1 * STEP / 0.6)
    assert free_path(points, *straight((0, 0, -0.6)), BODY)[0] == pytest.approx(0.5, abs=1.1 * STEP / 0.6)
    assert free_path(points, *straight((-0.6, 0, 0)), BODY)[0] == 1.0


def test_rotations_alone_never_collide():
    share, clearance = free_path(wall(0.05), *turning((0, 0, 0, 0.1, 0.3, 0)), BODY)
    assert share == 1.0 and clearance == pytest.approx(0.05 - BODY.radius, abs=0.01)


@pytest.mark.parametrize("distance", [0.02, 0.1, 0.19, 0.2])
def test_a_body_too_near_may_leave_and_slide_but_come_no_nearer(distance):
    points = wall(distance, half=2.0)
    assert free_path(points, *straight((0, 0, -0.6)), BODY)[0] == 1.0
    assert free_path(points, *straight((0.6, 0, 0)), BODY)[0] == 1.0
    assert free_path(points, *straight((-0.4, 0, -0.4)), BODY)[0] == 1.0
    share, _ = free_path(points, *straight((0, 0, 0.6)), BODY)
    assert share * 0.6 <= GRAIN


def test_a_body_that_got_away_from_a_point_keeps_its_radius_again():
    stray = np.array([[0.0, 0.0, -0.03]])
    share, _ = free_path(np.concatenate([stray, wall(0.6)]), *straight((0, 0, 0.6)), BODY)
    assert share * 0.6 == pytest.approx(0.4, abs=1.1 * STEP)


def test_pushing_again_and_again_gains_nothing():
    points, here = wall(0.5), pose()
    places = []
    for _ in range(20):
        now, path = straight((0, 0, 0.3), start=here)
        here = stop_short(now, path, free_path(points, now, path, BODY)[0])[-1]
        places.append(here[2, 3])
    assert max(places) <= 0.5 - BODY.radius + 1e-12 and places[-1] == places[3]


def test_a_curved_path_stops_on_the_curve_with_the_same_turns():
    now, path = turning((0, 0, 1.0, 0, 0.8, 0))
    share, _ = free_path(wall(0.6), now, path, BODY)
    assert 0 < share < 1
    stopped = stop_short(now, path, share)
    np.testing.assert_array_equal(stopped[:, :3, :3], path[:, :3, :3])
    corners = np.concatenate([now[None], path])[:, :3, 3]
    for place in stopped[:, :3, 3]:
        legs, rel = np.diff(corners, axis=0), place - corners[:-1]
        at = np.clip((rel * legs).sum(-1) / (legs**2).sum(-1), 0, 1)
        assert np.linalg.norm(rel - at[:, None] * legs, axis=1).min() < 1e-9


def test_a_free_path_keeps_its_bits():
    now, path = turning((0.3, 0.1, 1.0, 0.1, 0.8, 0))
    np.testing.assert_array_equal(stop_short(now, path, 1.0), path)


floats = st.floats(-1.0, 1.0)


@given(st.lists(st.tuples(floats, floats, floats), max_size=30), st.tuples(*[floats] * 6), st.integers(1, 8))
def test_any_stopped_path_comes_no_nearer_than_it_may(cloud, action, frames):
    points = np.array(cloud, float).reshape(-1, 3)
    now, path = turning(action, frames)
    share, clearance = free_path(points, now, path, BODY)
    assert 0 <= share <= 1
    stopped = stop_short(now, path, share)
    np.testing.assert_array_equal(stopped[:, :3, :3], path[:, :3, :3])
    if not len(points):
        assert share == 1 and clearance == math.inf
        return
    assert clearance == pytest.approx(nearest(points, [stopped[-1, :3, 3]]) - BODY.radius)
    track = np.concatenate([now[None], stopped])[:, :3, 3]
    dense = np.concatenate([np.linspace(a, b, 50) for a, b in pairwise(track)])
    least = min(BODY.radius, nearest(points, [now[:3, 3]]))
    # Within the places that are looked at: a point enters the body's height between two of them at worst.
    beside = [nearest(points, [place], Body(0.2, 0.4 - 2 * STEP, 0.3 - STEP)) for place in dense]
    assert min(beside) >= least - GRAIN - STEP


@given(st.lists(st.tuples(floats, floats, floats), min_size=1, max_size=30), st.tuples(*[floats] * 6))
def test_more_points_never_free_more_of_a_path_from_a_free_place(cloud, action):
    points = np.array(cloud, float)
    now, path = turning(action)
    if nearest(points, [now[:3, 3]]) < BODY.radius:
        return
    fewer, more = (free_path(some, now, path, BODY)[0] for some in (points[::2], points))
    assert more <= fewer


@pytest.mark.parametrize(
    "wrong", [{"radius": 0}, {"height": -1}, {"camera": math.nan}, {"margin": -0.18}, {"radius": math.inf}]
)
def test_bodies_that_cannot_be(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Body(**wrong)


def test_environments_stop_where_free_path_says():
    """With nothing in sight now, by what frame 0 showed: the camera turns round and backs into it."""
    world = WorldModel.untrained(small_config(anchored=True, chunk_frames=1, max_chunk_frames=1))
    nowhere = Depth(source=lambda image, intrinsics: np.full(image.shape[:2], np.inf))
    arguments = {"sensors": nowhere, "contact": "block", "max_translation": 2.0, "max_rotation": 0.6}
    body = Body(radius=0.4, margin=0.1)
    env = gymnasium.make("SanaWM-v0", checkpoint=world, body=body, **arguments)
    _, info = env.reset(seed=3)
    turn, back = np.array([0, 0, 0, 0, 1, 0], np.float32), np.array([0, 0, -0.7, 0, 0.1, 0], np.float32)
    met = []
    for action in [turn] * 5 + [back] * 4:
        moment = env.unwrapped.snapshot()
        points = seen_points(
            info["depth"], moment.state.intrinsics[0].numpy(), info["c2w"], moment.state.first_disparity[0].numpy()
        )
        controls = env.unwrapped.simulation.controls
        path = controls.move(info["c2w"][None], [None], action[None])[0][0]
        share, clearance = free_path(points, info["c2w"], path, body)
        before, (_, _, _, _, info) = info, env.step(action)
        np.testing.assert_array_equal(info["frame_c2w"], stop_short(before["c2w"], path, share))
        assert info["collided"] == (share < 1) and info["clearance"] == clearance
        assert info["collisions"] == before["collisions"] + info["collided"]
        met.append(share < 1)
    assert not any(met[:6]) and met[-1]
