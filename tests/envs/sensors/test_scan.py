"""The laser measures what is there: exact geometry, and procedural scenes traced in two dimensions."""

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sanawm_env.envs.sensors.scan import Scan, laser_scan
from sanawm_env.scenes import FAMILIES, first_frame, render_scene
from sanawm_env.scenes.scene import NUM_BOXES, NUM_CYLINDERS

H, W = 96, 160
CAMERA = np.array([100.0, 100.0, 80.0, 48.0])
PIXEL = 0.01  # radians


def pose(yaw=0.0, pitch=0.0, roll=0.0):
    """A camera at the origin: yaw to the left, pitch up, roll clockwise, degrees, in that order."""
    c2w = np.eye(4)
    c2w[:3, :3] = Rotation.from_euler("YXZ", [-yaw, pitch, roll], degrees=True).as_matrix()
    return c2w


def pixels(c2w, camera=CAMERA, height=H, width=W):
    """Directions of unit depth `(H, W, 3)` in the world."""
    fx, fy, cx, cy = camera
    v, u = np.meshgrid(np.arange(height) + 0.5, np.arange(width) + 0.5, indexing="ij")
    return np.stack([(u - cx) / fx, (v - cy) / fy, np.ones_like(u)], -1) @ c2w[:3, :3].T


def depth_of(planes, c2w, **size):
    """Depth of the inside of a convex room: planes `n . x = d` with d > 0."""
    rays = pixels(c2w, **size)
    towards = np.stack([rays @ np.asarray(normal, float) for normal, _ in planes])
    distances = np.array([distance for _, distance in planes])[:, None, None]
    with np.errstate(divide="ignore"):
        return np.where(towards > 1e-12, distances / towards, np.inf).min(0).astype(np.float32)


def wall(direction, distance):
    """An upright wall; 0 degrees is straight ahead of the unturned camera, positive to the left."""
    return [-math.sin(math.radians(direction)), 0, math.cos(math.radians(direction))], distance


def floor(below):
    return [0, 1, 0], below


def truth(walls, azimuths, heading):
    """Horizontal distances along azimuths `(A,)` about a heading, radians."""
    angle = azimuths + heading
    ways = np.stack([-np.sin(angle), np.zeros_like(angle), np.cos(angle)], -1)
    with np.errstate(divide="ignore"):
        hits = [np.where(ways @ normal > 1e-12, distance / (ways @ normal), np.inf) for normal, distance in walls]
    return np.min(hits, 0)


def angles(first, increment, ranges):
    return first + increment * np.arange(len(ranges))


# -- exact geometry ---------------------------------------------------------------------------------------


def test_a_wall_ahead():
    scan = Scan(rays=41)
    ranges, first, increment = laser_scan(depth_of([wall(0, 3)], pose()), CAMERA, pose(), scan)
    assert ranges.dtype == np.float32 and ranges.shape == (41,)
    assert first == pytest.approx(-math.atan(0.8)) and first + 40 * increment == pytest.approx(math.atan(0.8))
    # Horizontal distance, not z-depth.
    assert np.allclose(ranges, 3 / np.cos(angles(first, increment, ranges)), rtol=1e-5)


def test_left_is_positive_and_last():
    depth = depth_of([wall(0, 5), wall(90, 1), wall(-90, 2)], pose())
    ranges, _, _ = laser_scan(depth, CAMERA, pose(), Scan(rays=3))
    edge = math.sin(math.atan(0.8))
    assert ranges == pytest.approx([2 / edge, 5, 1 / edge], rel=1e-5)


@pytest.mark.parametrize("width", [15, 24])
def test_between_pixels_it_is_exact_on_a_plane(width):
    camera = np.array([width / 2, width / 2, width / 2, width / 2])
    depth = depth_of([wall(40, 2)], pose(), camera=camera, height=width, width=width)
    ranges, first, increment = laser_scan(depth, camera, pose(), Scan(rays=57, range_max=9))
    expected = truth([wall(40, 2)], angles(first, increment, ranges), 0.0)
    seen = expected < 3.5  # farther along the wall a pixel is too coarse to tell it from an edge
    assert seen.sum() > 20 and np.allclose(ranges[seen], expected[seen], rtol=1e-5)


CORNER = st.tuples(st.floats(0.7, 6), st.floats(0.7, 6), st.floats(0.7, 6), st.floats(-40, 40))


@settings(max_examples=80, deadline=None)
@example((0.71875, 3.75, 1.0, -37.25), 3.5, 0.0, 0.0, 0.0, 0.25, None)
@given(
    CORNER,
    st.floats(-180, 180),
    st.just(0.0) | st.floats(-25, 25),
    st.just(0.0) | st.floats(-30, 30),
    st.floats(0.0, 0.3),
    st.floats(0.02, 0.4),
    st.sampled_from([None, 50.0, 120.0]),
)
def test_rooms_from_tilted_cameras(corner, yaw, pitch, roll, below, thickness, fov):
    ahead, left, right, skew = corner
    walls = [wall(skew, ahead), wall(90 + skew, left), wall(skew - 100, right), wall(180 + skew, 4)]
    c2w, scan = pose(yaw, pitch, roll), Scan(61, fov, below=below, thickness=thickness, range_max=8)
    floors = [floor(0.8), ([0, -1, 0], 0.9)]
    ranges, first, increment = laser_scan(depth_of(walls + floors, c2w), CAMERA, c2w, scan)
    azimuths = angles(first, increment, ranges)
    around = [truth(walls, azimuths + share * PIXEL, math.radians(yaw)) for share in (-0.8, -0.4, 0, 0.4, 0.8)]
    expected, nearest, farthest = around[2], np.min(around, 0), np.max(around, 0)
    # Right to a pixel everywhere, and far better where a pixel does not see a corner or a wall from along it.
    seen = np.isfinite(ranges)
    # Beyond the outermost pixels' centres the wall that these see goes on, even over a corner that no pixel saw.
    inner = azimuths + PIXEL * np.r_[1, np.zeros(len(ranges) - 2), -1]
    each = [[truth([one], where, math.radians(yaw)) for one in walls] for where in (inner, azimuths)]
    goes_on = np.take_along_axis(np.array(each[1]), np.argmin(each[0], 0)[None], 0)[0]
    assert (ranges[seen] >= nearest[seen] * 0.995).all()
    assert (ranges[seen] <= np.maximum(farthest, goes_on)[seen] * 1.005).all()
    plain = seen & (np.ptp(np.diff(around, axis=0), axis=0) < 2e-3 * expected) & (farthest < 1.1 * nearest)
    assert np.allclose(ranges[plain], expected[plain], rtol=3e-3)
    # Where it can look, which is told here from where the middle of the slab is on the wall.
    place = (
        np.stack([-np.sin(azimuths + math.radians(yaw)), np.cos(azimuths + math.radians(yaw))], -1) * expected[:, None]
    )
    point = np.stack([place[:, 0], np.full(len(place), below), place[:, 1]], -1) @ c2w[:3, :3]
    u, v = (point[:, :2] / point[:, 2:] * 100 + CAMERA[2:]).T
    inside = (point[:, 2] > 0) & (np.abs(u - W / 2) < W / 2 - 2) & (np.abs(v - H / 2) < H / 2 - 2)
    near = expected < 8 * 0.99
    assert seen[inside & near & (farthest < 7.9)].all()
    # The side of an upright picture cuts all heights of the slab at one azimuth.
    outside = (point[:, 2] < 0) | (np.abs(u - W / 2) > W / 2 + 2)
    if roll == 0 and pitch == 0:
        assert np.isnan(ranges[outside]).all()
    assert not np.isneginf(ranges).any()


def test_the_floor_is_no_obstacle_until_the_slab_reaches_it():
    depth = depth_of([floor(0.3)], pose())
    ranges, _, _ = laser_scan(depth, CAMERA, pose(), Scan(rays=31, below=0.1, thickness=0.2))
    assert np.isposinf(ranges).all()
    ranges, _, _ = laser_scan(depth, CAMERA, pose(), Scan(rays=31, below=0.3, thickness=0.2))
    # The floor begins at the lower edge of the picture.
    assert ranges[15] == pytest.approx(0.3 / 0.48, rel=0.03)


def step_in_front(height):
    """Depth of a step whose top lies `height` metres below the camera, 2 m ahead, before a wall 4 m away."""
    rays, far = pixels(pose()), depth_of([wall(0, 4)], pose())
    return np.where(rays[..., 1] * 2 > height, 2, far).astype(np.float32)


@pytest.mark.parametrize(("below", "expected"), [(0.0, 4), (0.15, 4), (0.35, 2), (0.6, 2)])
def test_only_the_slab_counts(below, expected):
    ranges, _, _ = laser_scan(step_in_front(0.3), CAMERA, pose(), Scan(rays=3, below=below, thickness=0.1))
    assert ranges[1] == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("thickness", [1e-4, 0.01, 0.05])
def test_a_slab_thinner_than_a_pixel_has_no_gaps(thickness):
    for distance in np.linspace(0.5, 9.5, 37):
        depth = depth_of([wall(25, distance)], pose(3, -4, 5))
        ranges, first, increment = laser_scan(depth, CAMERA, pose(3, -4, 5), Scan(45, 60, thickness=thickness))
        expected = truth([wall(25, distance)], angles(first, increment, ranges), math.radians(3))
        near = expected < 9.9
        assert np.allclose(ranges[near], expected[near], rtol=1e-3)


def test_an_edge_makes_no_surface():
    # A post before a far wall: every range is one of the two, none in between.
    depth = np.full((H, W), 8, np.float32)
    depth[:, 60:95] = 1
    ranges, first, increment = laser_scan(depth, CAMERA, pose(), Scan(rays=301, range_max=20))
    z = ranges * np.cos(angles(first, increment, ranges))
    assert (np.isclose(z, 1, rtol=1e-4) | np.isclose(z, 8, rtol=1e-4)).all()
    # Columns 60 to 95 of 160, from right to left.
    post = np.flatnonzero(np.isclose(z, 1, rtol=1e-4))
    assert first + increment * post[0] == pytest.approx(-math.atan(0.15), abs=2 * increment)
    assert first + increment * post[-1] == pytest.approx(math.atan(0.20), abs=2 * increment)


# -- where it cannot tell -----------------------------------------------------------------------------------


def test_rep_117():
    for distance, expected in ((0.05, -np.inf), (0.5, 0.5), (9.99, 9.99), (10.01, np.inf), (np.inf, np.inf)):
        depth = np.full((H, W), distance, np.float32)
        assert laser_scan(depth, CAMERA, pose(), Scan(rays=3))[0][1] == pytest.approx(expected, rel=1e-4)
    assert np.isnan(laser_scan(np.full((H, W), np.nan), CAMERA, pose(), Scan())[0]).all()
    assert np.isnan(laser_scan(np.zeros((H, W)), CAMERA, pose(), Scan())[0]).all()


def test_outside_the_picture_is_nan():
    ranges, first, increment = laser_scan(np.ones((H, W)), CAMERA, pose(), Scan(361, 360))
    seen = np.abs(angles(first, increment, ranges)) <= math.atan(0.8)
    assert np.array_equal(np.isfinite(ranges), seen)
    # Over its own width a level camera sees everywhere, also with the picture's middle elsewhere.
    for cx in (50.0, 80.0, 97.3):
        camera = np.array([100, 100, cx, 48])
        ranges, first, _ = laser_scan(np.ones((H, W)), camera, pose(), Scan())
        assert np.isfinite(ranges).all() and first == pytest.approx(-math.atan((W - cx) / 100))


def test_a_camera_that_looks_too_high_or_too_low_cannot_tell():
    level = [wall(0, 3), wall(90, 3), wall(-90, 3)]
    for pitch in (40, -40):
        depth = depth_of([*level, floor(1), ([0, -1, 0], 1)], pose(pitch=pitch))
        assert np.isnan(laser_scan(depth, CAMERA, pose(pitch=pitch), Scan(range_min=0.5))[0]).all()
    # It sees 0.5 m deep from 1.1 m on, but not where that slab ends: an obstacle is told, an empty way is not.
    down = pose(pitch=-35)
    close = depth_of([wall(0, 1.5), floor(1)], down)
    assert laser_scan(close, CAMERA, down, Scan(3, 10, below=0.5))[0] == pytest.approx(1.5, rel=0.02)
    assert np.isnan(laser_scan(depth_of([floor(1)], down), CAMERA, down, Scan(3, 10, below=0.5))[0]).all()


def test_behind_what_hangs_above_the_slab_it_cannot_tell():
    rays = pixels(pose())
    # A board from 0.05 m above the camera to 0.2 m below it, 1 m away; the slab passes under it.
    board = np.where((rays[..., 1] > -0.05) & (rays[..., 1] < 0.2), 1, np.inf).astype(np.float32)
    assert np.isnan(laser_scan(board, CAMERA, pose(), Scan(3, 20, below=0.3, thickness=0.1))[0]).all()
    assert np.isposinf(laser_scan(np.full((H, W), np.inf), CAMERA, pose(), Scan(3, 20, below=0.3))[0]).all()


@pytest.mark.parametrize("pitch", [90, -90])
def test_looking_straight_up_or_down(pitch):
    # Ahead is what would come into view next when the camera is raised, or lowered, to the horizon.
    c2w = pose(20, pitch, 0)
    depth = depth_of([floor(1.1), ([0, -1, 0], 1.1), wall(20, 0.3)], c2w)
    scan = Scan(3, 40, below=0.9 if pitch < 0 else -0.9)
    assert laser_scan(depth, CAMERA, c2w, scan)[0][1] == pytest.approx(0.3, abs=0.01)


@pytest.mark.parametrize("roll", [90, 180, -90])
def test_a_camera_on_its_side_or_head(roll):
    walls = [wall(0, 3), wall(90, 1.2), wall(-90, 2)]
    ranges, first, increment = laser_scan(depth_of(walls, pose(0, 0, roll)), CAMERA, pose(0, 0, roll), Scan(25, 48))
    assert np.allclose(ranges, truth(walls, angles(first, increment, ranges), 0.0), rtol=1e-2)


def test_what_it_refuses():
    for arguments, message in (
        ({"rays": 1}, "at least 2"),
        ({"rays": 2.5}, "whole number"),
        ({"rays": "90"}, "whole number"),
        ({"fov_deg": 0}, r"\(0, 360\]"),
        ({"fov_deg": 400}, "Leave it out"),
        ({"range_min": 0}, "0 < range_min < range_max"),
        ({"range_min": 3, "range_max": 2}, "got 3 and 2"),
        ({"range_max": math.inf}, "range_max must be a finite number"),
        ({"thickness": 0}, "thickness must be positive"),
        ({"below": math.nan}, "below must be a finite number"),
        ({"below": "0.2"}, "below must be a finite number"),
    ):
        with pytest.raises(ValueError, match=message):
            Scan(**arguments)
    assert Scan(rays=90.0) == Scan() and hash(Scan()) == hash(Scan(range_max=10))
    for depth, camera, c2w in (
        (np.ones(4), CAMERA, np.eye(4)),
        (np.ones((0, 4)), CAMERA, np.eye(4)),
        (np.ones((4, 4)), np.eye(3), np.eye(4)),
        (np.ones((4, 4)), CAMERA, np.eye(3)),
    ):
        with pytest.raises(ValueError, match="a scan needs depth"):
            laser_scan(depth, camera, c2w, Scan())


# -- procedural scenes --------------------------------------------------------------------------------------


def flat_distances(scene, origin, ways, low, high):
    """Distances `(A,)` in the plan: along `ways (A, 2)` (x, z) to what reaches into heights low..high above the camera.

    Rays against rectangles, circles and ellipses, and nothing of the renderer.
    """
    solids = [part[0].double().numpy() for part in (scene.center, scene.half, scene.turn)]
    best = np.full(len(ways), np.inf)
    for number, (center, half, (cos, sin)) in enumerate(zip(*solids, strict=True)):
        height = origin[1] - center[1]  # of the centre above the camera
        if not scene.active[0, number] or height + half[1] < low or height - half[1] > high:
            continue
        # Into the solid's own axes, as `Scene.clearance` does.
        at = np.array([[cos, -sin], [sin, cos]]) @ (origin[[0, 2]] - center[[0, 2]])
        way = ways @ np.array([[cos, -sin], [sin, cos]]).T
        if number < NUM_BOXES:
            best = np.minimum(best, _rectangle(at, way, half[[0, 2]]))
            continue
        radii = half[[0, 2]].copy()
        if number >= NUM_BOXES + NUM_CYLINDERS:  # an ellipsoid: its widest section within the slab
            off = max(low - height, height - high, 0.0) if not low <= height <= high else 0.0
            radii *= math.sqrt(max(1 - (off / half[1]) ** 2, 0.0))
        best = np.minimum(best, _ellipse(at, way, radii))
    if not float(scene.open_air[0]):
        center, half = scene.shell_center[0].double().numpy(), scene.shell_half[0].double().numpy()
        with np.errstate(divide="ignore"):
            exits = (np.sign(ways) * half[[0, 2]] - (origin - center)[[0, 2]]) / ways
        best = np.minimum(best, np.where(ways == 0, np.inf, exits).min(1))
    return best


def _rectangle(at, way, half):
    with np.errstate(divide="ignore", invalid="ignore"):
        one, two = (-half - at) / way, (half - at) / way
    enter, leave = np.minimum(one, two).max(1), np.maximum(one, two).min(1)
    return np.where((enter <= leave) & (enter > 0), enter, np.inf)


def _ellipse(at, way, radii):
    if radii.min() <= 0:
        return np.full(len(way), np.inf)
    p, d = at / radii, way / radii
    a, b, c = (d**2).sum(1), d @ p, p @ p - 1
    inside = b**2 - a * c
    with np.errstate(invalid="ignore"):
        near = (-b - np.sqrt(inside)) / a
    return np.where((inside >= 0) & (near > 0), near, np.inf)


@pytest.mark.parametrize("family", FAMILIES)
def test_scans_of_scenes(family):
    height, width, scan = 128, 224, Scan(rays=101, thickness=0.3, range_max=12)
    told = right = 0
    for seed in range(8):
        _, camera, scene, c2w = first_frame(seed, height, width, families=[family])
        _, depth = render_scene(scene, c2w[None], camera, height, width)
        camera, c2w = camera.numpy(), c2w.double().numpy()
        ranges, first, increment = laser_scan(depth[0].numpy(), camera, c2w, scan)
        heading = math.atan2(-c2w[0, 2], c2w[2, 2])
        bounds = []
        for share in (-1, -0.5, 0, 0.5, 1):
            angle = angles(first, increment, ranges) + heading + share / camera[0]
            ways = np.stack([-np.sin(angle), np.cos(angle)], 1)
            # What barely reaches into the slab may fall between two rows of the picture.
            for grown in (0.04, -0.04):
                bounds.append(flat_distances(scene, c2w[:3, 3], ways, -0.15 - grown, 0.15 + grown))
        nearest, farthest = np.min(bounds, 0), np.max(bounds, 0)
        known = ~np.isnan(ranges)
        told += known.sum()
        fits = (ranges >= nearest * 0.995) & (ranges <= farthest * 1.005)
        right += (fits | (np.isposinf(ranges) & (farthest > 12 * 0.995)))[known].sum()
    assert told > 0.7 * 8 * 101, "the cameras of these scenes are almost level"
    assert right == told
