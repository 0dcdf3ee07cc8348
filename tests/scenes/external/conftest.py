"""What judges a renderer of another package: one frame, warped by depth and poses, is the other."""

import importlib.util
import os

import numpy as np
import pytest

from sanawm_env.scenes.external.source import Take


@pytest.fixture(scope="session")
def needs():
    """Skips, or in CI fails, without a package."""

    def check(*packages: str) -> None:
        # Not imported here: MuJoCo chooses at once what it draws with.
        missing = [package for package in packages if importlib.util.find_spec(package) is None]
        assert not (missing and os.environ.get("REQUIRE_TEXTURED")), f"{missing} must be installed"
        if missing:
            pytest.skip(f"without {missing}")

    return check


@pytest.fixture(scope="session")
def warp_psnr():
    """PSNR of frame 0 warped to the last frame, of the unwarped frame 0 there, and the share of pixels compared."""

    def measure(take: Take, tolerance: float = 0.03) -> tuple[float, float, float]:
        height, width = take.rgb.shape[1:3]
        fx, fy, cx, cy = take.intrinsics
        y, x = np.mgrid[:height, :width] + 0.5
        z = np.where(np.isfinite(take.depth[-1]), take.depth[-1], 1e5)
        points = np.stack([(x - cx) / fx * z, (y - cy) / fy * z, z, np.ones_like(z)], -1)
        points = points @ (np.linalg.inv(take.c2w[0]) @ take.c2w[-1]).T
        ahead = points[..., 2].clip(1e-3)
        u, v = points[..., 0] / ahead * fx + cx, points[..., 1] / ahead * fy + cy
        inside = (points[..., 2] > 0.05) & (u >= 0) & (u < width) & (v >= 0) & (v < height)
        rows, columns = (np.where(inside, each, 0).astype(int) for each in (v, u))
        there = np.where(np.isfinite(take.depth[0]), take.depth[0], 1e5)[rows, columns]
        seen = inside & (np.abs(there - ahead) < tolerance * ahead + 0.02)
        target = take.rgb[-1].astype(float)

        def psnr(frame):
            return float(10 * np.log10(255**2 / np.square(frame - target)[seen].mean()))

        return psnr(take.rgb[0].astype(float)[rows, columns]), psnr(take.rgb[0].astype(float)), float(seen.mean())

    return measure
