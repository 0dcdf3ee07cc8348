"""A bench from end to end: made, run, resumed, scored, and what is wrong with it said before anything runs."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from sanawm_env.cli.main import main
from sanawm_env.evaluation.bench import BenchError, ResultFolder, make_bench, read_bench
from sanawm_env.evaluation.bench.run import generate, read_video, score
from sanawm_env.video import write_video
from sanawm_env.world.model import WorldModel

FRAMES = 169  # a little over one 10 s window


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return make_bench(tmp_path_factory.mktemp("bench") / "small", scenes=2, frames=FRAMES, height=64, width=112)


@pytest.fixture(scope="module")
def scored(bench, tmp_path_factory):
    """The command's JSON, and the results folder."""
    out = tmp_path_factory.mktemp("results")
    world, scenes = WorldModel.untrained(), read_bench(bench, "simple_60s")
    results = ResultFolder(out / "mine")
    done = generate(world, scenes, results)
    return scenes, results, done, score(scenes, results)


def test_videos_have_the_paths_length_and_begin_with_the_image(scored):
    scenes, results, done, _ = scored
    assert done == [scene.id for scene in scenes]
    for scene in scenes:
        frames, fps = read_video(results.video("simple_60s", scene.id))
        assert frames.shape == (FRAMES, 64, 112, 3) and fps == 16
        # Lossy video, but it is that image.
        assert np.abs(frames[0].astype(int) - scene.image()).mean() < 8


def test_scores_are_on_disk_in_the_benchs_files(scored):
    scenes, results, _, summary = scored
    assert results.read_scores("simple_60s", "summary") == json.loads(json.dumps(summary))
    poses = json.loads(results.poses("simple_60s").read_text())
    assert set(poses) == {scene.id for scene in scenes} and all("RotErr" in row for row in poses.values())
    assert summary["camera"]["paths"] == 2
    decay = results.read_scores("simple_60s", "temporal_degradation")
    assert all(len(row["windows"]) == 1 for row in decay["scenes"].values())


def test_a_second_run_makes_only_what_is_missing(scored):
    scenes, results, _, _ = scored
    gone = results.video("simple_60s", scenes[1].id)
    before, _ = read_video(gone)
    gone.unlink()
    with pytest.raises(BenchError, match="1 of 2 videos are missing"):
        score(scenes, results)
    assert generate(WorldModel.untrained(), scenes, results) == [scenes[1].id]
    again = read_video(gone)[0]
    np.testing.assert_array_equal(again, before, "the same noise, the same video")
    assert np.abs(again.astype(int) - before[::-1]).mean() > 2, "which is not just any"


def test_a_true_render_scores_near_zero_error(bench, tmp_path):
    """The scores tell a perfect world from noise: the estimator's own error is small on the truth."""
    from sanawm_env.evaluation.bench import true_frames

    scene = read_bench(bench, "simple_60s")[0]
    results = ResultFolder(tmp_path)
    path = results.video("simple_60s", scene.id)
    path.parent.mkdir(parents=True)
    write_video(path, true_frames(scene)[0], 16, crf=8)
    summary = score([scene], results)
    assert summary["camera"]["paths_failed"] == 0
    assert summary["camera"]["rot_err_deg"] < 3
    assert summary["degradation"]["collapsed"] == 0


def test_a_refined_video_lacks_frame_0(bench, scored, tmp_path):
    """With a `refiner` in `method_info.json` the image stands in for frame 0, and frame k stays frame k."""
    scenes, mine, _, _ = scored
    results = ResultFolder(tmp_path)
    results.write_info({"refiner": "ltx2"})
    path = results.video("simple_60s", scenes[0].id)
    path.parent.mkdir(parents=True)
    write_video(path, read_video(mine.video("simple_60s", scenes[0].id))[0][1:], 16, crf=0)
    refined = score([scenes[0]], results)
    whole = mine.read_scores("simple_60s", "revisit_consistency")["scenes"][scenes[0].id]
    assert refined["revisit"]["pairs"] == whole["pairs"] > 0
    assert refined["revisit"]["psnr"] == pytest.approx(whole["mean_psnr_db"], abs=1.0)


def test_broken_and_short_videos_are_named(bench, tmp_path):
    scene = read_bench(bench, "simple_60s")[0]
    results = ResultFolder(tmp_path)
    path = results.video("simple_60s", scene.id)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no video")
    with pytest.raises(BenchError, match="no readable video"):
        score([scene], results)
    path.unlink()
    write_video(path, np.zeros((20, 64, 112, 3), np.uint8), 16)
    with pytest.raises(BenchError, match="less than 10 s"):
        score([scene], results)


def test_the_command_makes_and_refuses(tmp_path, capsys):
    main(["bench", "make", "--out", str(tmp_path / "b"), "--scenes", "1", "--frames", "20"])
    assert "1 scenes" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["bench", "run", "--bench", str(tmp_path / "nowhere")])
    assert "nowhere" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["bench", "run", "--bench", str(tmp_path / "b"), "--limit", "0"])
    assert "--limit" in capsys.readouterr().err


@pytest.fixture
def short(tmp_path):
    """Scenes of a bench of nine frames, and results of one world on the first scene."""
    scenes = read_bench(make_bench(tmp_path / "short", scenes=2, frames=9, height=64, width=112), "simple_60s")
    results = ResultFolder(tmp_path / "results" / "mine")
    assert generate(WorldModel.untrained(), scenes[:1], results) == [scenes[0].id]
    return scenes, results


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_videos_of_another_world_are_not_taken_for_this_ones(short):
    scenes, results = short
    before = contents(results.root)
    with pytest.raises(BenchError, match="another checkpoint"):
        generate(WorldModel.untrained(seed=1), scenes, results)
    with pytest.raises(BenchError, match="another sigmas"):
        generate(WorldModel.untrained(), scenes, results, sigmas=(1.0, 0.0))
    with pytest.raises(BenchError, match="another chunk_frames"):
        generate(WorldModel.untrained(), scenes, results, chunk_frames=1)
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        with pytest.raises(BenchError, match="another threads"):
            generate(WorldModel.untrained(), scenes, results)
    finally:
        torch.set_num_threads(threads)
    assert contents(results.root) == before
    assert generate(WorldModel.untrained(), scenes, results) == [scenes[1].id]


def test_videos_of_another_bench_are_not_taken_for_this_ones(short, tmp_path):
    scenes, results = short
    other = make_bench(tmp_path / "other", scenes=2, frames=9, height=64, width=112, first_seed=26_000_000)
    with pytest.raises(BenchError, match="another bench"):
        generate(WorldModel.untrained(), read_bench(other, "simple_60s"), results)
    both = replace(scenes[0], prompt="something else"), scenes[1]
    with pytest.raises(BenchError, match="another bench"):
        generate(WorldModel.untrained(), both, results)


def test_videos_that_nobody_vouches_for_are_not_signed(short):
    scenes, results = short
    info = results.root / "method_info.json"
    for text in ('{"refiner": "other"}', None):
        info.write_text(text) if text else info.unlink()
        with pytest.raises(BenchError, match="another method"):
            generate(WorldModel.untrained(), scenes, results)


def test_an_interrupted_run_goes_on(short, monkeypatch):
    """What the videos come from is on disk before the first of them."""
    scenes, results = short
    for path in results.root.rglob("*.mp4"):
        path.unlink()

    def stopped(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("sanawm_env.evaluation.bench.run.rollout_chunks", stopped)
        generate(WorldModel.untrained(seed=1), scenes, results)
    assert len(generate(WorldModel.untrained(seed=1), scenes, results)) == 2
