"""Our own bench: free paths that come back, the same from the same seeds, resumed as if never stopped."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sanawm_env.evaluation.bench import SPLITS, BenchError, make, make_bench, read_bench, true_frames
from sanawm_env.scenes import EVAL_SEEDS, FAMILIES, sample_scenes
from sanawm_env.scenes.paths import CLEARANCE, SPEED, draw_path

SMALL = {"scenes": 3, "frames": 161, "height": 32, "width": 56}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    return make_bench(tmp_path_factory.mktemp("bench") / "ours", **SMALL)


def content(root):
    return {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def rates(c2w):
    moved = np.linalg.norm(np.diff(c2w[:, :3, 3], axis=0), axis=1)
    turned = Rotation.from_matrix(c2w[:-1, :3, :3].swapaxes(1, 2) @ c2w[1:, :3, :3]).magnitude()
    return moved, turned


@pytest.mark.parametrize("split", SPLITS)
def test_paths_are_free_smooth_and_come_back(bench, split):
    scenes = read_bench(bench, split)
    assert [scene.scene_type for scene in scenes] == list(FAMILIES)
    for scene in scenes:
        assert scene.num_frames == 161 and scene.fps == 16 and scene.seed in EVAL_SEEDS
        world, _, _ = sample_scenes([scene.seed], 32, 56, families=[scene.scene_type])
        assert world.clearance(torch.from_numpy(scene.c2w[None, :, :3, 3]).float()).min() > CLEARANCE - 0.02
        moved, turned = rates(scene.c2w)
        assert moved.max() <= SPEED[make._DIFFICULTY[split]][0] * 1.02
        assert turned.max() <= SPEED[make._DIFFICULTY[split]][1] * 1.15  # yaw and pitch together
        assert moved.sum() > 0.1 or turned.sum() > 0.2
        np.testing.assert_allclose(scene.c2w[-1], scene.c2w[0], atol=1e-5)
        assert scene.pairs and len(scene.pairs) <= make.PAIRS
        scores = [pair.quality_score for pair in scene.pairs]
        assert scores == sorted(scores, reverse=True)
        for pair in scene.pairs:
            a, b = scene.c2w[pair.frame_a], scene.c2w[pair.frame_b]
            assert np.linalg.norm(a[:3, 3] - b[:3, 3]) < 0.5
            assert np.rad2deg(Rotation.from_matrix(a[:3, :3].T @ b[:3, :3]).magnitude()) < 20
            assert pair.frame_b - pair.frame_a >= 161 / 4


def test_splits_share_first_frames_and_hard_is_harder(bench):
    simple, hard = (read_bench(bench, split) for split in SPLITS)
    for one, other in zip(simple, hard, strict=True):
        assert one.image_path == other.image_path and one.seed == other.seed
        np.testing.assert_allclose(one.c2w[0], other.c2w[0], atol=1e-6)
        np.testing.assert_array_equal(one.intrinsics, other.intrinsics)
    assert sum(rates(s.c2w)[0].sum() for s in hard) > sum(rates(s.c2w)[0].sum() for s in simple)


def test_truth_is_rendered_from_the_seed(bench):
    for scene in read_bench(bench, "hard_60s"):
        rgb, depth = true_frames(scene, [0, 80])
        assert rgb.shape == (2, 32, 56, 3) and depth.shape == (2, 32, 56)
        # float32 poses may move an edge by a hair
        assert (np.abs(rgb[0].astype(int) - scene.image()) > 2).mean() < 0.01
        assert np.abs(rgb[1].astype(int) - rgb[0]).mean() > 1
        assert true_frames(scene, [5], height=64, width=112)[0].shape == (1, 64, 112, 3)
    with pytest.raises(IndexError, match=r"frames 0\.\.160"):
        true_frames(scene, [161])


def test_without_a_seed_there_is_no_truth(bench):
    scene = read_bench(bench, "hard_60s")[0]
    object.__setattr__(scene, "seed", None)
    with pytest.raises(BenchError, match="no seed"):
        true_frames(scene, [0])


def test_an_interrupted_run_goes_on_to_the_same_bench(bench, tmp_path, monkeypatch):
    out, real, seen = tmp_path / "again", make.write_scene, []

    def stop(*args):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(args[2])
        real(*args)

    monkeypatch.setattr(make, "write_scene", stop)
    with pytest.raises(KeyboardInterrupt):
        make_bench(out, **SMALL)
    with pytest.raises(BenchError, match=r"is no folder|is missing"):
        read_bench(out, "simple_60s")
    monkeypatch.setattr(make, "write_scene", real)
    done = []
    make_bench(out, **SMALL, progress=done.append)
    assert content(out) == content(bench)
    assert done == ["room_001", "maze_001", "outdoor_001"]


def test_a_whole_bench_is_not_drawn_again(bench, monkeypatch):
    monkeypatch.setattr(make, "write_scene", None)
    before = content(bench)
    make_bench(bench, **SMALL)
    assert content(bench) == before


def test_other_folders_are_left_alone(bench, tmp_path):
    with pytest.raises(BenchError, match="belongs to another bench"):
        make_bench(bench, **SMALL | {"frames": 33})
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(BenchError, match="not empty"):
        make_bench(tmp_path, **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("change", [{"scenes": 0}, {"frames": 1}, {"fps": 0.0}, {"height": 8}, {"first_seed": 5}])
def test_numbers_out_of_range(tmp_path, change):
    with pytest.raises(ValueError, match=r"needs scenes|must lie in"):
        make_bench(tmp_path / "x", **SMALL | change)
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("difficulty", ["simple", "hard"])
def test_a_camera_with_no_room_turns_on_the_spot(difficulty):
    start = np.eye(4)
    start[:3, 3] = [1.0, -1.5, 2.0]
    cramped = lambda points: np.where(np.linalg.norm(points - start[:3, 3], axis=1) < 1e-6, 0.4, 0.0)  # noqa: E731
    path = draw_path(np.random.default_rng(0), start, cramped, difficulty, 481, 16.0)
    np.testing.assert_allclose(path[:, :3, 3], np.broadcast_to(start[:3, 3], (481, 3)), atol=1e-9)
    assert rates(path)[1].sum() > 0.5
