"""The camera code equals the conformance vectors; every case, size and index comes from the files."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from sanawm_env.camera import (
    Intrinsics,
    chunk_plucker,
    fit_geometry,
    fit_image,
    invert_ray_matrices,
    latent_windows,
    parse_actions,
    plucker_windows,
    ray_matrices,
    raymap,
    relative_to_first,
    rollout_keys,
)

RELEASE_WIDTH, RELEASE_HEIGHT = 1280, 704
"""Crop cases are made for the release's image size; the files do not repeat it."""

ROLLOUTS = {
    "c2w_new_smooth": partial(rollout_keys, keymap="nvlabs"),
    "c2w_new_nosmooth": partial(rollout_keys, keymap="nvlabs", smoothing=False),
    "c2w_new_smooth_speed": partial(
        rollout_keys, keymap="nvlabs", translation_speed=0.05, rotation_speed_deg=1.2, pitch_limit_deg=30
    ),
    "c2w_diffusers_old": partial(rollout_keys, keymap="nvlabs-2026-05"),
    "c2w_diffusers_old_speed": partial(
        rollout_keys,
        keymap="nvlabs-2026-05",
        translation_speed=0.025,
        rotation_speed_deg=0.6,
        pitch_limit_deg=30,
    ),
}


@pytest.fixture(scope="module")
def cases(golden_dir: Path) -> dict:
    path = golden_dir / "camera_golden.json"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    return json.loads(path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def vectors(golden_dir: Path) -> dict[str, torch.Tensor]:
    path = golden_dir / "camera_golden.safetensors"
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    return load_file(path)


def assert_close(ours, golden, tolerance: float) -> None:
    ours, golden = torch.as_tensor(ours).double(), torch.as_tensor(golden).double()
    assert ours.shape == golden.shape
    worst = (ours - golden).abs().max().item()
    assert worst <= tolerance, f"max |difference| {worst:.2e} > {tolerance:.0e}"


@pytest.mark.parametrize("variant", ROLLOUTS)
def test_key_rollouts(cases: dict, vectors: dict, variant: str) -> None:
    assert cases["actions"]
    for case in cases["actions"]:
        ours = ROLLOUTS[variant](case["action"])
        assert_close(ours, vectors[f"action{case['index']}.{variant}"], 1e-5)


def test_action_strings(cases: dict) -> None:
    for case in cases["actions"]:
        frames = parse_actions(case["action"])
        assert ["".join(sorted(keys)) for keys in frames] == case["held_keys_per_frame"]


def test_invalid_action_strings(cases: dict) -> None:
    for text, verdict in cases["invalid_actions"].items():
        if verdict == "ok":
            parse_actions(text)
        else:
            with pytest.raises(ValueError):
                parse_actions(text)


def test_crops(cases: dict) -> None:
    assert cases["crops"]
    for case in cases["crops"]:
        width, height = case["src"]
        resized, left_top = fit_geometry(width, height, RELEASE_WIDTH, RELEASE_HEIGHT)
        assert [*resized] == case["resized"]
        assert [*left_top] == case["crop_left_top"]
        blank = np.zeros((height, width, 3), np.uint8)
        intrinsics = Intrinsics.from_any(case["intrinsics_in"], width, height)
        image, fitted = fit_image(blank, intrinsics, RELEASE_WIDTH, RELEASE_HEIGHT)
        assert image.shape == (RELEASE_HEIGHT, RELEASE_WIDTH, 3)
        # The golden numbers are fp32 of about a thousand, so one step of theirs is 6e-5.
        np.testing.assert_allclose(fitted.values, case["intrinsics_out"], rtol=2e-7, atol=1e-5)


def test_prepare_camera(cases: dict, vectors: dict) -> None:
    assert cases["prepare_camera"]
    for case in cases["prepare_camera"]:
        prefix = f"prep{case['index']}"
        stride, rows, columns = case["vae_stride"]
        image_height, image_width = case["target_size"]
        height, width = image_height // rows, image_width // columns
        c2w = vectors[f"{prefix}.c2w"][None]
        pixels = Intrinsics.from_any(vectors[f"{prefix}.intrinsics"].numpy(), image_width, image_height)
        grid = torch.tensor(pixels.resized(width, height).values, dtype=torch.float32)[None]
        assert c2w.shape[1] == case["num_frames"]

        assert_close(raymap(c2w, grid, stride)[0], vectors[f"{prefix}.raymap"], 1e-5)
        plucker = chunk_plucker(c2w, grid, height, width, stride)
        assert_close(plucker[0], vectors[f"{prefix}.chunk_plucker"], 1e-5)

        windows = latent_windows(case["num_frames"], stride)
        streamed = [
            plucker_windows(relative_to_first(c2w)[:, window[None]], grid[:, window[None]], height, width)
            for window in windows
        ]
        assert torch.equal(torch.cat(streamed, dim=2), plucker)


def test_ray_matrices(vectors: dict) -> None:
    golden = vectors["ucpe.raymats"]
    height, width = golden.shape[2:4]
    rays = ray_matrices(vectors["ucpe.camera_conditions"], height, width)
    assert_close(rays, golden, 2e-5)
    assert_close(rays, vectors["ucpe.raymats_fused_variant"], 2e-5)
    assert_close(invert_ray_matrices(golden), vectors["ucpe.raymats_inv"], 2e-5)
