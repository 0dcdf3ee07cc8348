"""ViZDoom's pictures, the depth by rays and the poses belong together."""

import numpy as np
import pytest

from sanawm_env.scenes.external.vizdoom import film


@pytest.mark.parametrize("seed", [4, 9])
def test_one_frame_warped_is_the_other(needs, warp_psnr, tmp_path, monkeypatch, seed):
    needs("vizdoom")
    monkeypatch.chdir(tmp_path)
    take = film(seed, 33, 64, 112)
    assert np.linalg.norm(take.c2w[-1, :3, 3] - take.c2w[0, :3, 3]) > 0.3
    assert np.abs(take.c2w[:, 1, :3] - [0, 1, 0]).max() < 1e-9, "upright"
    warped, frozen, seen = warp_psnr(take)
    assert seen > 0.4 and warped > 24 and warped > frozen + 4
    assert not list(tmp_path.iterdir()), "the engine's settings are not left behind"


def test_a_seed_is_one_clip(needs):
    needs("vizdoom")
    one, same = film(5, 3, 32, 56), film(5, 3, 32, 56)
    for name in ("rgb", "depth", "c2w", "intrinsics"):
        assert np.array_equal(getattr(one, name), getattr(same, name))
