"""Every encoding of a camera's image, and what is no image."""

import io

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("rosbags")

from sanawm_env.bridges.ros2.bags.pictures import depth, is_depth, pixels

from tests.bridges.ros2.bags import robots

RGB = robots.picture(3)
ALPHA = np.full((*RGB.shape[:2], 1), 9, np.uint8)


@pytest.mark.parametrize("pad", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "stored"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("8UC3", RGB[..., ::-1]),
        ("rgba8", np.concatenate([RGB, ALPHA], -1)),
        ("bgra8", np.concatenate([RGB[..., ::-1], ALPHA], -1)),
    ],
)
def test_colours(encoding, stored, pad):
    message = robots.image(stored, encoding, 0, pad=pad)
    assert np.array_equal(pixels(message), RGB) and not is_depth(message)


@pytest.mark.parametrize("encoding", ["mono8", "8UC1"])
def test_grey(encoding):
    found = pixels(robots.image(RGB[..., :1], encoding, 0, pad=3))
    assert found.shape == RGB.shape and all(np.array_equal(found[..., k], RGB[..., 0]) for k in range(3))


def test_compressed():
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "png")
    assert np.array_equal(pixels(robots.compressed(buffer.getvalue(), "rgb8; png compressed bgr8", 0)), RGB)
    buffer = io.BytesIO()
    Image.fromarray(RGB).save(buffer, "jpeg", quality=95)
    assert np.abs(pixels(robots.compressed(buffer.getvalue(), "jpeg", 0)).astype(int) - RGB).mean() < 4


def test_depth():
    metres = np.linspace(0.2, 5, RGB[..., 0].size, dtype=np.float32).reshape(RGB.shape[:2])
    message = robots.image(metres, "32FC1", 0, pad=4)
    assert is_depth(message) and np.array_equal(depth(message), metres)
    message.is_bigendian = 1
    message.data = robots.image(metres.astype(">f4"), "32FC1", 0, pad=4).data
    assert np.array_equal(depth(message), metres)
    millimetres = (metres * 1000).astype(np.uint16)
    assert np.abs(depth(robots.image(millimetres, "16UC1", 0)) - metres).max() < 1.01e-3
    assert is_depth(robots.compressed(b"", "32FC1; compressedDepth png", 0))
    assert not is_depth(robots.compressed(b"", "rgb8; jpeg compressed bgr8", 0))


def test_refusals():
    with pytest.raises(ValueError, match="'bayer_rggb8' cannot be read; convert them to rgb8"):
        pixels(robots.image(RGB[..., 0], "bayer_rggb8", 0))
    with pytest.raises(ValueError, match="'h264' is no JPEG or PNG"):
        pixels(robots.compressed(b"\x00\x00\x01\x67", "h264", 0))
    message = robots.image(RGB, "rgb8", 0)
    message.data = message.data[:-1]
    with pytest.raises(ValueError, match="cut short"):
        pixels(message)
    with pytest.raises(ValueError, match="no encoding of depth"):
        depth(robots.image(RGB, "rgb8", 0))
