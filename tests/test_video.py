import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sanawm_env import video
from sanawm_env.video import Encoding, VideoWriter, read_video, tile, write_video


def read(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
        return np.stack(frames), float(stream.average_rate), stream.codec_context.name


def clip(frames, height=32, width=48, value=128):
    return np.full((frames, height, width, 3), value, np.uint8)


def test_frames_rate_and_colours_survive(tmp_path):
    colours = np.array([[200, 40, 30], [20, 180, 60], [250, 250, 250], [0, 0, 0]], np.uint8)
    frames = np.repeat(np.repeat(colours[:, None, None], 64, 1), 96, 2)
    write_video(tmp_path / "v.mp4", frames, fps=16, crf=10)
    back, rate, codec = read(tmp_path / "v.mp4")
    assert back.shape == frames.shape and rate == 16 and codec == "h264"
    assert np.abs(back.astype(int) - frames).mean() < 6


def test_single_frames_and_chunks_mix(tmp_path):
    with VideoWriter(tmp_path / "v.mp4", fps=4 / 3) as video:
        video.write(clip(1)[0])
        video.write(clip(11))
    back, rate, _ = read(tmp_path / "v.mp4")
    assert len(back) == video.frames == 12
    assert rate == pytest.approx(4 / 3, rel=1e-3)


def test_odd_sides_grow_by_one(tmp_path):
    write_video(tmp_path / "v.mp4", clip(2, 33, 47))
    assert read(tmp_path / "v.mp4")[0].shape == (2, 34, 48, 3)


def test_a_failed_run_leaves_the_old_video_and_nothing_else(tmp_path):
    path = tmp_path / "v.mp4"
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError), VideoWriter(path) as video:
        video.write(clip(20))
        raise RuntimeError
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_without_frames_nothing_is_written(tmp_path):
    with VideoWriter(tmp_path / "v.mp4"):
        pass
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"path": "v.avi"}, ValueError, ".mp4"),
        ({"path": "folder.mp4"}, ValueError, "is a folder"),
        ({"path": "none/v.mp4"}, FileNotFoundError, "create it"),
        ({"path": "v.mp4", "fps": 0}, ValueError, "fps"),
        ({"path": "v.mp4", "crf": 60}, ValueError, "crf"),
    ],
)
def test_bad_arguments(tmp_path, arguments, error, says):
    (tmp_path / "folder.mp4").mkdir()
    arguments = arguments | {"path": tmp_path / arguments["path"]}
    with pytest.raises(error, match=says):
        VideoWriter(**arguments)


@pytest.mark.parametrize("frames", [clip(1).astype(np.float32), clip(1)[..., 0], clip(0), clip(1, 16)])
def test_bad_frames_are_refused_and_the_video_goes_on(tmp_path, frames):
    with VideoWriter(tmp_path / "v.mp4") as video:
        video.write(clip(1))
        with pytest.raises(ValueError, match=r"frames|size"):
            video.write(frames)
        video.write(clip(1))
    assert len(read(Path(video.path))[0]) == 2


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 4), min_size=1, max_size=7), st.integers(0, 3), st.none() | st.integers(1, 4))
def test_tile_puts_every_clip_in_its_place(lengths, gap, columns):
    clips = [clip(n, 4, 6, 10 + i) for i, n in enumerate(lengths)]
    grid = tile(clips, columns, gap=gap)
    columns = columns or int(np.ceil(np.sqrt(len(clips))))
    rows = -(-len(clips) // columns)
    assert grid.shape == (max(lengths), rows * (4 + gap) - gap, columns * (6 + gap) - gap, 3)
    for i in range(len(clips)):
        top, left = i // columns * (4 + gap), i % columns * (6 + gap)
        assert (grid[:, top : top + 4, left : left + 6] == 10 + i).all()


def test_tile_refuses_clips_of_different_sizes():
    with pytest.raises(ValueError, match="one frame size"):
        tile([clip(1), clip(1, 16)])
    with pytest.raises(ValueError, match="one frame size"):
        tile([])


def test_equal_frames_give_equal_files(tmp_path):
    """Also beside another encoder: scores of videos are compared to the last digit."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (20, 40, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    frames = np.stack([picture[i // 2 : i // 2 + 96, i : i + 128] for i in range(100)])
    for name in ("a.mp4", "b.mp4"):
        with VideoWriter(tmp_path / "other.mp4") as other, VideoWriter(tmp_path / name) as video:
            for begin in range(0, 100, 25):
                other.write(frames[::-1][: 25 + 10 * (name == "b.mp4")])
                video.write(frames[begin : begin + 25])
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_equal_rollouts_give_equal_files(tmp_path):
    """A world's threads at work between two chunks changed what x264 made of the same frames."""
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    for name in "abc":
        command = [sys.executable, "-m", "sanawm_env.cli", "rollout", "-c", "tiny", "--actions", "w-60,d-30"]
        subprocess.run([*command, "--out", str(tmp_path / f"{name}.mp4")], env=env, check=True, timeout=120)
    assert len({(tmp_path / f"{name}.mp4").read_bytes() for name in "abc"}) == 1


def test_the_number_of_cores_does_not_change_the_file(tmp_path):
    """x264 takes 1.5 threads per core of its own accord, and the threads decide about the bits."""
    code = (
        "import os, sys; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))} if sys.argv[2] == '1' else "
        "os.sched_getaffinity(0))\n"
        "import numpy as np; from sanawm_env.video import write_video\n"
        "p = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)\n"
        "write_video(sys.argv[1], np.stack([p[i:i + 96, i:i + 128] for i in range(60)]))"
    )
    for name, cores in (("a", "1"), ("b", "all")):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / f"{name}.mp4"), cores], check=True, timeout=120)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def noisy(count):
    """Edges that move, and noise: where x264 has to choose among many ways that cost nearly the same."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 250, (8, 14, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return np.stack([np.roll(base, i, 1) + rng.integers(0, 6, base.shape, dtype=np.uint8) for i in range(count)])


FULL_COLOUR = Encoding("libx264", "yuv444p", {"g": "16"})


@pytest.mark.parametrize("encoding", [None, FULL_COLOUR])
def test_the_processor_does_not_change_the_file(tmp_path, monkeypatch, encoding):
    """Without its assembly x264 makes what it makes on a processor of another kind."""
    for name, more in (("a.mp4", ""), ("b.mp4", ":asm=0")):
        monkeypatch.setattr(video, "_REPEATABLE", video._REPEATABLE + more)
        with VideoWriter(tmp_path / name, encoding=encoding) as writer:
            writer.write(noisy(20))
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_busy_processes_do_not_change_the_file(tmp_path):
    """Of fourteen encodings on a processor with AVX-512 some used to differ."""
    frames, found = noisy(49), set()
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(3)]
    try:
        for _ in range(14):
            with VideoWriter(tmp_path / "v.mp4", encoding=FULL_COLOUR) as writer:
                writer.write(frames)
            found.add((tmp_path / "v.mp4").read_bytes())
    finally:
        for other in others:
            other.kill()
            other.wait()
    assert len(found) == 1


def test_cleaning_up_hides_no_error(tmp_path, monkeypatch):
    with pytest.raises(RuntimeError, match="the first"), VideoWriter(tmp_path / "v.mp4") as video:
        video.write(clip(20))
        for file in tmp_path.iterdir():  # as a clean-up of others would
            file.unlink()
        raise RuntimeError("the first")
    assert not list(tmp_path.iterdir())


def test_after_finish_the_file_waits_for_close(tmp_path):
    with VideoWriter(tmp_path / "v.mp4") as video:
        video.write(clip(4))
        video.finish()
        assert not (tmp_path / "v.mp4").exists()
        with pytest.raises(ValueError, match="finished"):
            video.write(clip(1))
    assert len(read_video(tmp_path / "v.mp4")[0]) == 4


def test_unreadable_videos_are_named(tmp_path):
    (tmp_path / "v.mp4").write_bytes(b"no video")
    for name in ("v.mp4", "none.mp4"):
        with pytest.raises(ValueError, match=name):
            read_video(tmp_path / name)
