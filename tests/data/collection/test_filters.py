"""What is kept and why not, on episodes made up for it."""

import sys

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from sanawm_env.camera import relative_to_first
from sanawm_env.data.collection.filters import Candidate, make_filters, needs_frames, start_distance
from sanawm_env.data.collection.looks import decline, sharpness_and_contrast, start_hash
from sanawm_env.scenes import first_frame, render_scene


def candidate(**given):
    outcome = {"success": True, "seconds_of_world": 2.0, "measures": {}} | given.pop("outcome", {})
    values = {"c2w": np.eye(4)[None], "intrinsics": np.zeros(4), "actions": np.zeros((0, 6), np.float32)}
    return Candidate(**{"number": 3, "outcome": outcome, "rewards": np.zeros(0), **values, **given})


def reasons(texts, episode):
    return [reason for judge in make_filters(texts) if (reason := judge(episode)) is not None]


def test_success_and_length():
    assert reasons(["success", "length=2"], candidate()) == []
    assert reasons(["success"], candidate(outcome={"success": False})) == ["success: the task was not done"]
    assert reasons(["length=2.5"], candidate()) == ["length: 2 s, and not 2.5"]


def test_drift_is_a_factor_both_ways():
    for share, kept in ((0.6, True), (0.4, False), (1.9, True), (2.1, False)):
        found = reasons(["drift=2"], candidate(outcome={"measures": {"sharpness_kept": share, "contrast_kept": 1.0}}))
        assert (found == []) == kept, share
    assert "contrast is 0.3" in reasons(["drift=2"], candidate(outcome={"measures": {"contrast_kept": 0.3}}))[0]


def test_looks_fall_with_blur_and_grey():
    rng = np.random.default_rng(0)
    sharp = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
    grey = (sharp // 4 + 96).astype(np.uint8)
    looks = [sharpness_and_contrast(frame) for frame in [sharp] * 6 + [grey] * 3]
    kept = decline(looks)
    assert kept["contrast_kept"] == pytest.approx(0.25, abs=0.02)
    assert kept["sharpness_kept"] == pytest.approx(0.25, abs=0.05)
    assert decline(looks[:1]) == {}


def test_hashes_forgive_noise_and_tell_pictures_apart():
    rng = np.random.default_rng(0)
    one, other = (np.kron(rng.integers(0, 200, (8, 9, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(2))
    noisy = (one + rng.integers(0, 12, one.shape)).astype(np.uint8)
    assert (start_hash(one) ^ start_hash(noisy)).bit_count() <= 4
    assert (start_hash(one) ^ start_hash(other)).bit_count() > 16
    assert start_distance(["success", "distinct=4"]) == 4 and start_distance(["success"]) is None


def test_the_camera_is_believed_only_where_it_turned_as_told():
    _, intrinsics, world, start = first_frame(9_000_200, 96, 160, families=["outdoor"])
    share = np.linspace(0, 1, 17)
    c2w = np.tile(np.eye(4), (17, 1, 1))
    c2w[:, :3, :3] = Rotation.from_euler("y", (share * 20)[:, None], degrees=True).as_matrix()
    poses = start.double().numpy() @ c2w
    rgb, _ = render_scene(world, torch.from_numpy(poses).float(), intrinsics, 96, 160)
    told = relative_to_first(torch.from_numpy(poses)).numpy()
    given = {"frames": rgb.numpy(), "intrinsics": intrinsics.double().numpy()}
    assert needs_frames(["camera=2"])
    assert reasons(["camera=2"], candidate(c2w=told, **given)) == []
    still = np.tile(np.eye(4), (17, 1, 1))
    assert "degrees off" in reasons(["camera=2"], candidate(c2w=still, **given))[0]
    blank = np.full_like(given["frames"], 128)
    assert "not recovered" in reasons(["camera=2"], candidate(c2w=told, **given | {"frames": blank}))[0]


def test_a_function_of_ones_own(tmp_path, monkeypatch):
    name = f"own_{abs(hash(str(tmp_path)))}"
    (tmp_path / f"{name}.py").write_text(
        "import numpy as np\n"
        "def odd(episode): return episode.number % 2 == 1\n"
        "def even(episode): return np.bool_(episode.number % 2 == 0)\n"
        "def why(episode): return 'too dull'\n"
        "def wrong(episode): return 3\n"
        "number = 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert reasons([f"{name}:odd"], candidate()) == []
    assert reasons([f"{name}:even", f"{name}:why"], candidate()) == [f"{name}:even: not kept", f"{name}:why: too dull"]
    with pytest.raises(ValueError, match="return True, False, or a reason"):
        reasons([f"{name}:wrong"], candidate())
    for text, words in (
        (f"{name}:number", "name a function"),
        (f"{name}:none", "can be imported"),
        ("no.such:f", "no"),
    ):
        with pytest.raises(ValueError, match=words):
            make_filters([text])
    sys.modules.pop(name, None)


@pytest.mark.parametrize("text", ["victory", "drift", "drift=1", "length=-1", "camera=nan", "distinct=", "success=1"])
def test_names_and_numbers_that_are_none(text):
    with pytest.raises(ValueError, match=r"filter|give a number|above 1"):
        make_filters([text])
