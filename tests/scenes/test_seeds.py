from dataclasses import fields

import pytest
import torch

from sanawm_env.scenes import (
    EVAL_SEEDS,
    FAMILIES,
    TRAIN_SEEDS,
    Scene,
    first_frame,
    make_clips,
    make_scene,
    sample_scenes,
)


@pytest.mark.parametrize("family", FAMILIES)
def test_same_seed_same_scene(family: str) -> None:
    one, two, other = make_scene(family, 42), make_scene(family, 42), make_scene(family, 43)
    for field in fields(Scene):
        assert torch.equal(getattr(one, field.name), getattr(two, field.name)), field.name
    assert not torch.equal(one.center, other.center)


def test_a_clip_does_not_depend_on_its_neighbours() -> None:
    seeds = [7, 20_000_003, 12, 5]
    together = make_clips(seeds, 5, 32, 56)
    for i, seed in enumerate(seeds):
        alone = make_clips([seed], 5, 32, 56)
        for name in ("rgb", "depth", "c2w", "intrinsics"):
            assert torch.equal(getattr(together, name)[i], getattr(alone, name)[0]), name
        assert (together.family[i], together.seed[i]) == (alone.family[0], seed)


def test_all_families_occur() -> None:
    _, _, names = sample_scenes(range(40), 32, 56)
    assert set(names) == set(FAMILIES)


def test_intrinsics_follow_the_field_of_view() -> None:
    _, cameras, _ = sample_scenes(range(20), 64, 112)
    fov = 2 * torch.rad2deg(torch.atan(56 / cameras[:, 0]))
    assert fov.min() >= 60 and fov.max() <= 90 and fov.std() > 3
    assert torch.equal(cameras[:, 0], cameras[:, 1])
    assert (cameras[:, 2:] == torch.tensor([56.0, 32.0])).all()


def test_first_frame_is_repeatable() -> None:
    rgb, intrinsics, scene, c2w = first_frame(3, 32, 56)
    again, *_ = first_frame(3, 32, 56)
    assert rgb.shape == (32, 56, 3) and rgb.dtype.name == "uint8" and (rgb == again).all()
    assert intrinsics.shape == (4,) and c2w.shape == (4, 4) and scene.batch == 1


def test_training_and_evaluation_seeds_are_apart() -> None:
    assert TRAIN_SEEDS[-1] < 10_000_000 <= 20_000_000 == EVAL_SEEDS[0]


def test_clear_errors() -> None:
    with pytest.raises(ValueError, match=r"unknown scene families \['cave'\]; choose some of"):
        make_clips([1], 2, 16, 16, families=["cave"])
    with pytest.raises(ValueError, match="unknown scene families"):
        make_scene("cave", 1)
    with pytest.raises(ValueError, match="not be negative"):
        make_clips([-1], 2, 16, 16)
    with pytest.raises(ValueError, match="at least one seed"):
        make_clips([], 2, 16, 16)
    with pytest.raises(ValueError, match="fov"):
        make_clips([1], 2, 16, 16, fov=(90, 60))
    with pytest.raises(ValueError, match="frames"):
        make_clips([1], 0, 16, 16)
