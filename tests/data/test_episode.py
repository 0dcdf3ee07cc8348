import numpy as np
import pytest

from sanawm_env.data import Episode, VideoFile
from sanawm_env.data.episode import all_frames
from sanawm_env.video import write_video


def clip(count: int = 6) -> np.ndarray:
    return np.full((count, 16, 32, 3), (np.arange(count) * 40).astype(np.uint8)[:, None, None, None])


def test_a_part_of_a_video_is_read_as_often_as_asked(tmp_path):
    write_video(tmp_path / "a.mp4", clip())
    part = VideoFile(tmp_path / "a.mp4", 2, 3)
    first, again = np.concatenate(list(part)), np.concatenate(list(part))
    assert np.array_equal(first, again) and first.shape == (3, 16, 32, 3)
    assert np.abs(first[:, 8, 8, 0].astype(int) - [80, 120, 160]).max() <= 3


def test_a_video_that_ends_too_early_is_told(tmp_path):
    write_video(tmp_path / "a.mp4", clip())
    with pytest.raises(ValueError, match="ends after 6 of 9 frames"):
        list(VideoFile(tmp_path / "a.mp4", 2, 7))
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(ValueError, match="no readable video"):
        list(VideoFile(tmp_path / "b.mp4"))


def test_parts_of_an_episode_fit_together():
    poses, camera = np.tile(np.eye(4), (6, 1, 1)), np.array([30.0, 30, 16, 8])
    one = Episode([clip()[:4], clip()[4:]], poses, camera, (16, 32), name="a")
    assert len(one) == 6 and one.seconds == 5 / 16
    assert np.array_equal(all_frames(one), clip())
    with pytest.raises(ValueError, match="6 poses and 4 frames"):
        all_frames(Episode([clip(4)], poses, camera, (16, 32)))
    with pytest.raises(ValueError, match="needs a reward"):
        Episode([], poses, camera, (16, 32), actions=np.zeros((1, 6), np.float32), frames_per_step=5)
    with pytest.raises(ValueError, match="make 5 frames"):
        Episode([], poses, camera, (16, 32), actions=np.zeros((1, 6)), rewards=np.zeros(1), frames_per_step=4)
    with pytest.raises(ValueError, match="intrinsics"):
        Episode([], poses, camera[:3], (16, 32))
