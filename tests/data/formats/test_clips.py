"""Posed clips as a dataset format."""

from dataclasses import replace

import numpy as np
import pytest

from sanawm_env.data.formats import clips
from sanawm_env.scenes.posed_clips import PosedClip, list_clips, prepare_clips, write_clip


def test_what_is_written_is_read(episodes, same, tmp_path):
    clips.write(tmp_path / "ds", episodes[:3])
    assert clips.detect(tmp_path / "ds") and clips.check(tmp_path / "ds") == []
    found = {episode.name: episode for episode in clips.read(tmp_path / "ds")}
    for episode in episodes[:3]:
        same(found[episode.name], episode, depth=0.01)
    clips.write(tmp_path / "ds", episodes[3:], mode="append")
    assert {each.name for each in clips.read(tmp_path / "ds")} == {each.name for each in episodes}
    assert sorted(each.name for each in (tmp_path / "ds").iterdir()) == ["clips", "dataset.json"]
    with pytest.raises(FileExistsError):
        clips.write(tmp_path / "ds", episodes)
    with pytest.raises(ValueError, match="option"):
        clips.write(tmp_path / "other", episodes, codec="rgb")


def test_a_failed_append_leaves_the_dataset(episodes, tmp_path):
    clips.write(tmp_path / "ds", episodes[:1])
    short = replace(episodes[1], frames=[next(iter(episodes[1].frames))])
    with pytest.raises(ValueError, match="poses and 2 frames"):
        clips.write(tmp_path / "ds", [episodes[2], short], mode="append")
    assert len(list_clips(tmp_path / "ds")) == 1
    assert sorted(each.name for each in (tmp_path / "ds").iterdir()) == ["clips", "dataset.json"]


def test_clips_that_are_no_episodes(episodes, tmp_path):
    place = prepare_clips(tmp_path)
    frames = np.concatenate(list(episodes[0].frames))
    lens = np.tile(np.float32([50, 50, 32, 24]), (len(frames), 1))
    clip = PosedClip(episodes[0].c2w, lens, 48, 64)
    write_clip(place / "a", clip, frames)
    with pytest.raises(ValueError, match="--camera-height"):
        list(clips.read(tmp_path))
    refused = replace(clip, verdict="refused", reasons=("too dark",))
    write_clip(place / "a", refused)
    assert list(clips.read(tmp_path)) == []
    (problem,) = clips.check(tmp_path)
    assert not problem.fatal and "too dark" in problem.what
    zooming = lens * np.linspace(1, 1.2, len(lens), dtype=np.float32)[:, None]
    write_clip(place / "a", replace(clip, metric=True, intrinsics=zooming), frames)
    assert "one lens" in clips.check(tmp_path)[0].what
