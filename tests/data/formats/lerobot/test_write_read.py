import dataclasses
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from sanawm_env.data import VideoFile
from sanawm_env.data.episode import all_frames
from sanawm_env.data.formats import detect, lerobot
from sanawm_env.data.formats.registry import FormatModule
from sanawm_env.data.storage.encode import CODECS


def tree(root):
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def same(a, b, exact=True):
    frames = all_frames(a), all_frames(b)
    if exact:
        np.testing.assert_array_equal(*frames)
    else:
        error = np.mean((frames[0].astype(float) - frames[1]) ** 2)
        assert 10 * np.log10(255**2 / error) > 36
    np.testing.assert_array_equal(a.c2w, b.c2w)
    np.testing.assert_array_equal(a.intrinsics, b.intrinsics)
    np.testing.assert_array_equal(a.actions, b.actions)
    np.testing.assert_array_equal(a.rewards, b.rewards)
    assert a.entries.keys() == b.entries.keys()
    for name in a.entries:
        np.testing.assert_array_equal(a.entries[name], b.entries[name])
    for name in ("size", "fps", "frames_per_step", "terminated", "truncated", "success", "text", "measures"):
        assert getattr(a, name) == getattr(b, name), name
    assert json.dumps(a.recipe) == json.dumps(b.recipe)  # a pair of numbers comes back as a list


@pytest.mark.parametrize("codec", ["rgb", "h264-444"])
def test_what_is_written_is_read(tmp_path, make_episode, codec):
    episodes = [make_episode(seed, steps=2 + seed) for seed in range(3)]
    lerobot.write(tmp_path / "ds", episodes, codec=codec)
    assert detect(tmp_path / "ds").name == "lerobot"
    back = list(lerobot.read(tmp_path / "ds"))
    assert len(back) == 3
    for a, b in zip(episodes, back, strict=True):
        same(a, b, exact=codec == "rgb")
    assert lerobot.check(tmp_path / "ds") == []


def test_the_module_is_what_the_registry_asks_for():
    module: FormatModule = lerobot
    for name in ("detect", "read", "write", "check"):
        assert callable(getattr(module, name))


def test_what_others_made_of_it_is_read_from_the_rows(tmp_path, make_episode):
    """Without our folder, as after lerobot's own tools."""
    episodes = [make_episode(seed, steps=2 + seed) for seed in range(2)]
    lerobot.write(tmp_path / "ds", episodes, codec="rgb")
    shutil.rmtree(tmp_path / "ds" / "sanawm")
    back = list(lerobot.read(tmp_path / "ds"))
    for a, b in zip(episodes, back, strict=True):
        # Rewards are float32 in the rows, and how it ended is not told.
        np.testing.assert_allclose(a.rewards, b.rewards, rtol=1e-6)
        kept = {name: getattr(a, name) for name in ("rewards", "terminated", "measures", "recipe")}
        same(a, dataclasses.replace(b, **kept))
    assert lerobot.check(tmp_path / "ds") == []


def test_rows_hold_actions_for_their_step_and_end_at_rest(tmp_path, make_episode):
    episode = make_episode(0, steps=2, every=4)
    lerobot.write(tmp_path / "ds", [episode])
    rows = pq.read_table(tmp_path / "ds" / "data" / "chunk-000" / "file-000.parquet")
    actions = np.array(rows["action"].to_pylist(), np.float32)
    np.testing.assert_array_equal(actions, [*[episode.actions[0]] * 4, *[episode.actions[1]] * 4, np.zeros(6)])
    assert rows["decision"].to_pylist() == [i in (0, 4) for i in range(9)]
    assert rows["next.done"].to_pylist() == [i == 8 for i in range(9)]
    rewards = np.array(rows["next.reward"].to_pylist())
    np.testing.assert_allclose(rewards[[0, 4]], episode.rewards, rtol=1e-6)
    assert not rewards[[1, 2, 3, 5, 6, 7, 8]].any()
    assert rows["timestamp"].to_pylist() == [i / 16 for i in range(9)]


def test_data_without_steps_has_a_camera_only(tmp_path, make_episode):
    episode = make_episode(0, steps=0)
    lerobot.write(tmp_path / "ds", [episode], codec="rgb")
    info = json.loads((tmp_path / "ds" / "meta" / "info.json").read_text())
    assert "action" not in info["features"] and info["total_frames"] == 20
    (back,) = lerobot.read(tmp_path / "ds")
    same(episode, back)
    assert not lerobot.check(tmp_path / "ds")


def test_appending_adds_and_keeps_what_was_there(tmp_path, make_episode):
    ds = tmp_path / "ds"
    lerobot.write(ds, [make_episode(0)], codec="rgb")
    before = tree(ds / "videos")
    lerobot.write(ds, [make_episode(1), make_episode(2)], mode="append")
    back = list(lerobot.read(ds))
    for seed, episode in enumerate(back):
        same(make_episode(seed), episode)
    assert before.items() <= tree(ds / "videos").items() and len(list((ds / "videos").rglob("*.mp4"))) == 3
    assert lerobot.check(ds) == []
    with pytest.raises(FileExistsError, match="append"):
        lerobot.write(ds, [make_episode(3)])
    with pytest.raises(ValueError, match="codec"):
        lerobot.write(ds, [make_episode(3)], mode="append", codec="h264")


def failing(episode):
    yield episode
    raise RuntimeError("the second one")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"world": "small"}, "another world"),
        ({"world": None}, "another world"),
        ({"fps": 20.0}, "its world makes 16"),
        ({"every": 4}, None),
        ({"size": (32, 32)}, "one of each"),
        ({"actions": np.zeros((3, 7), np.float32)}, "action"),
        ({"steps": 0, "world": None, "recipe": None}, "another world"),
    ],
)
def test_episodes_that_do_not_fit_are_refused_and_nothing_changes(tmp_path, make_episode, changes, says):
    ds = tmp_path / "ds"
    lerobot.write(ds, [make_episode(0)])
    before = tree(ds)
    odd = make_episode(1, **changes)
    if says is None:
        lerobot.write(ds, [odd], mode="append")
        assert lerobot.check(ds) == []
        return
    with pytest.raises(ValueError, match=says):
        lerobot.write(ds, [make_episode(2), odd], mode="append")
    assert tree(ds) == before
    with pytest.raises(ValueError, match=says):
        lerobot.write(tmp_path / "new", [make_episode(0), odd])
    assert list(tmp_path.iterdir()) == [ds]


def test_mixed_worlds_can_be_allowed(tmp_path, make_episode):
    episodes = [make_episode(0), make_episode(1, world="small")]
    lerobot.write(tmp_path / "ds", episodes, allow_mixed=True)
    (problem,) = lerobot.check(tmp_path / "ds")
    assert "2 worlds" in problem.what and not problem.fatal
    info = json.loads((tmp_path / "ds" / "meta" / "info.json").read_text())
    assert [world["name"] for world in info["sanawm"]["checkpoints"]] == ["small", "tiny"]


@pytest.mark.parametrize("cut", ["pieces", "file"])
def test_an_episode_cut_mid_video_is_refused(tmp_path, make_episode, cut):
    whole = make_episode(0)
    frames = [all_frames(whole)[:-1]]
    if cut == "file":
        lerobot.write(tmp_path / "other", [whole])
        (video,) = (tmp_path / "other").rglob("*.mp4")
        content = video.read_bytes()
        video.write_bytes(content[: len(content) * 2 // 3])
        frames = VideoFile(video, count=len(whole))
    with pytest.raises(ValueError, match=r"cut|ends after|readable"):
        lerobot.write(tmp_path / "ds", [make_episode(2), dataclasses.replace(whole, frames=frames)])
    assert not (tmp_path / "ds").exists()


def test_a_source_that_fails_leaves_nothing(tmp_path, make_episode):
    with pytest.raises(RuntimeError):
        lerobot.write(tmp_path / "ds", failing(make_episode(0)))
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="no episodes"):
        lerobot.write(tmp_path / "ds", [])


def test_pictures_of_recipes_are_copied_in(tmp_path, make_episode):
    picture = tmp_path / "elsewhere" / "kitchen ü.png"
    picture.parent.mkdir()
    picture.write_bytes(b"a picture")
    episode = make_episode(0)
    recipe = {**episode.recipe, "image": {"file": str(picture), "sha256": "0"}}
    lerobot.write(tmp_path / "a", [dataclasses.replace(episode, recipe=recipe)])
    lerobot.write(tmp_path / "b", lerobot.read(tmp_path / "a"))
    shutil.rmtree(tmp_path / "a")
    shutil.rmtree(picture.parent)
    values = json.loads((tmp_path / "b" / "sanawm" / "episodes" / "000000.json").read_text())
    file = values["recipe"]["image"]["file"]
    assert file.startswith("sanawm/images/") and (tmp_path / "b" / file).read_bytes() == b"a picture"
    assert lerobot.check(tmp_path / "b") == []
    (back,) = lerobot.read(tmp_path / "b")
    recipe = {**back.recipe, "image": {"file": "nowhere.png", "sha256": "0"}}
    with pytest.raises(ValueError, match=r"nowhere\.png"):
        lerobot.write(tmp_path / "c", [dataclasses.replace(back, recipe=recipe)])


def test_depth_lies_beside_it(tmp_path, make_episode):
    rng = np.random.default_rng(0)
    depth = rng.uniform(0.3, 9, (25, 64, 96)).astype(np.float32)
    with_depth, without = make_episode(0, depth=[depth[:7], depth[7:]]), make_episode(1)
    lerobot.write(tmp_path / "ds", [with_depth, without])
    a, b = lerobot.read(tmp_path / "ds")
    assert b.depth is None and lerobot.check(tmp_path / "ds") == []
    for _ in range(2):
        np.testing.assert_array_equal(np.concatenate(list(a.depth)), depth)
    before = tree(tmp_path / "ds")
    for wrong, says in ((depth[:-1], "24 depth maps for 25"), (depth[:, :-1], "one size")):
        with pytest.raises(ValueError, match=says):
            lerobot.write(tmp_path / "ds", [make_episode(2, depth=[wrong])], mode="append")
    assert tree(tmp_path / "ds") == before
    (tmp_path / "ds" / "sanawm" / "depth" / "000000.npz").write_bytes(b"cut")
    with pytest.raises(ValueError, match="fetch it again"):
        list(a.depth)


def test_names_with_spaces_and_other_letters(tmp_path, make_episode):
    ds = tmp_path / "mein Datensatz ß"
    episode = make_episode(0, name="Küche / 1", text="geh zur Tür")
    lerobot.write(ds, [episode])
    (back,) = lerobot.read(ds)
    assert (back.name, back.text) == ("Küche / 1", "geh zur Tür") and lerobot.check(ds) == []


def test_other_datasets_need_a_camera_and_this_layout(tmp_path, make_episode):
    ds = tmp_path / "ds"
    lerobot.write(ds, [make_episode(0)])
    shutil.rmtree(ds / "sanawm")
    file = ds / "meta" / "info.json"
    info = json.loads(file.read_text())
    file.write_text(json.dumps({**info, "codebase_version": "v2.1"}))
    with pytest.raises(ValueError, match="convert"):
        list(lerobot.read(ds))
    features = {name: what for name, what in info["features"].items() if name != "observation.intrinsics"}
    file.write_text(json.dumps({**info, "features": features}))
    with pytest.raises(ValueError, match="where its camera was"):
        list(lerobot.read(ds))
    with pytest.raises(ValueError, match="something else"):
        lerobot.write(ds, [make_episode(0)], mode="append")
    file.write_text("{")
    with pytest.raises(ValueError, match="cannot be read"):
        list(lerobot.read(ds))


def test_known_codecs_all_read_as_declared(tmp_path, make_episode):
    import av

    for codec in CODECS:
        lerobot.write(tmp_path / codec, [make_episode(0)], codec=codec)
        info = json.loads((tmp_path / codec / "meta" / "info.json").read_text())
        (video,) = (tmp_path / codec).rglob("*.mp4")
        with av.open(str(video)) as container:
            told = info["features"]["observation.images.main"]["info"]
            assert told["video.pix_fmt"] == container.streams.video[0].codec_context.pix_fmt
