"""The bench's folders: written, read back, and broken in every way that a download can be."""

import json

import numpy as np
import pytest

from sanawm_env.evaluation.bench import SPLITS, BenchError, ResultFolder, read_bench, write_scene, write_split
from sanawm_env.evaluation.metrics.revisit import Pair
from sanawm_env.files import write_text

SPLIT, FRAMES = "hard_60s", 9
FOLDER = SPLITS[SPLIT]
NPZ = f"{FOLDER}/sanawm_export_v2/indoor_001.npz"
MANIFEST = f"{FOLDER}/sanawm_export_v2/run_manifest.jsonl"
PAIRS = [Pair(0, 4, 0.1, 5.0, 0.5), Pair(1, 8, 0.0, 0.0, 1.0)]


def path():
    c2w = np.tile(np.eye(4), (FRAMES, 1, 1))
    c2w[:, 0, 3] = np.arange(FRAMES) / 10
    return c2w


@pytest.fixture
def bench(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), dtype=np.uint8)
    rows = []
    for name in ("indoor_001", "indoor_002"):
        write_scene(tmp_path, SPLIT, name, path(), [40.0, 40.0, 24.0, 16.0], 16.0, image)
        rows.append({"id": name, "prompt": "A room.", "scene_type": "indoor"})
    write_split(tmp_path, SPLIT, rows, {"indoor_001": PAIRS, "indoor_002": []})
    write_text(tmp_path / "scene_set/kept_scenes.txt", "indoor_001\nindoor_002\n")
    return tmp_path


def rewrite(bench, **changes):
    with np.load(bench / NPZ) as old:
        np.savez(bench / NPZ, **({name: old[name] for name in old.files} | changes))


def edit_manifest(bench, change):
    rows = [json.loads(line) for line in (bench / MANIFEST).read_text().splitlines()]
    change(rows)
    (bench / MANIFEST).write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_round_trip(bench):
    first, second = read_bench(bench, SPLIT)
    assert (first.id, first.prompt, first.scene_type, first.fps) == ("indoor_001", "A room.", "indoor", 16.0)
    assert first.image_size == (48, 32) and first.num_frames == FRAMES and first.seed is None
    np.testing.assert_allclose(first.c2w, path(), atol=1e-7)
    assert first.intrinsics.shape == (FRAMES, 3, 3)
    np.testing.assert_allclose(first.intrinsics[0], [[40, 0, 24], [0, 40, 16], [0, 0, 1]])
    assert first.pairs == (PAIRS[1], PAIRS[0])  # best first
    assert second.pairs == () and first.image().shape == (32, 48, 3)


def test_files_are_those_of_the_official_bench(bench):
    row = json.loads((bench / MANIFEST).read_text().splitlines()[0])
    assert row["image_path"] == "images/indoor_001.png" and row["camera_path"] == NPZ
    scenes = json.loads((bench / FOLDER / "scene_trajectories_v2.json").read_text())["scenes"]
    assert scenes[0]["scene_id"] == "indoor_001"
    keys = {"frame_a", "frame_b", "quality_score", "distance_m", "angle_diff_deg"}
    assert set(scenes[0]["evaluation_pairs"][0]) == keys
    with np.load(bench / NPZ) as data:
        assert {n: data[n].shape for n in data.files} == {
            "c2w": (FRAMES, 4, 4), "intrinsics": (FRAMES, 3, 3), "fps": (), "num_frames": (),
        }  # fmt: skip
    assert not [p for p in bench.rglob("*") if p.name.startswith(".")]


def test_some_scenes_in_the_wanted_order(bench):
    assert [scene.id for scene in read_bench(bench, SPLIT, ["indoor_002", "indoor_001"])] == [
        "indoor_002",
        "indoor_001",
    ]
    with pytest.raises(BenchError, match="no scene indoor_009"):
        read_bench(bench, SPLIT, ["indoor_009"])


def cut(name, keep=0.5):
    def damage(bench):
        data = (bench / name).read_bytes()
        (bench / name).write_bytes(data[: int(len(data) * keep)])

    return damage


def pose(change):
    def damage(bench):
        c2w = path()
        change(c2w)
        rewrite(bench, c2w=c2w)

    return damage


def pair(**change):
    def damage(bench):
        file = bench / FOLDER / "scene_trajectories_v2.json"
        data = json.loads(file.read_text())
        data["scenes"][0]["evaluation_pairs"][0] |= change
        file.write_text(json.dumps(data))

    return damage


def manifest(change):
    return lambda bench: edit_manifest(bench, change)


BROKEN = {
    "no kept list": (lambda b: (b / "scene_set/kept_scenes.txt").unlink(), r"kept_scenes\.txt is missing"),
    "empty kept list": (lambda b: (b / "scene_set/kept_scenes.txt").write_text("\n"), "no scene"),
    "kept twice": (lambda b: (b / "scene_set/kept_scenes.txt").write_text("indoor_001\n" * 2), "twice"),
    "kept but nowhere": (
        lambda b: (b / "scene_set/kept_scenes.txt").write_text("indoor_001\nindoor_002\nindoor_003\n"),
        r"run_manifest\.jsonl lacks scene indoor_003",
    ),
    "not kept": (lambda b: (b / "scene_set/kept_scenes.txt").write_text("indoor_001\n"), "indoor_002 is not in"),
    "no image": (lambda b: (b / "images/indoor_001.png").unlink(), r"indoor_001\.png is missing"),
    "half an image": (cut("images/indoor_001.png"), r"indoor_001\.png is not a whole image"),
    "no npz": (lambda b: (b / NPZ).unlink(), r"indoor_001\.npz is missing"),
    "half an npz": (cut(NPZ), r"indoor_001\.npz is not a whole \.npz"),
    "empty npz": (cut(NPZ, 0), r"indoor_001\.npz is not a whole \.npz"),
    "array missing": (lambda b: np.savez(b / NPZ, c2w=path()), r"indoor_001\.npz lacks intrinsics"),
    "pickled": (lambda b: rewrite(b, c2w=np.array([{}, 1], dtype=object)), r"indoor_001\.npz is not a whole \.npz"),
    "too short": (lambda b: rewrite(b, c2w=path()[:-1]), r"c2w has shape \(8, 4, 4\)"),
    "3x4 poses": (lambda b: rewrite(b, c2w=path()[:, :3]), r"c2w has shape \(9, 3, 4\)"),
    "no frame rate": (lambda b: rewrite(b, fps=np.nan), "fps nan"),
    "text for a number": (lambda b: rewrite(b, num_frames="nine"), r"indoor_001\.npz"),
    "NaN pose": (pose(lambda c: c.__setitem__((3, 0, 3), np.nan)), "frame 3 has NaN"),
    "scaled pose": (pose(lambda c: c.__setitem__((2, slice(3), slice(3)), 2 * np.eye(3))), "frame 2 .*orthonormal"),
    "mirrored pose": (pose(lambda c: c.__setitem__((2, 0, 0), -1)), "frame 2 is a reflection"),
    "camera of another image": (
        lambda b: rewrite(b, intrinsics=np.tile([[900.0, 0, 640], [0, 900, 360], [0, 0, 1]], (FRAMES, 1, 1))),
        "far from the middle of the",
    ),
    "half a manifest": (cut(MANIFEST, 0.7), "run_manifest.*line 2 is not whole JSON"),
    "row without prompt": (manifest(lambda rows: rows[0].pop("prompt")), "line 1 lacks the text prompt"),
    "row that is a list": (manifest(lambda rows: rows.__setitem__(0, [])), "line 1 lacks"),
    "row twice": (manifest(lambda rows: rows.append(rows[0])), "line 3 repeats scene indoor_001"),
    "seed that is none": (manifest(lambda rows: rows[0].update(seed="x")), "seed 'x'"),
    "half the pairs": (cut(f"{FOLDER}/scene_trajectories_v2.json"), "not whole JSON"),
    "pairs without frames": (pair(frame_a=None), "not as SANA-WM-Bench"),
    "pair beyond the end": (pair(frame_b=FRAMES), "rise within 0..8"),
    "pair backwards": (pair(frame_a=8, frame_b=1), "rise within 0..8"),
    "pair before the start": (pair(frame_a=-1), "rise within 0..8"),
    "scene without pairs": (
        lambda b: (b / FOLDER / "scene_trajectories_v2.json").write_text('{"scenes": []}'), "lacks scene indoor_001",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_one_clear_error(bench, case):
    damage, message = BROKEN[case]
    damage(bench)
    with pytest.raises(BenchError, match=message) as caught:
        read_bench(bench, SPLIT)
    assert "\n" not in str(caught.value)


def test_wrong_folder_or_split(bench, tmp_path):
    with pytest.raises(BenchError, match="is no folder"):
        read_bench(tmp_path / "nowhere", SPLIT)
    with pytest.raises(BenchError, match="benchmark_v2_smooth_60s"):
        read_bench(bench, "simple_60s")
    with pytest.raises(BenchError, match="choose one of simple_60s, hard_60s"):
        read_bench(bench, "easy")


def test_nothing_half_written_stays(bench, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError("disk full")

    before = (bench / NPZ).read_bytes()
    monkeypatch.setattr(np, "savez_compressed", fail)
    with pytest.raises(OSError, match="disk full"):
        write_scene(bench, SPLIT, "indoor_001", path(), [40.0, 40.0, 24.0, 16.0], 16.0, np.zeros((32, 48, 3), np.uint8))
    assert (bench / NPZ).read_bytes() == before
    assert not list(bench.rglob(".*"))


def test_results(tmp_path):
    folder = ResultFolder(tmp_path / "ours")
    assert folder.video(SPLIT, "a_001") == tmp_path / "ours/hard_60s/a_001_generated.mp4"
    folder.video(SPLIT, "a_001").parent.mkdir(parents=True)
    folder.video(SPLIT, "a_001").touch()
    assert folder.missing(SPLIT, ["a_001", "a_002"]) == ["a_002"]
    written = folder.write_scores(SPLIT, "summary", {"scenes": 1})
    assert written == tmp_path / "ours/eval/hard_60s/summary.json"
    assert folder.read_scores(SPLIT, "summary") == {"scenes": 1}
    assert folder.write_poses(SPLIT, {"a_001": {"RotErr": 1.0}}) == tmp_path / "ours/hard_60s/eval_poses.json"
    with pytest.raises(ValueError, match="JSON compliant"):
        folder.write_scores(SPLIT, "summary", {"psnr": float("nan")})
    assert folder.read_scores(SPLIT, "summary") == {"scenes": 1}
    with pytest.raises(BenchError, match="no results file"):
        folder.scores(SPLIT, "camera")
    with pytest.raises(BenchError, match="is missing"):
        folder.read_scores(SPLIT, "camera_accuracy")


def test_a_refiner_takes_the_first_frame_away(tmp_path):
    folder = ResultFolder(tmp_path)
    assert not folder.skips_first_frame()
    folder.write_info({"name": "ours"})
    assert not folder.skips_first_frame()
    folder.write_info({"name": "ours", "refiner": "ltx2"})
    assert folder.skips_first_frame()
