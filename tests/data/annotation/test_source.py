import struct
import tracemalloc
from fractions import Fraction

import cv2
import numpy as np
import pytest

from sanawm_env.data.annotation.source import frames_of, open_source
from tests.data.annotation.conftest import save

BARS = np.zeros((24, 64, 96, 3), np.uint8)
for number in range(24):
    BARS[number, :, : 4 * number + 4] = 255
BARS[:, :16, :16] = (255, 0, 0)


def white(frames):
    """How many columns of the lowest row are white."""
    return [int((frame[-1, :, 1] > 128).sum()) for frame in frames]


def turned(path, clockwise):
    """Set the display matrix of an mp4's track, as a phone that is held upright does."""
    one = 1 << 16
    matrix = {90: (0, one, 0, -one, 0, 0, 0, 0, 1 << 30), 180: (-one, 0, 0, 0, -one, 0, 0, 0, 1 << 30)}[clockwise]
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    data[at : at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(data)


def test_plain_frames_come_through(tmp_path):
    source = open_source(save(tmp_path / "v.mp4", BARS))
    assert (source.height, source.width, source.fps) == (64, 96, 16)
    assert white(frames_of(source, (64, 96))) == white(BARS)
    assert source.notes == []


@pytest.mark.parametrize(
    ("codec", "pixels", "suffix"),
    [("libx265", "yuv420p10le", ".mp4"), ("libx264", "yuv422p", ".mp4"), ("ffv1", "yuv422p10le", ".mkv")],
)
def test_ten_bits_and_other_chroma(tmp_path, codec, pixels, suffix):
    options = {} if codec == "ffv1" else {"crf": "8", "preset": "ultrafast"}
    if codec == "libx265":
        options["x265-params"] = "log-level=none"
    source = open_source(save(tmp_path / f"v{suffix}", BARS, codec=codec, pixels=pixels, options=options))
    found = np.stack(list(frames_of(source, (64, 96))))
    assert found.dtype == np.uint8 and white(found) == white(BARS)
    assert np.abs(found.astype(int) - BARS).mean() < 4


@pytest.mark.parametrize(("clockwise", "size"), [(90, (96, 64)), (180, (64, 96))])
def test_rotation_flags_make_it_upright(tmp_path, clockwise, size):
    path = save(tmp_path / "v.mp4", BARS)
    turned(path, clockwise)
    source = open_source(path)
    assert (source.height, source.width) == size
    found = np.stack(list(frames_of(source, size)))
    upright = np.rot90(BARS, -clockwise // 90, axes=(1, 2))
    assert np.abs(found.astype(int) - upright).mean() < 6


def test_variable_rate_takes_the_nearest_frame(tmp_path):
    rng = np.random.default_rng(0)
    times = np.cumsum(rng.choice([1, 2, 3], 24)) / 30
    times -= times[0]
    source = open_source(save(tmp_path / "v.mkv", BARS, times))
    found = white(frames_of(source, (64, 96)))
    shown = [white(BARS).index(columns) for columns in found]
    assert len(found) >= int(times[-1] * 16) + 1
    for number, index in enumerate(shown):
        away = np.abs(times - number / 16)
        assert away[index] < away.min() + 0.003  # a container's clock has milliseconds


@pytest.mark.parametrize("rate", [8, 24, 30, 60])
def test_other_rates_keep_the_length(tmp_path, rate):
    frames = np.repeat(BARS[:12], 3, axis=0)
    source = open_source(save(tmp_path / "v.mp4", frames, np.arange(36) / rate, rate=rate))
    assert abs(len(list(frames_of(source, (64, 96)))) / 16 - 36 / rate) < 0.11


def test_pixels_that_are_not_square(tmp_path):
    source = open_source(save(tmp_path / "v.mkv", BARS, sample_aspect_ratio=Fraction(4, 3)))
    assert (source.height, source.width) == (64, 128)
    assert next(frames_of(source, (64, 128))).shape == (64, 128, 3)


def test_crop_is_from_the_middle(tmp_path):
    source = open_source(save(tmp_path / "v.mp4", BARS))
    found = next(frames_of(source, (64, 64)))
    assert found.shape == (64, 64, 3) and not (found[:16, :16, 0] > 200).all()  # the red corner has gone


@pytest.mark.parametrize(("curve", "name"), [(16, "PQ"), (18, "HLG")])
def test_high_dynamic_range_is_brought_to_a_screen(tmp_path, curve, name):
    ramp = np.repeat(np.linspace(0, 255, 96)[None, :, None], 64, 0).repeat(3, 2).astype(np.uint8)
    source = open_source(save(tmp_path / "v.mkv", np.stack([ramp] * 3), color_trc=curve))
    found = next(frames_of(source, (64, 96)))[32, :, 1].astype(int)
    assert source.hdr == name and "high dynamic range" in source.notes[0]
    assert (np.diff(found) >= -3).all() and found[0] < 10 and found[-1] > 200
    if name == "PQ":  # HLG is made to look right on a plain screen
        assert np.abs(found - ramp[32, :, 1]).max() > 20


def test_truncated_files_give_what_they_hold(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 96, 3), np.uint8)
    path = save(tmp_path / "v.mkv", noise, codec="mjpeg", pixels="yuvj420p", options={})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    source = open_source(path)
    assert 8 < len(list(frames_of(source, (64, 96)))) < 40
    assert any("cut off" in note for note in source.notes)


def test_what_is_no_video(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"not a video")
    with pytest.raises(ValueError, match="no readable video"):
        open_source(tmp_path / "v.mp4")
    with pytest.raises(FileNotFoundError, match="check the path"):
        open_source(tmp_path / "other.mp4")
    whole = save(tmp_path / "w.mp4", BARS).read_bytes()
    (tmp_path / "w.mp4").write_bytes(whole[: len(whole) // 2])  # an mp4's index is at its end
    with pytest.raises(ValueError, match="no readable video"):
        open_source(tmp_path / "w.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="no pictures"):
        open_source(tmp_path / "empty")


def test_pictures_of_a_folder(tmp_path):
    for number in range(6):
        cv2.imwrite(str(tmp_path / f"{number}.png"), BARS[number][..., ::-1])
    source = open_source(tmp_path, fps=8)
    found = np.stack(list(frames_of(source, (64, 96))))
    assert len(found) in (11, 12) and np.array_equal(found[0], BARS[0])


def test_memory_does_not_grow_with_length(tmp_path):
    source = open_source(save(tmp_path / "v.mp4", np.repeat(BARS, 5, axis=0)))
    tracemalloc.start()
    count = sum(1 for _ in frames_of(source, (64, 96)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 120 and peak < 30 * BARS[0].nbytes
