from dataclasses import fields
from itertools import combinations

import numpy as np
import pytest
import torch

from sanawm_env import scenes
from sanawm_env.scenes import (
    FAMILIES,
    Scene,
    clips,
    first_frame,
    make_clips,
    make_scene,
    sample_scenes,
    seeds,
    start_image,
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


def test_ranges_are_apart_where_they_must_be() -> None:
    for whole, parts in (
        (range(2**31), [seeds.TRAIN_SEEDS, seeds.WORLD_SEEDS, seeds.EVAL_SEEDS]),
        (seeds.TRAIN_SEEDS, [*seeds.STAGE_SEEDS.values(), seeds.VALIDATION_SEEDS]),
        (seeds.EVAL_SEEDS, [seeds.SUITE_SEEDS, seeds.BENCH_SEEDS]),
        (range(2**31), [seeds.TRAINING_RESETS, seeds.HELD_OUT_RESETS]),
        (seeds.HELD_OUT_RESETS, [seeds.LEARNER_RESETS]),
    ):
        assert all(len(part) and part[0] in whole and part[-1] in whole for part in parts)
        for one, other in combinations(parts, 2):
            assert one[-1] < other[0] or other[-1] < one[0], (one, other)


def test_everybody_speaks_of_the_same_ranges() -> None:
    assert scenes.TRAIN_SEEDS is clips.TRAIN_SEEDS is seeds.TRAIN_SEEDS == range(0, 10_000_000)
    assert scenes.WORLD_SEEDS is start_image.WORLD_SEEDS is seeds.WORLD_SEEDS == range(10_000_000, 20_000_000)
    assert scenes.EVAL_SEEDS is clips.EVAL_SEEDS is seeds.EVAL_SEEDS == range(20_000_000, 30_000_000)
    for rng in (np.random.default_rng(seed) for seed in range(50)):
        assert start_image.draw_seeds(rng)[0] in seeds.WORLD_SEEDS


def test_one_process_counts_up() -> None:
    drawn = seeds.SceneSeeds(7_000_000)
    assert drawn.take(3) + drawn.take(2) == list(range(7_000_000, 7_000_005))
    assert drawn.next_seed == 7_000_005


@pytest.mark.parametrize("stage", seeds.STAGE_SEEDS)
@pytest.mark.parametrize("ranks", [1, 4, 5, 11, 64])
def test_processes_share_a_stage(stage: str, ranks: int) -> None:
    """However many there are: no scene twice, and none that is somebody else's."""
    part = seeds.STAGE_SEEDS[stage]
    processes = [seeds.SceneSeeds(part.start + 100, rank, ranks) for rank in range(ranks)]
    drawn = [seed for process in processes for _ in range(3) for seed in process.take(8)]
    assert len(set(drawn)) == len(drawn) and all(seed in part for seed in drawn)
    assert len({process.next_seed for process in processes}) == 1
    # A later call, with fewer processes, goes on behind all that.
    assert not set(seeds.SceneSeeds(processes[-1].next_seed, 0, 2).take(50)) & set(drawn)


def test_at_its_end_a_stage_begins_anew() -> None:
    part = seeds.STAGE_SEEDS["vae"]
    drawn = seeds.SceneSeeds(part[-3])
    assert drawn.take(5) == [*part[-3:], *part[:2]] and drawn.next_seed == part[2]
    drawn = seeds.SceneSeeds(part[-3], 39, 40)
    assert all(seed in part for seed in drawn.take(100_000))


@pytest.mark.parametrize(
    ("seed", "owner"),
    [(-1, ""), (9_000_000, "for validation"), (10_000_000, "for the environment"), (25_000_000, "for evaluation")],
)
def test_training_may_not_use_what_is_kept(seed: int, owner: str) -> None:
    with pytest.raises(ValueError, match=rf"scene seed {seed}.*{owner}.*choose a first_seed in 0\.\.8999999"):
        seeds.SceneSeeds(seed)
    with pytest.raises(ValueError, match=f"scene seed {seed}"):
        seeds.check_training_seeds([5, seed])


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
