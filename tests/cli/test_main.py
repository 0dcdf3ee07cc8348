import json
import subprocess
import sys
import types
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from scipy.spatial.transform import RigidTransform, Rotation

import sanawm_env
from sanawm_env import SanaWMEnv, WorldModel
from sanawm_env.camera import rollout_keys
from sanawm_env.cli.main import main
from sanawm_env.cli.rollout import TOUR

DEMO = Path(__file__).parents[3] / "shared" / "release_demo"


@pytest.fixture
def rollout(checkpoint, tmp_path):
    """Run `sanawm rollout` and return frames, poses and recipe."""

    def run(*arguments, name="v.mp4"):
        out = tmp_path / "new" / name
        main(["rollout", "-c", checkpoint, "--device", "cpu", "--steps", "1", "--out", str(out), *map(str, arguments)])
        with av.open(str(out)) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        poses = np.load(out.with_name(f"{out.stem}_c2w.npy"))
        recipe = json.loads(out.with_suffix(".json").read_text())
        assert len(frames) == len(poses) == recipe["frames"]
        return frames, poses, recipe

    return run


@pytest.fixture
def refused(checkpoint, capsys, tmp_path):
    """Run a command that must fail, and return its one line."""

    def run(*arguments):
        with pytest.raises(SystemExit) as end:
            main(["rollout", "-c", checkpoint, "--out", str(tmp_path / "v.mp4"), *map(str, arguments)])
        assert end.value.code == 2
        assert not (tmp_path / "v.mp4").exists()
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and lines[0].startswith("sanawm: error: ")
        return lines[0]

    return run


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (93, 169, 3), dtype=np.uint8)).save(path)
    return path


def test_the_default_is_a_tour_of_ten_seconds_or_more(rollout, capsys):
    frames, poses, recipe = rollout()
    np.testing.assert_array_equal(poses, rollout_keys(TOUR))
    assert len(frames) / recipe["fps"] >= 10
    assert f"{len(frames)} frames" in capsys.readouterr().out


def test_actions_and_recipe(rollout, checkpoint):
    frames, poses, recipe = rollout("--actions", "w-10,dw-5", "--keymap", "sglang", "--seed", 5, "--chunk-frames", 2)
    assert len(frames) == 16
    np.testing.assert_array_equal(poses, rollout_keys("w-10,dw-5", "sglang"))
    assert recipe["camera"] == {"actions": "w-10,dw-5", "keymap": "sglang"}
    assert recipe["checkpoint_hash"] == WorldModel.load(checkpoint).checkpoint
    assert (recipe["seed"], recipe["chunk_frames"], recipe["sigmas"]) == (5, 2, [1.0, 0.0])
    assert (recipe["width"], recipe["height"], recipe["fps"]) == (112, 64, 16)
    assert recipe["versions"]["sanawm_env"] == sanawm_env.__version__
    again = rollout("--actions", "w-10,dw-5", "--keymap", "sglang", "--seed", 5, "--chunk-frames", 2)[2]
    assert again == recipe
    other = rollout("--actions", "w-10,dw-5", "--keymap", "sglang", "--seed", 6, "--chunk-frames", 2)[2]
    assert other["frames_sha256"] != recipe["frames_sha256"]


def test_a_seed_names_the_same_world_as_in_the_environment(rollout, checkpoint):
    frames, _, recipe = rollout("--actions", "none-4", "--seed", 11)
    env = SanaWMEnv(checkpoint, device="cpu")
    _, info = env.reset(seed=11)
    assert np.abs(frames[0].astype(int) - info["frames"][0]).mean() < 12  # but for compression
    assert env.snapshot().state.noise_seed.item() == recipe["noise_seed"]


@pytest.mark.parametrize("layout", ["(3,3)", "(F,3,3)", "(4,)", "(F,4)"])
def test_camera_files_of_the_release(rollout, picture, tmp_path, layout, capsys):
    poses = rollout_keys("w-20,d-6")
    world = RigidTransform.from_components([3, -1, 2], Rotation.from_rotvec([0.1, 2, 0.3])).as_matrix()
    np.save(tmp_path / "poses.npy", (world @ poses).astype(np.float32))
    camera = np.array([80.0, 82.0, 84.5, 46.5])
    matrix = np.array([[80.0, 0, 84.5], [0, 82.0, 46.5], [0, 0, 1]])
    given = {
        "(3,3)": matrix,
        "(F,3,3)": np.tile(matrix, (len(poses), 1, 1)),
        "(4,)": camera,
        "(F,4)": np.tile(camera, (len(poses), 1)),
    }[layout]
    np.save(tmp_path / "k.npy", given.astype(np.float32))
    frames, written, recipe = rollout(
        "--image", picture, "--camera", tmp_path / "poses.npy", "--intrinsics", tmp_path / "k.npy"
    )
    assert len(frames) == 27
    assert np.array_equal(written[0], np.eye(4))
    np.testing.assert_allclose(written, poses, atol=1e-5)
    assert recipe["intrinsics"]["from"] == "file" and len(recipe["camera"]["file"]["sha256"]) == 64
    scale = 64 / 93
    np.testing.assert_allclose(recipe["intrinsics"]["values"], [80 * scale, 82 * scale, 56, 32], rtol=0.02)
    assert "note" not in capsys.readouterr().err


def test_a_missing_camera_is_said(rollout, picture, capsys):
    *_, recipe = rollout("--image", picture, "--actions", "none-3")
    assert "horizontal field of view of 75 degrees" in capsys.readouterr().err
    assert recipe["intrinsics"]["from"] == "default_fov" and recipe["intrinsics"]["fov_deg"] == 75
    *_, recipe = rollout("--image", picture, "--actions", "none-3", "--fov", "60")
    assert recipe["intrinsics"]["from"] == "fov" and "note" not in capsys.readouterr().err


def test_a_zoom_is_noticed(rollout, picture, tmp_path, capsys):
    zoom = np.linspace(80, 160, 4)[:, None] * [1, 1, 0, 0] + [0, 0, 84.5, 46.5]
    np.save(tmp_path / "k.npy", zoom)
    rollout("--image", picture, "--actions", "none-3", "--intrinsics", tmp_path / "k.npy")
    assert "holds those of frame 0" in capsys.readouterr().err


@pytest.mark.skipif(not DEMO.is_dir(), reason="the release's examples are not here")
@pytest.mark.parametrize(("name", "frames"), [("demo_0", 321), ("demo_3", 323)])
def test_the_releases_own_examples(rollout, name, frames):
    video, _, recipe = rollout(
        *("--image", DEMO / f"{name}.png", "--camera", DEMO / f"{name}_pose.npy"),
        *("--intrinsics", DEMO / f"{name}_intrinsics.npy"),
    )
    assert len(video) == frames and recipe["intrinsics"]["from"] == "file"


def test_mistakes_are_one_line(refused, picture, tmp_path):
    bad = tmp_path / "bad.npy"
    np.save(bad, np.tile(np.diag([2.0, 1, 1, 1]), (3, 1, 1)))
    short = tmp_path / "short.npy"
    np.save(short, np.tile([80.0, 80, 84, 46], (3, 1)))
    (tmp_path / "pickle.npy").write_bytes(b"\x80\x04not numpy")
    assert "empty" in refused("--actions", "")
    assert "unknown key 'x'" in refused("--actions", "wx-3")
    assert "no key map 'qwerty'" in refused("--keymap", "qwerty")
    assert "not both" in refused("--actions", "w-3", "--camera", bad)
    assert "orthonormal" in refused("--camera", bad)
    assert "numpy.save" in refused("--camera", tmp_path / "pickle.npy")
    assert "check the path" in refused("--camera", tmp_path / "none.npy")
    assert "check the path" in refused("--image", tmp_path / "none.png")
    assert "--image" in refused("--intrinsics", short)
    assert "need intrinsics for 11 frames" in refused(*("--image", picture, "--intrinsics", short, "--actions", "w-10"))
    assert "180" in refused("--fov", "400")
    assert "1..3" in refused("--chunk-frames", "7")
    assert "PNG" in refused("--image", bad)
    assert ".mp4" in refused("--out", tmp_path / "v.gif")
    assert "Built-in names" in refused("-c", tmp_path / "nowhere")
    assert "not be negative" in refused("--seed", "-1")


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    arguments = ["rollout", "-c", str(tmp_path), "--out", str(tmp_path / "v.mp4")]
    with pytest.raises(FileNotFoundError):
        main([*arguments, "--debug"])
    monkeypatch.setenv("SANAWM_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(arguments)


def test_info(checkpoint, capsys):
    main(["info", "-c", checkpoint, "--device", "cpu"])
    assert "state_bytes" in capsys.readouterr().out
    main(["info", "-c", checkpoint, "--device", "cpu", "--json"])
    facts = json.loads(capsys.readouterr().out)
    model = WorldModel.load(checkpoint)
    assert facts["hash"] == model.checkpoint and facts["resolution"] == "112x64"
    assert facts["parameters"] == sum(p.numel() for p in model.transformer.parameters())
    env = SanaWMEnv(model)
    assert env.reset(seed=0)[1]["state_bytes"] == facts["state_bytes"]


def test_train_goes_to_the_trainer(monkeypatch):
    seen = []
    monkeypatch.setitem(sys.modules, "sanawm_env.training.run", types.SimpleNamespace(main=seen.append))
    main(["train", "world", "--config", "c.json", "--help"])
    assert seen == [["world", "--config", "c.json", "--help"]]


def test_help_needs_no_torch():
    code = (
        "import sys\nfrom sanawm_env.cli.main import main\n"
        "try: main(['rollout', '--help'])\nexcept SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--intrinsics" in done.stdout
