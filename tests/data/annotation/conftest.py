"""Videos of known truth: textured walls at several depths, and what `.ci/annotate` must not skip."""

import os
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from scipy.spatial.transform import RigidTransform

from sanawm_env.data.annotation.structure.tracks import track, work_size

SIZE = (192, 256)
LENS = np.array([210.0, 210.0, 128.0, 96.0])


@dataclass(frozen=True)
class Truth:
    frames: np.ndarray
    c2w: np.ndarray
    intrinsics: np.ndarray


def need(*modules):
    """Skip without a module, but not in the stage that is there for it."""
    for module in modules:
        if os.environ.get("REQUIRE_ANNOTATE"):
            __import__(module)
        else:
            pytest.importorskip(module)


def film(c2w, size=SIZE, lens=LENS, seed=0):
    """Frames `(F, H, W, 3)` of three walls at 2.5, 4 and 7 m and a floor at 1.2 m."""
    rng = np.random.default_rng(seed)
    height, width = size
    matrix = np.array([[lens[0], 0, lens[2] - 0.5], [0, lens[1], lens[3] - 0.5], [0, 0, 1]])
    walls = []
    # Of each wall: the corner of its picture, and the directions of a metre right and down in it.
    for corner, right, down, metres in (
        ((-9, -7, 7), (1, 0, 0), (0, 1, 0), (18, 14)),
        ((-6, 1.2, 9), (1, 0, 0), (0, 0, -1), (12, 9)),
        ((-4, -2, 4), (1, 0, 0), (0, 1, 0), (3.2, 3.2)),
        ((0.4, -0.5, 2.5), (1, 0, 0), (0, 1, 0), (1.5, 1.7)),
    ):
        cells = [max(round(8 * each), 4) for each in metres]
        picture = cv2.resize(
            rng.integers(0, 255, (cells[1], cells[0], 3), np.uint8), None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC
        )
        to_metres = np.diag([metres[0] / picture.shape[1], metres[1] / picture.shape[0], 1.0])
        walls.append((picture, np.stack([right, down, corner], 1).astype(float) @ to_metres))
    frames = []
    for pose in c2w:
        w2c = np.linalg.inv(pose)
        frame = np.zeros((height, width, 3), np.uint8)
        for picture, plane in walls:
            place = w2c[:3, :3] @ plane
            place[:, 2] += w2c[:3, 3]
            view = matrix @ place
            options = {"dsize": (width, height), "flags": cv2.INTER_AREA}
            inside = cv2.warpPerspective(np.full(picture.shape[:2], 255, np.uint8), view, (width, height))
            # What is behind the camera projects as well: only rays that meet the plane ahead count.
            pixels = np.stack(np.meshgrid(np.arange(width), np.arange(height)), -1).reshape(-1, 2)
            back = np.column_stack([pixels, np.ones(len(pixels))]) @ np.linalg.inv(view).T
            inside[(back[:, 2] <= 0).reshape(height, width)] = 0
            shown = cv2.warpPerspective(picture, view, **options)
            frame[inside > 128] = shown[inside > 128]
        frames.append(frame)
    return np.stack(frames)


def path(count, shift=(0.9, 0.05, 0.5), turn_deg=(3.0, 10.0, 0.0)):
    """`(count, 4, 4)` from the identity by a shift (m) and a turn, smoothly."""
    share = np.linspace(0, 1, count)[:, None]
    turns = np.deg2rad(np.asarray(turn_deg)) * share
    return RigidTransform.from_components(
        np.asarray(shift) * share + np.array([0, 0.05, 0]) * np.sin(4 * share),
        RigidTransform.from_exp_coords(np.hstack([turns, 0 * turns])).rotation,
    ).as_matrix()


@pytest.fixture(scope="session")
def moving():
    c2w = path(41)
    return Truth(film(c2w), c2w, LENS)


@pytest.fixture(scope="session")
def turning():
    c2w = path(25, (0, 0, 0), (4.0, 14.0, 2.0))
    c2w[:, :3, 3] = 0
    return Truth(film(c2w), c2w, LENS)


@pytest.fixture(scope="session")
def moving_tracks(moving):
    return track(moving.frames, work_size(*SIZE))


def save(path, frames, times=None, codec="libx264", pixels="yuv420p", options=None, rate=16, **context):
    """A video of frames `(F, H, W, 3)`, at given times (s) or 16 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=options or {"crf": "12", "preset": "ultrafast"})
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pixels
        stream.codec_context.time_base = Fraction(1, 480)
        for name, value in context.items():
            setattr(stream.codec_context, name, value)
        for index, rgb in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24").reformat(format=pixels)
            frame.pts = round((index / 16 if times is None else times[index]) * 480)
            frame.time_base = Fraction(1, 480)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
