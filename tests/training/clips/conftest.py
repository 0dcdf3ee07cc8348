"""A small dataset of posed clips: procedural ones, written as a user's would be."""

import numpy as np
import pytest

from sanawm_env.camera.rays import relative_to_first
from sanawm_env.scenes import make_clips
from sanawm_env.scenes.posed_clips import PosedClip, prepare_clips, write_clip

FRAMES, HEIGHT, WIDTH = 17, 40, 96


@pytest.fixture(scope="session", name="write")
def write_fixture():
    """`write_one`, for tests that need a clip of their own."""
    return write_one


def write_one(folder, seed, frames=FRAMES, depth=True, **changes):
    """One clip and what it was made of."""
    made = make_clips([seed], frames, HEIGHT, WIDTH)
    c2w = relative_to_first(made.c2w[0].double()).numpy()
    given = {
        "c2w": c2w, "intrinsics": made.intrinsics.numpy().repeat(frames, 0), "height": HEIGHT, "width": WIDTH,
        "metric": True, "figures": {"held_out": False},
    }  # fmt: skip
    write_clip(folder, PosedClip(**given | changes), made.rgb[0].numpy(), made.depth[0].numpy() if depth else None)
    return made


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Three clips to train on, and one for each reason not to."""
    ds = tmp_path_factory.mktemp("posed") / "ds"
    folder = prepare_clips(ds)
    for seed in range(3):
        write_one(folder / f"good-{seed}", seed)
    write_one(folder / "held-out", 3, figures={"held_out": True})
    write_one(folder / "short", 4, frames=5)
    write_one(folder / "slow", 5, fps=8.0)
    write_one(folder / "no-scale", 9, metric=False)
    zoom = np.tile(np.float32([80, 80, 48, 20]), (FRAMES, 1))
    zoom[:, :2] *= np.linspace(1, 1.2, FRAMES, dtype=np.float32)[:, None]
    write_one(folder / "zoom", 7, intrinsics=zoom)
    write_one(folder / "no-depth", 8, depth=False)
    return ds
