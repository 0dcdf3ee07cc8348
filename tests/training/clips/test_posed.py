"""Which posed clips are trained on, and what becomes of their frames and cameras."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from sanawm_env.scenes.posed_clips import PosedClip, list_clips, prepare_clips
from sanawm_env.training.clips.posed import PosedClips, PosedConfig, camera_of, fit_clip, held_out


def opened(dataset, frames=9, height=32, width=64, depth=False, **changes):
    return PosedConfig(data=dataset, **changes).open(height, width, frames, seed=0, depth=depth)


def names(clips: PosedClips) -> set[str]:
    return {clip.name for clip in clips.clips}


def test_a_clip_that_only_turns_needs_no_unit(tmp_path, write):
    turns = np.tile(np.eye(4), (17, 1, 1))
    turns[:, :3, :3] = Rotation.from_rotvec(np.linspace([0, 0, 0], [0, 0.3, 0], 17)).as_matrix()
    write(prepare_clips(tmp_path) / "turns", 1, metric=False, c2w=turns)
    assert names(opened(tmp_path)) == {"turns"}
    with pytest.raises(ValueError, match="without metric scale, which depth needs"):
        opened(tmp_path, depth=True)


def test_only_clips_that_can_be_used_are(dataset, capsys):
    good = {"good-0", "good-1", "good-2"}
    assert names(opened(dataset)) == good | {"no-depth"}
    said = capsys.readouterr().err
    for reason in ("held out", "shorter than 9", "16 frames/s", "--any-scale", "zoom"):
        assert f"1 {reason}" in said or f"1 not of {reason}" in said or reason in said
    assert names(opened(dataset, any_scale=True)) == good | {"no-depth", "no-scale"}
    assert names(opened(dataset, depth=True)) == good
    assert names(opened(dataset, depth=True, any_scale=True)) == good, "depth has no meaning without metres"
    with pytest.raises(ValueError, match=r"no clip of .* can be trained on: .*8 shorter than 100 frames"):
        opened(dataset, frames=100)
    assert PosedConfig().open(32, 64, 9, seed=0) is None
    with pytest.raises(ValueError, match="data_weight"):
        PosedConfig(data_weight=0)


def test_others_are_held_out_by_their_names(tmp_path):
    clips = [PosedClip(np.eye(4)[None], np.ones((1, 4)), 8, 8, folder=tmp_path / f"clip-{i}") for i in range(500)]
    share = np.mean([held_out(clip) for clip in clips])
    assert 0.05 < share < 0.15
    assert [held_out(clip) for clip in clips[::-1]] == [held_out(clip) for clip in clips][::-1]


@pytest.mark.parametrize(("height", "width"), [(32, 64), (40, 96), (64, 64)])
def test_frames_and_camera_are_fitted_together(dataset, height, width):
    clip = list_clips(dataset)[0]
    frames, camera = fit_clip(clip, height, width, 2, 3), camera_of(clip, height, width)
    assert frames.shape == (3, height, width, 3) and frames.dtype == np.uint8
    whole = np.stack(list(clip.frames()))[2:5]
    # A direction in the middle of the picture has the same colour before and after, whatever was cut away.
    (before, after), ray = (clip.intrinsics[0], camera), np.array([0.2, -0.1])
    x0, y0 = ray * before[:2] + before[2:]
    x1, y1 = ray * after[:2] + after[2:]
    patch = whole[:, int(y0) - 3 : int(y0) + 4, int(x0) - 3 : int(x0) + 4].mean((1, 2))
    size = max(1, round(3 * after[0] / before[0]))
    fitted = frames[:, int(y1) - size : int(y1) + size + 1, int(x1) - size : int(x1) + size + 1].mean((1, 2))
    assert np.abs(patch - fitted).max() < 12


def test_every_clip_comes_before_one_comes_again_and_shares_are_kept(dataset):
    clips = opened(dataset, data_weight=0.25)
    assert len({clips.next().name for _ in range(4)}) == 4
    assert sum(clips.turn() for _ in range(400)) == 100
    pick = clips.take(3)
    assert pick.rgb.shape == (3, 9, 32, 64, 3) and pick.c2w.shape == (3, 9, 4, 4) and pick.intrinsics.shape == (3, 4)


def test_views_have_depth_of_the_same_moment(dataset):
    clips = opened(dataset, height=40, width=96, depth=True)
    rgb, depth, intrinsics = clips.views(2, 3)
    assert rgb.shape == (6, 40, 96, 3) and depth.shape == (6, 40, 96) and intrinsics.shape == (6, 4)
    whole = {clip.name: (np.stack(list(clip.frames())), clip.depth()) for clip in clips.clips}
    for image, metres in zip(rgb.numpy(), depth.numpy(), strict=True):
        assert any(
            np.array_equal(image, frame) and np.array_equal(metres, z.astype(np.float32))
            for frames, depths in whole.values()
            for frame, z in zip(frames, depths, strict=True)
        )


def test_depth_with_holes_is_refused(dataset, monkeypatch):
    clips = opened(dataset, depth=True)
    monkeypatch.setattr(PosedClip, "depth", lambda clip: np.zeros((len(clip), clip.height, clip.width), np.float16))
    with pytest.raises(ValueError, match="has holes"):
        clips.views(1, 2)


def test_a_folder_that_is_no_dataset(tmp_path):
    (tmp_path / "dataset.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(ValueError, match="no dataset of posed clips"):
        opened(tmp_path)
