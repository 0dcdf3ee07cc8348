import math
import warnings

import pytest
import torch

from sanawm_env.scenes import FAMILIES, Scene, make_clips, make_scene, render, render_scene
from sanawm_env.scenes import clips as clips_module
from sanawm_env.scenes.builder import Material, SceneBuilder
from sanawm_env.scenes.raycast import render as render_module
from sanawm_env.scenes.raycast.trace import trace
from sanawm_env.scenes.scene import NUM_BOXES

PLAIN = Material((0.8, 0.3, 0.2), (0.2, 0.4, 0.8), cell=(1.0, 1.0), weight=1.0)


def hall() -> SceneBuilder:
    """An empty hall, 8 m wide, 3 m high, 10 m long."""
    builder = SceneBuilder()
    builder.shell((8.0, 3.0, 10.0), [PLAIN] * 6)
    return builder


def pose(x: float, y: float, z: float, yaw: float = 0.0) -> torch.Tensor:
    c2w = torch.eye(4)
    c2w[0, 0] = c2w[2, 2] = math.cos(yaw)
    c2w[0, 2], c2w[2, 0] = math.sin(yaw), -math.sin(yaw)
    c2w[:3, 3] = torch.tensor([x, y, z])
    return c2w[None, None]


def camera(height: int, width: int, focal: float = 40.0) -> torch.Tensor:
    return torch.tensor([[focal, focal, width / 2, height / 2]])


@pytest.mark.parametrize("yaw", [0.0, math.pi / 2, 0.7])
def test_depth_of_an_empty_hall_is_exact(yaw: float) -> None:
    # An odd width puts a column of rays exactly parallel to the walls.
    h, w = 23, 41
    _, depth = render(hall().build(), pose(1.0, -1.5, -3.0, yaw), camera(h, w), h, w)
    x = (torch.arange(w, dtype=torch.float64) + 0.5 - w / 2) / 40
    y = (torch.arange(h, dtype=torch.float64) + 0.5 - h / 2) / 40
    y, x = torch.meshgrid(y, x, indexing="ij")
    direction = (math.cos(yaw) * x + math.sin(yaw), y, math.cos(yaw) - math.sin(yaw) * x)
    limits = ((-4.0, 4.0, 1.0), (-3.0, 0.0, -1.5), (-5.0, 5.0, -3.0))
    exits = [
        torch.where(d > 0, (high - at) / d, torch.where(d < 0, (low - at) / d, torch.inf))
        for d, (low, high, at) in zip(direction, limits, strict=True)
    ]
    expected = torch.stack(exits).amin(0)
    torch.testing.assert_close(depth[0, 0].double(), expected, rtol=1e-5, atol=1e-5)


def test_depth_of_each_kind_of_solid() -> None:
    looks = []
    for add in ("box", "cylinder", "ellipsoid", "turned"):
        builder = hall()
        if add == "box":
            builder.box(0, 2, (1, 3, 1), PLAIN)
        elif add == "turned":
            builder.box(0, 2, (1, 3, 1), PLAIN, yaw=math.pi / 4)
        elif add == "cylinder":
            builder.cylinder(0, 2, 0.5, 3, PLAIN)
        else:
            builder.ellipsoid(0, 2, (0.5, 0.8, 0.5), 1.5, PLAIN)
        _, depth = render(builder.build(), pose(0, -1.5, -3), camera(9, 9), 9, 9)
        looks.append(float(depth[0, 0, 4, 4]))
    assert looks == pytest.approx([4.5, 4.5, 4.5, 5 - math.sqrt(0.5)], abs=1e-4)


def test_pixels_are_sampled_at_their_centres() -> None:
    # One pixel with its centre on the optical axis sees what the middle of an odd image sees.
    scene = hall().build()
    big, _ = render(scene, pose(0.3, -1.5, -3), camera(9, 9), 9, 9)
    one, _ = render(scene, pose(0.3, -1.5, -3), torch.tensor([[40.0, 40.0, 0.5, 0.5]]), 1, 1)
    torch.testing.assert_close(big[0, 0, 4, 4], one[0, 0, 0, 0])


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_renders_with_contrast(family: str) -> None:
    clips = make_clips(range(6), 3, 32, 56, families=[family])
    assert set(clips.family) == {family}
    assert clips.rgb.dtype == torch.uint8 and clips.rgb.shape == (6, 3, 32, 56, 3)
    assert not torch.isnan(clips.depth).any() and (clips.depth > 0).all()
    assert torch.isfinite(clips.depth).all() == (family != "outdoor")
    spread = clips.rgb.float().flatten(1).std(1) / 255
    assert (spread > 0.03).all() and spread.mean() > 0.1


@pytest.mark.parametrize("family", FAMILIES)
def test_points_keep_their_colour_from_frame_to_frame(family: str) -> None:
    h, w = 64, 112
    clips = make_clips([3], 21, h, w, families=[family])
    fx, fy, cx, cy = clips.intrinsics[0].tolist()
    first, last = clips.c2w[0, 0], clips.c2w[0, -1]
    v, u = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    z = clips.depth[0, 0]
    seen = torch.isfinite(z)
    points = torch.stack([(u - cx) / fx * z, (v - cy) / fy * z, z], -1)[seen] @ first[:3, :3].T + first[:3, 3]
    there = (points - last[:3, 3]) @ last[:3, :3]
    column, row = there[:, 0] / there[:, 2] * fx + cx, there[:, 1] / there[:, 2] * fy + cy
    inside = (there[:, 2] > 0.1) & (column > 0) & (column < w) & (row > 0) & (row < h)
    j, i = column[inside].long(), row[inside].long()
    visible = (clips.depth[0, -1, i, j] / there[inside, 2] - 1).abs() < 0.02
    assert visible.float().mean() > 0.5 and visible.sum() > 1000
    colours = clips.rgb[0, 0][seen][inside][visible].int()
    again = clips.rgb[0, -1, i, j][visible].int()
    error = (colours - again).abs().amax(-1).float()
    assert error.median() <= 3 and error.quantile(0.85) < 25


def test_culling_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene.cat([make_scene(f, 5) for f in FAMILIES])
    poses = pose(0, -1.5, 0, 0.4).expand(3, 2, 4, 4)
    args = (scene, poses, camera(32, 56).expand(3, 4), 32, 56)
    culled = render(*args)
    monkeypatch.setattr(render_module, "_in_view", lambda s, b, *_: torch.ones_like(s.active[b]))
    for a, b in zip(culled, render(*args), strict=True):
        assert torch.equal(a, b)


def test_render_scene_repeats_a_clip() -> None:
    clips = make_clips([11], 4, 32, 56)
    scene, intrinsics, _ = clips_module.sample_scenes([11], 32, 56)
    rgb, depth = render_scene(scene, clips.c2w[0], intrinsics[0], 32, 56)
    assert torch.equal(rgb, clips.rgb[0]) and torch.equal(depth, clips.depth[0])


def test_without_a_compiler_it_warns_and_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeError("no C++ compiler")

    monkeypatch.setattr(render_module, "_compiled", missing)
    monkeypatch.setattr(render_module, "_broken", set())
    args = (hall().build(), pose(0, -1.5, 0), camera(8, 8), 8, 8)
    with pytest.warns(UserWarning, match="eagerly"):
        rgb, _ = render(*args, compile=True)
    torch.testing.assert_close(rgb, render(*args)[0])
    with warnings.catch_warnings():  # said once
        warnings.simplefilter("error")
        render(*args, compile=True)


@pytest.mark.slow
def test_compiled_equals_eager() -> None:
    eager, fast = (make_clips(range(6), 3, 24, 40, compile=c) for c in (False, True))
    difference = (eager.rgb.int() - fast.rgb.int()).abs()
    # Rays that graze an edge may fall to its other side when the compiler fuses multiply and add.
    assert (difference > 2).float().mean() < 1e-3
    near = torch.isfinite(eager.depth) & torch.isfinite(fast.depth)
    assert ((eager.depth[near] / fast.depth[near] - 1).abs() > 1e-4).float().mean() < 1e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_equals_cpu() -> None:
    host, device = (make_clips(range(6), 3, 32, 56, device=d) for d in ("cpu", "cuda"))
    assert ((host.rgb.int() - device.rgb.cpu().int()).abs() > 2).float().mean() < 1e-3


def test_clear_errors() -> None:
    scene = hall().build()
    good = camera(8, 8)
    with pytest.raises(ValueError, match=r"c2w must have shape \(1, F, 4, 4\)"):
        render(scene, torch.eye(4), good, 8, 8)
    with pytest.raises(ValueError, match="c2w must be finite"):
        render(scene, pose(math.nan, 0, 0), good, 8, 8)
    with pytest.raises(ValueError, match=r"intrinsics must have shape \(1, 4\)"):
        render(scene, pose(0, -1, 0), good[0], 8, 8)
    with pytest.raises(ValueError, match="focal"):
        render(scene, pose(0, -1, 0), good * 0, 8, 8)
    with pytest.raises(ValueError, match="pixel"):
        render(scene, pose(0, -1, 0), good, 0, 8)


def test_builder_refuses_what_does_not_fit() -> None:
    builder = hall()
    assert all(builder.box(0, 0, (1, 1, 1), PLAIN) for _ in range(NUM_BOXES))
    assert not builder.box(0, 0, (1, 1, 1), PLAIN)
    with pytest.raises(ValueError, match="6 face materials"):
        builder.shell((1, 1, 1), [PLAIN])


def test_a_ray_along_a_wall_has_a_depth():
    # One pixel in millions looks exactly along a side of the shell: 0 metres per metre towards it.
    sides = torch.tensor([[[1.0, 0, 0, 0.2], [0, 1.0, 0, -0.3], [0, 0, 1.0, 0.0]]])
    none = [torch.zeros(0, 1, *tail) for tail in ((3, 4), (14,), (10,))]
    x, y = torch.tensor([-0.5, 0.0, 0.5])[None, None], torch.tensor([-0.5, 0.0, 0.5])[None, :, None]
    depth, row = trace(sides, *none, torch.zeros(0, dtype=torch.int32), x, y)
    assert torch.isfinite(depth).all()
    assert torch.allclose(depth[0, 1, 1], torch.tensor(1.0)), "straight on, the far side is 1 m away"
    assert row.unique().tolist() == [row[0, 1, 1].item()]
