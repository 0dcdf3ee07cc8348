"""Roll out many cheap futures of one picture, score them, keep the best, and refine only those.

The path goes out and comes back along itself, so every rollout can be judged without a true render: frame 0 is seen
again at the end. Stage 1 is the built-in world here; with --refiner (docs/how-to/offline.md) the best are passed
to stage 2.

Run: python examples/search_then_refine.py [--out search] [--count 8] [--best 2] [--refiner FOLDER]
"""

import json
import time
from pathlib import Path

import numpy as np
import tyro

from sanawm_env import WorldModel
from sanawm_env.camera import rollout_keys
from sanawm_env.cli.refine import Refine
from sanawm_env.evaluation.metrics.drift import is_collapsed
from sanawm_env.evaluation.metrics.psnr import psnr
from sanawm_env.evaluation.policy.cost import RolloutQuality, Thresholds, cost_per_useful
from sanawm_env.scenes.start_image import built_in, draw_seeds
from sanawm_env.world.checkpoints.prompts import Prompts
from sanawm_env.world.offline.recipe import Recipe, write_rollout
from sanawm_env.world.rollout import rollout


def main(
    out: Path = Path("search"),
    count: int = 8,
    best: int = 2,
    seed: int = 4,
    actions: str = "w-16,j-16",
    max_drift: float = 0.1,
    checkpoint: str = "tiny",
    refiner: Path | None = None,
) -> None:
    """Write the rollouts with their recipes and `scores.jsonl`, and print what a useful one costs.

    Args:
        out: Folder of the results.
        count: Rollouts; they differ in the sampler's noise.
        best: How many to keep.
        seed: Of the scene and of all noise.
        actions: Keys and frames of the way out; the way back is the same poses in reverse.
        max_drift: A rollout is useful if first and last frame differ by less: root mean square, share of full scale.
        checkpoint: Built-in name or checkpoint folder.
        refiner: Folder of stage 2; none refines nothing.
    """
    if not 1 <= best <= count:
        raise ValueError(f"best must lie in 1..count ({count}); got {best}.")
    world = WorldModel.load(checkpoint)
    config = world.config
    rng = np.random.default_rng(seed)
    texts = Prompts(world).texts(None)  # of a world with text: the empty prompt
    scene, _ = draw_seeds(rng)
    start = built_in(scene, config.width, config.height)
    way_out = rollout_keys(actions, "nvlabs")
    c2w = np.concatenate([way_out, way_out[-2::-1]])
    out.mkdir(parents=True, exist_ok=True)

    outcomes, rows = [], []
    for index in range(count):
        _, noise = draw_seeds(rng)
        began = time.perf_counter()
        frames = rollout(world, [start], c2w[None], [noise], texts)[0]
        seconds = time.perf_counter() - began
        revisit = float(psnr(frames[-1], frames[0]))
        drift = 10 ** (-revisit / 20)  # root mean square, share of full scale
        outcomes.append(RolloutQuality(seconds, drift=drift, collapsed=is_collapsed(frames)))
        recipe = Recipe(
            checkpoint=checkpoint,
            checkpoint_hash=world.checkpoint,
            seed=seed,
            scene_seed=scene,
            noise_seed=noise,
            image=None,
            camera={"actions": actions, "keymap": "nvlabs", "then": "the same poses in reverse"},
            intrinsics={"values": start.intrinsics.tolist(), "from": "scene"},
            sigmas=config.sigmas,
            chunk_frames=config.chunk_frames,
            frames=len(frames),
            height=config.height,
            width=config.width,
            fps=config.fps,
            device=str(world.device),
            dtype=str(world.dtype).removeprefix("torch."),
        )
        video = out / f"rollout_{index:03}.mp4"
        write_rollout(iter([frames]), c2w, recipe, video)
        rows.append({"recipe": video.with_suffix(".json").name, "revisit_db": revisit, "drift": drift})
    scores = out / "scores.jsonl"
    scores.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")

    useful = cost_per_useful(outcomes, Thresholds(max_rot_err_deg=None, max_trans_err=None, max_drift=max_drift))
    each = useful.seconds_per_useful
    print(
        f"{count} rollouts of {len(c2w)} frames in {useful.seconds:.1f} s: {useful.useful} useful, "
        + ("none to pay for" if each is None else f"{each:.1f} s per useful rollout")
    )
    for row in sorted(rows, key=lambda row: -row["revisit_db"])[:best]:
        print(f"  {row['recipe']}: back at the start {row['revisit_db']:.1f} dB, drift {row['drift']:.2f}")
    if refiner is None:
        print("no --refiner given: nothing refined")
        return
    began = time.perf_counter()
    Refine(refiner=refiner, scores=scores, best=best, by="revisit_db").run()
    print(f"stage 2: {(time.perf_counter() - began) / best:.1f} s per kept rollout, loading included")


if __name__ == "__main__":
    tyro.cli(main)
