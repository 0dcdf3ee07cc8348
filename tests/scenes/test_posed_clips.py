import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import RigidTransform

from sanawm_env.scenes.posed_clips import PosedClip, is_clips, list_clips, prepare_clips, read_clip, write_clip

FRAMES = np.random.default_rng(0).integers(0, 255, (5, 24, 32, 3), dtype=np.uint8)


def a_clip(count=5, **changes):
    twists = np.random.default_rng(1).normal(0, 0.1, (count, 6))
    twists[0] = 0
    return replace(
        PosedClip(
            c2w=RigidTransform.from_exp_coords(twists).as_matrix(),
            intrinsics=np.tile(np.float32([30, 31, 16, 12]), (count, 1)),
            height=24,
            width=32,
            source="here",
        ),
        **changes,
    )


@settings(max_examples=5, deadline=None)
@given(count=st.integers(1, 5), metric=st.booleans(), with_depth=st.booleans())
def test_what_is_written_is_read_bit_for_bit(tmp_path_factory, count, metric, with_depth):
    ds = tmp_path_factory.mktemp("ds") / "clips.v1"
    depth = np.random.default_rng(2).uniform(1, 9, (count, 24, 32)).astype(np.float16) if with_depth else None
    clip = a_clip(count, metric=metric, caption="a corridor", figures={"scale": None})
    write_clip(prepare_clips(ds) / "a", clip, iter(FRAMES[:count]), depth)
    (found,) = list_clips(ds)
    assert found.name == "a" and found.metric == metric and found.caption == "a corridor"
    assert found.figures == {"scale": None} and len(found) == count
    assert np.array_equal(found.c2w, clip.c2w) and np.array_equal(found.intrinsics, clip.intrinsics)
    assert np.array_equal(np.stack(list(found.frames())), FRAMES[:count])
    assert (found.depth() is None) if depth is None else np.array_equal(found.depth(), depth)


def test_a_part_of_the_frames(tmp_path):
    clip = write_clip(tmp_path / "a", a_clip(), FRAMES)
    assert np.array_equal(np.stack(list(clip.frames(1, 3))), FRAMES[1:4])


def test_refused_clips_are_listed_on_demand_and_need_no_frames(tmp_path):
    place = prepare_clips(tmp_path / "ds")
    write_clip(place / "good", a_clip(), FRAMES)
    none = {"c2w": np.zeros((0, 4, 4)), "intrinsics": np.zeros((0, 4), np.float32)}
    write_clip(place / "bad", a_clip(verdict="refused", reasons=("it does not move: 0 cm",), **none))
    assert [clip.name for clip in list_clips(tmp_path / "ds")] == ["good"]
    assert [clip.name for clip in list_clips(tmp_path / "ds", accepted_only=False)] == ["bad", "good"]
    assert read_clip(place / "bad").reasons == ("it does not move: 0 cm",)
    with pytest.raises(ValueError, match="no video"):
        next(read_clip(place / "bad").frames())


@pytest.mark.parametrize(
    ("clip", "frames", "says"),
    [
        (a_clip(verdict="refused"), FRAMES, "refused with reasons"),
        (a_clip(reasons=("blurred",)), FRAMES, "refused with reasons"),
        (a_clip(), None, "needs frames"),
        (a_clip(), FRAMES[:4], "5 poses and 4 frames"),
        (a_clip(intrinsics=np.ones((4, 4), np.float32)), FRAMES, "a row for each pose"),
        (a_clip(c2w=a_clip().c2w[::-1].copy()), FRAMES, "relative to frame 0"),
        (a_clip(c2w=2 * a_clip().c2w), FRAMES, "frame 0"),
    ],
)
def test_what_does_not_fit_is_not_written(tmp_path, clip, frames, says):
    with pytest.raises(ValueError, match=says):
        write_clip(tmp_path / "a", clip, frames)
    assert not any(tmp_path.iterdir())


def test_a_failed_write_leaves_the_old_clip(tmp_path):
    write_clip(tmp_path / "a", a_clip(), FRAMES)
    with pytest.raises(ValueError):
        write_clip(tmp_path / "a", a_clip(), FRAMES[:3])
    assert len(read_clip(tmp_path / "a")) == 5 and [each.name for each in tmp_path.iterdir()] == ["a"]


def test_damage_is_named(tmp_path):
    place = prepare_clips(tmp_path)
    clip = write_clip(place / "a", a_clip(), FRAMES)
    clip.video.write_bytes(clip.video.read_bytes()[:500])
    with pytest.raises(ValueError, match=r"video\.mp4.*annotate it again"):
        list(clip.frames())
    (place / "a" / "camera.npz").write_bytes(b"PK")
    with pytest.raises(ValueError, match=r"camera\.npz"):
        read_clip(place / "a")
    (place / "a" / "clip.json").write_text("{")
    with pytest.raises(ValueError, match=r"clip\.json"):
        list_clips(tmp_path)


def test_other_folders_are_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="no dataset of posed clips"):
        prepare_clips(tmp_path)
    assert not is_clips(tmp_path)
    with pytest.raises(ValueError, match="sanawm annotate"):
        list_clips(tmp_path)


def test_a_newer_version_is_not_read(tmp_path):
    prepare_clips(tmp_path)
    (tmp_path / "dataset.json").write_text(json.dumps({"format": "sanawm-posed-clips", "version": 2}))
    with pytest.raises(ValueError, match="version 2"):
        list_clips(tmp_path)
