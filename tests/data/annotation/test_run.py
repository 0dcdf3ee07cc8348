import json
from dataclasses import replace

import numpy as np
import pytest

from sanawm_env.data.annotation import run
from sanawm_env.data.annotation.options import Options, output_size
from sanawm_env.data.annotation.run import annotate_episodes, annotate_videos
from sanawm_env.data.annotation.structure.agreement import apart
from sanawm_env.data.episode import Episode
from sanawm_env.scenes.posed_clips import list_clips, read_clip
from tests.data.annotation.conftest import LENS, SIZE, film, need, path, save

LENS4 = tuple(float(value) for value in LENS)


@pytest.fixture(scope="module")
def video(moving, tmp_path_factory):
    return save(tmp_path_factory.mktemp("videos") / "hall.mp4", moving.frames)


def test_a_video_becomes_a_clip_whose_path_is_right(video, moving, tmp_path):
    need("pycolmap", "scenedetect")
    ds = tmp_path / "ds"
    (clip,) = annotate_videos([video], ds, Options(intrinsics=LENS4, license="CC0", caption=lambda picture: "a hall"))
    assert clip.verdict == "accepted" and clip.license == "CC0" and clip.caption == "a hall"
    assert clip.figures["scale"] is None and not clip.metric
    found = apart(clip.c2w, moving.c2w)
    assert found.share < 0.01 and found.degrees < 0.3
    frames = np.stack(list(clip.frames()))
    assert frames.shape == moving.frames.shape
    assert np.abs(frames.mean(-1) - moving.frames.mean(-1)).mean() < 8  # brightness: the video has half the colours
    assert (ds / "report" / "hall-0000-points.jpg").is_file()
    # Once more: it is there, whole, and is not made again.
    before = (clip.folder / "clip.json").stat().st_mtime_ns
    (again,) = annotate_videos([video], ds, Options(intrinsics=LENS4))
    assert (again.folder / "clip.json").stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="begun with another intrinsics, fov"):
        annotate_videos([video], ds, Options(fov=60))
    assert [each.name for each in list_clips(ds)] == ["hall-0000"]


def test_intrinsics_follow_resize_and_crop(video, moving, tmp_path):
    need("pycolmap", "scenedetect")
    (clip,) = annotate_videos([video], tmp_path, Options(intrinsics=LENS4, size=(128, 128)))
    wanted = LENS * 128 / 192 - np.array([0, 0, (256 * 128 / 192 - 128) // 2, 0])
    assert (clip.height, clip.width) == (128, 128) and np.allclose(clip.intrinsics, wanted, atol=0.6)


def test_a_scale_makes_it_metric_or_refuses(video, moving, tmp_path):
    need("pycolmap", "scenedetect")
    from sanawm_env.data.annotation.scale import from_camera_height, from_distance

    metres = float(np.linalg.norm(moving.c2w[40, :3, 3]))
    (clip,) = annotate_videos([video], tmp_path / "a", Options(intrinsics=LENS4, scale=from_distance(0, 40, metres)))
    assert clip.metric and np.abs(clip.c2w[:, :3, 3] - moving.c2w[:, :3, 3]).max() < 0.03
    (clip,) = annotate_videos([video], tmp_path / "b", Options(intrinsics=LENS4, scale=from_distance(0, 99, 1.0)))
    assert clip.verdict == "refused" and "scale could not be found" in clip.reasons[0]
    (clip,) = annotate_videos([video], tmp_path / "c", Options(intrinsics=LENS4, scale=from_camera_height(1.2)))
    assert clip.verdict == "accepted" and clip.figures["scale"]["metres_per_unit"] > 0
    assert np.abs(clip.c2w[:, :3, 3] - moving.c2w[:, :3, 3]).max() < 0.1


def test_cuts_divide_and_short_shots_are_refused_together(moving, tmp_path):
    need("pycolmap", "scenedetect")
    pieces = [film(path(1), seed=seed).repeat(10, 0) for seed in range(1, 4)]
    flicker = save(tmp_path / "flicker.mp4", np.concatenate(pieces))
    tinted = (film(path(25), seed=9) * [0.2, 1.0, 0.2]).astype(np.uint8)
    two = save(tmp_path / "two.mp4", np.concatenate([moving.frames[:25], tinted]))
    done = annotate_videos([flicker, two], tmp_path / "ds", Options(intrinsics=LENS4))
    assert [clip.name for clip in done] == ["flicker-0000", "two-0000", "two-0001"]
    assert done[0].verdict == "refused" and "too short: 10 frames" in done[0].reasons[0]
    assert [clip.figures["first_frame"] for clip in done[1:]] == [0, 25]


def test_a_run_that_is_killed_goes_on(moving, tmp_path, monkeypatch):
    need("pycolmap", "scenedetect")
    video = save(tmp_path / "long.mp4", np.concatenate([moving.frames, moving.frames[::-1]]))
    options = Options(intrinsics=LENS4, clip_frames=41)
    real, calls = run.solve, []

    def dies(tracks, *rest):
        calls.append(len(tracks))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(tracks, *rest)

    monkeypatch.setattr(run, "solve", dies)
    with pytest.raises(KeyboardInterrupt):
        annotate_videos([video], tmp_path / "ds", options)
    assert [each.name for each in (tmp_path / "ds" / "clips").iterdir()] == ["long-0000"]
    done = annotate_videos([video], tmp_path / "ds", options)
    assert len(calls) == 3 and [clip.name for clip in done] == ["long-0000", "long-0001"]
    assert np.array_equal(next(done[1].frames()), np.stack(list(run.frames_of(run.open_source(video), SIZE)))[41])


def test_wrong_lenses_and_videos_are_told_before_anything_is_written(video, tmp_path):
    for options, says in (
        (Options(intrinsics=LENS4, fov=60), "not both"),
        (Options(intrinsics=(0.8, 0.8, 0.5, 0.5)), "normalised"),
    ):
        with pytest.raises(ValueError, match=says):
            annotate_videos([video], tmp_path / "ds", options)
    with pytest.raises(FileNotFoundError):
        annotate_videos([video, tmp_path / "no.mp4"], tmp_path / "ds", Options())
    assert not (tmp_path / "ds").exists()


def test_a_zoom_is_no_motion(tmp_path):
    need("pycolmap", "scenedetect")
    still = np.eye(4)[None]
    frames = [film(still, lens=LENS * [f, f, 1, 1])[0] for f in np.linspace(1, 1.5, 25)]
    video = save(tmp_path / "zoom.mp4", np.stack(frames))
    (clip,) = annotate_videos([video], tmp_path / "ds", Options(intrinsics=LENS4))
    assert clip.verdict == "refused" and "zoom" in " ".join(clip.reasons)


def test_a_crowd_is_no_scene(moving, tmp_path):
    need("pycolmap", "scenedetect")
    rng = np.random.default_rng(3)
    frames = moving.frames.copy()
    people = [
        (rng.integers(0, 255, (60, 40, 3), np.uint8), rng.uniform(0, 1, 2), rng.normal(0, 4, 2)) for _ in range(14)
    ]
    for number, frame in enumerate(frames):
        for picture, at, speed in people:
            x, y = ((at * [256, 192] + number * speed) % [216, 132]).astype(int)
            frame[y : y + 60, x : x + 40] = picture
    video = save(tmp_path / "crowd.mp4", frames)
    (clip,) = annotate_videos([video], tmp_path / "ds", Options(intrinsics=LENS4))
    assert clip.verdict == "refused" or apart(clip.c2w, moving.c2w).share < 0.03


def test_a_wrong_focal_length_is_told(video, tmp_path):
    need("pycolmap", "scenedetect")
    wrong = tuple(float(value) for value in LENS * [1.6, 1.6, 1, 1])
    (clip,) = annotate_videos([video], tmp_path / "ds", Options(intrinsics=wrong))
    assert clip.verdict == "refused"


def test_given_poses_are_checked_and_kept(moving, tmp_path):
    episode = Episode([moving.frames], moving.c2w, LENS, SIZE, name="walk", text="a hall")
    (clip,) = annotate_episodes([episode], tmp_path, Options(), metric=True, source="bag")
    assert clip.verdict == "accepted" and clip.metric and clip.caption == "a hall"
    assert np.array_equal(clip.c2w, moving.c2w) and np.allclose(clip.intrinsics, LENS)
    assert np.array_equal(np.stack(list(clip.frames())), moving.frames)
    bad = replace(episode, c2w=np.linalg.inv(moving.c2w), name="backwards")
    clips = list(annotate_episodes([episode, bad], tmp_path, Options(), metric=True, source="bag"))
    assert [each.verdict for each in clips] == ["accepted", "refused"]
    assert json.loads((tmp_path / "clips/backwards/clip.json").read_text())["figures"]["explained"]
    assert not read_clip(tmp_path / "clips/backwards").video


def test_slow_recordings_are_refused(moving, tmp_path):
    slow = Episode([moving.frames[::4]], moving.c2w[::4], LENS, SIZE, fps=4.0, name="slow")
    (clip,) = annotate_episodes([slow], tmp_path, Options(), metric=True, source="bag")
    assert clip.verdict == "refused" and any("4.0 frames a second" in reason for reason in clip.reasons)


def test_sizes():
    assert output_size(2160, 3840, None) == (720, 1280)
    assert output_size(1920, 1080, None) == (1280, 720)
    assert output_size(480, 640, (704, 1280)) == (704, 1280)
