"""Baselines on worlds where a homography is the whole truth, and on true renders."""

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sanawm_env.evaluation.metrics.baselines import frozen, nearest_homography
from sanawm_env.evaluation.metrics.psnr import psnr
from sanawm_env.scenes import make_clips, render_scene, sample_scenes

HEIGHT, WIDTH = 48, 64
CAMERA = np.array([50.0, 52.0, 31.0, 25.0])
K = np.array([[50.0, 0, 31.0], [0, 52.0, 25.0], [0, 0, 1]])


def texture(points, seed=0):
    """A smooth coloured pattern at points (..., 2) of a plane, metres."""
    rng = np.random.default_rng(seed)
    waves, phases = rng.normal(0, 2.2, (3, 4, 2)), rng.uniform(0, 6, (3, 4))
    value = np.sin((points[..., None, None, :] * waves).sum(-1) + phases).mean(-1)
    return np.round(127.5 * (1 + value)).astype(np.uint8)


def plane_views(normal, offset, poses):
    """A painted plane n . X = d (camera 0) traced ray by ray: frames and depth of frame 0."""
    normal = np.asarray(normal) / np.linalg.norm(normal)
    across = np.linalg.svd(normal[None])[2][1:]
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(K).T
    frames, depths = [], []
    for pose in poses:
        away = rays @ pose[:3, :3].T
        reach = (offset - normal @ pose[:3, 3]) / (away @ normal)
        frames.append(texture((pose[:3, 3] + away * reach[..., None]) @ across.T))
        depths.append(reach)
    return np.stack(frames), depths[0]


def path(rotvec, shift, frames=4):
    poses = np.tile(np.eye(4), (frames, 1, 1))
    share = np.linspace(0, 1, frames)[:, None]
    poses[:, :3, :3] = Rotation.from_rotvec(share * rotvec).as_matrix()
    poses[:, :3, 3] = share * shift
    return poses


def inside(frames, by=8):
    return frames[..., by:-by, by:-by, :]


def test_frozen_holds_frame_0():
    image = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    held = frozen(image, 3)
    assert held.shape == (2, 3, 4, 5, 3) and all((held[:, i] == image).all() for i in range(3))
    with pytest.raises(ValueError, match="uint8"):
        frozen(image / 255, 3)


@pytest.mark.parametrize(
    ("normal", "offset", "name"),
    [((0, 0, 1), 4.0, "depth 4 m"), ((0.3, -0.2, 1), 3.0, "fit"), ((0, 1, 0.5), 1.5, "fit")],
)
def test_a_plane_is_drawn_exactly(normal, offset, name):
    poses = path([0.03, -0.05, 0.02], [0.3, -0.1, 0.25])
    truth, depth = plane_views(normal, offset, poses)
    warped = nearest_homography(truth[0], truth, poses, CAMERA, depth)
    assert np.array_equal(warped.frames[0], truth[0]) and warped.plane[0] == "frozen"
    assert (psnr(inside(truth[0], 16), inside(truth[1:], 16)) < 30.5).all()  # it does move
    assert (psnr(inside(warped.frames, 16), inside(truth, 16)) > 45).all()
    assert set(warped.plane[1:]) & {name, "fit", "floor"}


def test_planes_without_depth():
    poses = path([0.02, 0.04, 0], [0.2, 0, 0.3])
    truth, _ = plane_views((0, 0, 1), 4.0, poses)
    warped = nearest_homography(truth[0], truth, poses, CAMERA)
    assert warped.plane[1:] == ("depth 4 m",) * 3 and (psnr(inside(warped.frames), inside(truth)) > 40).all()
    # The ground 1.5 m below a camera that looks down by 30 degrees, told which way is up.
    down = np.array([0, np.cos(np.pi / 6), np.sin(np.pi / 6)])
    truth, _ = plane_views(down, 1.5, poses)
    warped = nearest_homography(truth[0], truth, poses, CAMERA, up=-3 * down)
    assert warped.plane[1:] == ("ground 1.5 m",) * 3 and (psnr(inside(warped.frames), inside(truth)) > 40).all()


def test_the_world_frame_and_the_moments_do_not_matter():
    poses = path([0.02, 0.04, 0], [0.2, 0, 0.3])
    truth, depth = plane_views((0.2, 0, 1), 3.0, poses)
    whole = nearest_homography(truth[0], truth, poses, CAMERA, depth)
    elsewhere = path([0.5, 1.0, -0.3], [3.0, 1.0, -2.0])[-1]
    some = nearest_homography(truth[0], truth[[0, 3]], (elsewhere @ poses)[[0, 3]], CAMERA, depth)
    assert np.abs(some.frames[1].astype(int) - whole.frames[3]).max() <= 1


def test_agrees_with_opencv():
    poses = path([0.02, -0.06, 0.01], [0, 0, 0], frames=2)
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    centred = K - [[0, 0, 0.5], [0, 0, 0.5], [0, 0, 0]]  # OpenCV's pixel centres are whole numbers
    matrix = centred @ poses[1, :3, :3].T @ np.linalg.inv(centred)
    theirs = cv2.warpPerspective(image, matrix, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE)
    ours = nearest_homography(image, np.stack([image, theirs]), poses, CAMERA)
    assert ours.plane[1] == "infinite"
    assert np.abs(ours.frames[1].astype(int) - theirs).mean() < 0.5  # both round positions to 1/32 px


def test_never_worse_than_frozen_and_best_of_its_set():
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 256, (5, HEIGHT, WIDTH, 3), dtype=np.uint8)
    poses = path([0.1, 0.2, 0], [0.5, 0, 1.0], frames=5)
    warped = nearest_homography(truth[0], truth, poses, CAMERA)
    assert (psnr(warped.frames, truth) >= psnr(frozen(truth[0], 5), truth)).all()
    still = nearest_homography(truth[0], np.stack([truth[0]] * 5), poses, CAMERA)
    assert still.plane == ("frozen",) * 5 and np.array_equal(still.frames, np.stack([truth[0]] * 5))


def test_a_large_turn_repeats_the_near_border():
    # Half a turn to the right and a bit less: everything in view lies behind frame 0, on its right.
    image = np.zeros((HEIGHT, WIDTH, 3), dtype=np.uint8)
    image[:, WIDTH // 2 :] = 200
    poses = path([0, np.deg2rad(140), 0], [0, 0, 0], frames=2)
    truth = np.stack([image, np.full_like(image, 200)])
    warped = nearest_homography(image, truth, poses, CAMERA)
    assert warped.plane[1] == "infinite" and (warped.frames[1] == 200).mean() > 0.9


@pytest.mark.filterwarnings("error")  # a division by zero on the plane itself
def test_a_camera_that_passes_a_plane():
    poses = path([0, 0, 0], [0, 0, 5.0], frames=6)  # through the planes at 1, 2 and 4 m
    truth, _ = plane_views((0, 0, 1), 8.0, poses)
    warped = nearest_homography(truth[0], truth, poses, CAMERA)
    assert warped.plane[-1] == "depth 8 m" and psnr(inside(warped.frames[-1]), inside(truth[-1])) > 35


def test_true_renders():
    seeds = [9_500_100, 9_500_101, 9_500_104]
    clips = make_clips(seeds, 9, HEIGHT, WIDTH)
    for i in range(len(seeds)):
        scene, camera, _ = sample_scenes(seeds[i : i + 1], HEIGHT, WIDTH)
        start = clips.c2w[i, 0].double().numpy()
        c2w = start @ path([0.02, 0.10, 0], [0, 0, 0], frames=3)
        truth = render_scene(scene, torch.from_numpy(c2w).float(), camera[0], HEIGHT, WIDTH)[0].numpy()
        turned = nearest_homography(truth[0], truth, c2w, camera[0].numpy(), clips.depth[i, 0].numpy())
        gain = psnr(inside(turned.frames), inside(truth)) - psnr(inside(truth[0]), inside(truth))
        assert (gain[1:] > 3).all(), gain  # a turn alone is a homography, whatever the scene


def test_sky_only():
    image = np.full((HEIGHT, WIDTH, 3), 90, dtype=np.uint8)
    image[: HEIGHT // 2] = 200
    depth = np.full((HEIGHT, WIDTH), np.inf)
    poses = path([0.1, 0, 0], [0, 0, 1.0], frames=2)
    truth = np.stack([image, np.roll(image, 5, axis=0)])
    assert nearest_homography(image, truth, poses, CAMERA, depth).frames.shape == truth.shape


def test_bad_input_is_refused():
    poses = path([0, 0.1, 0], [0, 0, 0.1], frames=2)
    video = np.zeros((2, HEIGHT, WIDTH, 3), dtype=np.uint8)
    with pytest.raises(ValueError, match="truth"):
        nearest_homography(video[0], video[:, :-1], poses, CAMERA)
    with pytest.raises(ValueError, match="2 frames need c2w"):
        nearest_homography(video[0], video, poses[:1], CAMERA)
    with pytest.raises(ValueError, match="orthonormal"):
        nearest_homography(video[0], video, poses * np.array([2, 2, 2, 1])[:, None], CAMERA)
    with pytest.raises(ValueError, match="focal"):
        nearest_homography(video[0], video, poses, [0, 50, 32, 24])
    with pytest.raises(ValueError, match="depth0"):
        nearest_homography(video[0], video, poses, CAMERA, np.zeros((HEIGHT, WIDTH)))
    with pytest.raises(ValueError, match="up"):
        nearest_homography(video[0], video, poses, CAMERA, up=(0, 0, 0))
