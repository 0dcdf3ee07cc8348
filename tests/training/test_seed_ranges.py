"""Every stage of training, as the last of many processes, draws scenes that are its own."""

from typing import Any

import pytest

from sanawm_env.scenes.seeds import STAGE_SEEDS
from sanawm_env.training.clips import data
from sanawm_env.training.stages import decoder, depth, few_step, vae, world

RANKS = {"world": 11, "distill": 11, "depth": 5, "decoder": 4, "vae": 2}
"""Processes from which on the last one used to draw scenes of the environment."""
POOL = data.DataConfig(pool=32)
STAGES = {
    "world": (
        world,
        data,
        "make_clips",
        lambda out: world.train_world(world.WorldTrainConfig(out=out, init="tiny", data=POOL)),
    ),
    "distill": (
        few_step,
        data,
        "make_clips",
        lambda out: few_step.train_distill(few_step.DistillConfig(out=out, data=POOL)),
    ),
    "depth": (depth, depth, "sample_scenes", lambda out: depth.train_depth(depth.DepthTrainConfig(out=out))),
    "decoder": (
        decoder,
        decoder,
        "make_clips",
        lambda out: decoder.train_decoder(decoder.DecoderTrainConfig(out=out, init="tiny")),
    ),
    "vae": (vae, vae, "make_clips", lambda out: vae.train_vae(vae.VAETrainConfig(out=out))),
}


class Drawn(Exception):
    """Holds the first seeds that a stage draws."""


def first_seeds(stage: str, out: Any, monkeypatch: pytest.MonkeyPatch, rank: int, ranks: int) -> list[int]:
    module, place, function, run = STAGES[stage]

    def draw(seeds: Any, *args: Any, **kwargs: Any) -> None:
        raise Drawn(list(seeds))

    monkeypatch.setattr(place, function, draw)
    monkeypatch.setattr(module, "join", lambda: (rank, ranks), raising=stage != "vae")  # it does not share its work
    monkeypatch.setattr("sanawm_env.training.loop.join", lambda: (rank, ranks))
    with pytest.raises(Drawn) as drawn:
        run(out)
    seeds: list[int] = drawn.value.args[0]
    return seeds


@pytest.mark.parametrize("stage", STAGES)
def test_no_process_leaves_the_stages_scenes(stage, tmp_path, monkeypatch):
    one = first_seeds(stage, tmp_path / "one", monkeypatch, 0, 1)
    own = STAGE_SEEDS["world" if stage == "distill" else stage]
    assert one == list(range(own.start, own.start + len(one))), "one process counts up from the first"
    for ranks in (RANKS[stage], 40):
        last = first_seeds(stage, tmp_path / str(ranks), monkeypatch, ranks - 1, ranks)
        assert all(seed in own for seed in last)
        if stage != "vae":
            assert last == [own.start + ranks - 1 + i * ranks for i in range(len(one))], "the processes take turns"
