import numpy as np
import pytest

from sanawm_env.data import VideoFile
from sanawm_env.data.storage.encode import CODECS, ClipWriter


def pictures(count=40, height=64, width=96, seed=0):
    """A moving crop of coloured blocks."""
    rng = np.random.default_rng(seed)
    canvas = rng.integers(0, 256, (height // 4 + 8, width // 4 + 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([canvas[i : i + height, i // 2 : i // 2 + width] for i in range(count)])


def psnr(a, b):
    return 10 * np.log10(255**2 / np.mean((a.astype(float) - b) ** 2))


def decoded(path):
    return np.concatenate(list(VideoFile(path)))


def test_rgb_loses_no_bit_and_444_less_than_420(tmp_path):
    frames = pictures()
    for codec in CODECS:
        with ClipWriter(tmp_path / f"{codec}.mp4", 16, codec) as clip:
            clip.write(frames[:13])
            clip.write(frames[13:])
        assert clip.frames == len(frames)
    assert (decoded(tmp_path / "rgb.mp4") == frames).all()
    full, halved = (psnr(decoded(tmp_path / f"{codec}.mp4"), frames) for codec in ("h264-444", "h264"))
    assert full > 36 and full > halved + 4


@pytest.mark.parametrize("codec", CODECS)
def test_the_rate_is_constant_and_begins_at_zero(tmp_path, codec):
    import av

    with ClipWriter(tmp_path / "v.mp4", 16, codec) as clip:
        clip.write(pictures(33))
    with av.open(str(tmp_path / "v.mp4")) as container:
        frames = list(container.decode(video=0))
        assert [frame.time for frame in frames] == [i / 16 for i in range(33)]
        keys = [i for i, frame in enumerate(frames) if frame.key_frame]
        assert keys[0] == 0 and max(np.diff([*keys, 33])) <= 16


@pytest.mark.parametrize("codec", CODECS)
def test_equal_frames_give_equal_files_however_they_are_cut(tmp_path, codec):
    frames = pictures()
    for name, step in (("a", 40), ("b", 7)):
        with ClipWriter(tmp_path / f"{name}.mp4", 16, codec) as clip:
            for begin in range(0, 40, step):
                clip.write(frames[begin : begin + step])
        (tmp_path / f"{name}.json").write_text(str(clip.stats), encoding="utf-8")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_statistics_are_those_of_every_eighth_frame(tmp_path):
    frames = pictures(20)
    with ClipWriter(tmp_path / "v.mp4") as clip:
        clip.write(frames)
    seen = frames[::8].reshape(-1, 3) / 255
    stats = {name: np.array(value) for name, value in clip.stats.items()}
    assert stats["count"] == [3] and stats["mean"].shape == (3, 1, 1)
    np.testing.assert_allclose(stats["mean"].ravel(), seen.mean(0), atol=1e-9)
    np.testing.assert_allclose(stats["std"].ravel(), seen.std(0), atol=1e-9)
    np.testing.assert_array_equal(stats["min"].ravel(), seen.min(0))
    np.testing.assert_array_equal(stats["max"].ravel(), seen.max(0))
    for name in ("q01", "q10", "q50", "q90", "q99"):
        exact = np.quantile(seen, int(name[1:]) / 100, axis=0, method="inverted_cdf")
        np.testing.assert_allclose(stats[name].ravel(), exact, atol=1 / 255)


def test_an_error_leaves_nothing_behind(tmp_path):
    with pytest.raises(RuntimeError), ClipWriter(tmp_path / "new" / "v.mp4") as clip:
        clip.write(pictures(20))
        raise RuntimeError
    clip = ClipWriter(tmp_path / "new" / "v.mp4")
    clip.write(pictures(20))
    assert not (tmp_path / "new" / "v.mp4").exists()
    clip.discard()
    assert not list((tmp_path / "new").iterdir())


def test_odd_sides_are_kept_or_refused(tmp_path):
    frames = pictures(4)[:, :33, :47]
    with ClipWriter(tmp_path / "rgb.mp4", codec="rgb") as clip:
        clip.write(frames)
    assert (decoded(tmp_path / "rgb.mp4") == frames).all()
    with ClipWriter(tmp_path / "full.mp4") as clip:
        clip.write(frames)
    assert decoded(tmp_path / "full.mp4").shape == frames.shape
    with pytest.raises(ValueError, match="even sides"), ClipWriter(tmp_path / "half.mp4", codec="h264") as clip:
        clip.write(frames)


def test_unknown_codecs_and_bad_frames_are_refused(tmp_path):
    with pytest.raises(ValueError, match="h264-444"):
        ClipWriter(tmp_path / "v.mp4", codec="av1")
    with ClipWriter(tmp_path / "v.mp4") as clip:
        for bad in (np.zeros((2, 8, 8, 3), np.float32), np.zeros(4, np.uint8)):
            with pytest.raises(ValueError, match="uint8 RGB"):
                clip.write(bad)
        with pytest.raises(ValueError, match="no frames"):
            clip.stats  # noqa: B018
        clip.write(pictures(1))
