"""The flow judge on pictures whose motion is known, and on true renders."""

import cv2
import numpy as np
import pytest
import torch

from sanawm_env.evaluation import MOTIONS, Command, commanded_path, draw_commands, has_direction, motion_score
from sanawm_env.scenes import first_frame, render_scene

HEIGHT, WIDTH = 128, 224
CENTRE = (WIDTH / 2, HEIGHT / 2)


def picture(seed=0):
    """Smooth random texture, larger than a frame."""
    rng = np.random.default_rng(seed)
    image = cv2.GaussianBlur(rng.uniform(0, 255, (256, 448, 3)), (0, 0), 4)
    return ((image - image.min()) / np.ptp(image) * 255).astype(np.uint8)


def moved(image, right=0.0, down=0.0, scale=1.0, frames=9):
    """Frames whose content moves by (right, down) pixels and grows by `scale` per frame, about the centre."""
    out = []
    for k in range(frames):
        s = scale**k
        about = np.array([448 / 2, 256 / 2])
        shift = np.array([k * right, k * down]) + np.array([WIDTH / 2, HEIGHT / 2])
        matrix = np.array([[s, 0, shift[0] - s * about[0]], [0, s, shift[1] - s * about[1]]])
        out.append(cv2.warpAffine(image, matrix, (WIDTH, HEIGHT), flags=cv2.INTER_CUBIC))
    return np.stack(out)


@pytest.mark.parametrize("speed", [-1.6, -0.3, 0.3, 1.6])
def test_shifts_are_measured_in_pixels_per_frame(speed):
    # Yaw right moves the content left, pitch up moves it down.
    assert motion_score(moved(picture(), right=-speed), "yaw", CENTRE) == pytest.approx(speed, abs=0.1)
    assert motion_score(moved(picture(), down=speed), "pitch", CENTRE) == pytest.approx(speed, abs=0.1)


@pytest.mark.parametrize("sign", [-1, 1])
def test_zoom_is_forward(sign):
    score = motion_score(moved(picture(), scale=1.01**sign), "forward", CENTRE)
    assert has_direction(score, sign) and not has_direction(score, -sign)


def test_other_motions_are_nearly_invisible():
    pan, zoom = moved(picture(), right=1.6), moved(picture(), scale=1.01)
    assert abs(motion_score(pan, "pitch", CENTRE)) < 0.05
    assert abs(motion_score(pan, "forward", CENTRE)) < 0.3
    assert abs(motion_score(zoom, "yaw", CENTRE)) < 0.3 and abs(motion_score(zoom, "pitch", CENTRE)) < 0.3


def test_zoom_about_another_principal_point():
    # The content moves away from the left border: expansion seen from there, and a pan to the right.
    video = moved(picture(), right=1.0, scale=1.01)
    assert has_direction(motion_score(video, "forward", (10.0, HEIGHT / 2)), 1)


@pytest.mark.parametrize("motion", MOTIONS)
def test_standing_still_is_no_direction(motion):
    still = moved(picture())
    plain = np.full((3, HEIGHT, WIDTH, 3), 80, dtype=np.uint8)
    for video in (still, plain):
        score = motion_score(video, motion, CENTRE)
        assert not has_direction(score, 1) and not has_direction(score, -1)


def test_plain_areas_do_not_count():
    video = moved(picture(), right=-1.0)
    video[:, :, 60:] = 90  # three quarters of the picture are a wall without texture
    assert has_direction(motion_score(video, "yaw", CENTRE), 1)


@pytest.mark.parametrize("seed", [9_500_000, 9_500_004, 9_500_008])
@pytest.mark.parametrize("blur", [0, 3])
def test_true_renders(seed, blur):
    image, camera, scene, pose = first_frame(seed, HEIGHT, WIDTH)
    for command in draw_commands(seed):
        path = commanded_path(pose.double().numpy(), command, 8)
        frames = render_scene(scene, torch.from_numpy(path).float(), camera, HEIGHT, WIDTH)[0].numpy()
        assert np.array_equal(frames[0], image)
        if blur:
            frames = np.stack([frames[0], *(cv2.GaussianBlur(f, (0, 0), blur) for f in frames[1:])])
        score = motion_score(frames, command.motion, tuple(camera[2:].tolist()))
        assert has_direction(score, command.sign), (command, score)


def test_small_frames_and_short_videos():
    video = moved(picture(), right=-1.0)[:, 32:96, 50:162]
    assert has_direction(motion_score(video, "yaw", (56, 32)), 1)
    assert has_direction(motion_score(video[:2, :32, :48], "yaw", (24, 16)), 1)


def test_bad_input_is_refused():
    video = moved(picture(), frames=2)
    for bad in (video[:1], video.astype(float), video[..., 0]):
        with pytest.raises(ValueError, match="F >= 2"):
            motion_score(bad, "yaw", CENTRE)
    with pytest.raises(ValueError, match="too small"):
        motion_score(video[:, :20], "yaw", CENTRE)
    with pytest.raises(ValueError, match="gap"):
        motion_score(video, "yaw", CENTRE, gap=0)
    with pytest.raises(ValueError, match="yaw, pitch or forward"):
        motion_score(video, "strafe", CENTRE)


def test_commanded_paths_go_where_they_say():
    start = np.eye(4)
    right = commanded_path(start, Command("yaw", 1), 16)
    assert right.shape == (17, 4, 4) and np.array_equal(right[0], start)
    assert right[-1, 0, 2] == pytest.approx(np.sin(np.deg2rad(9.6)))  # forward axis turned to +x
    up = commanded_path(start, Command("pitch", 1), 16)
    assert up[-1, 1, 2] == pytest.approx(-np.sin(np.deg2rad(9.6)))  # y points down
    back = commanded_path(start, Command("forward", -1), 16)
    assert back[-1, :3, 3] == pytest.approx([0, 0, -0.4])


def test_signs_are_random_and_reproducible():
    signs = np.array([[command.sign for command in draw_commands(seed)] for seed in range(400)])
    assert (np.abs(signs.mean(0)) < 0.2).all()
    assert np.abs(np.corrcoef(signs.T) - np.eye(3)).max() < 0.2
    assert draw_commands(7) == draw_commands(7)


def test_blocked_ways():
    drawn = draw_commands(7)[2]
    turned = draw_commands(7, lambda command: command.sign != drawn.sign or command.motion != "forward")[2]
    assert (turned.sign, turned.free, turned.drawn) == (-drawn.sign, True, False)
    stuck = draw_commands(7, lambda command: command.motion != "forward")[2]
    assert (stuck.sign, stuck.free, stuck.drawn) == (drawn.sign, False, True)
