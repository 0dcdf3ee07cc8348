import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sanawm_env.camera import (
    camera_rows,
    chunk_plucker,
    invert_ray_matrices,
    latent_windows,
    num_latent_frames,
    plucker_windows,
    ray_matrices,
    raymap,
    relative_to_first,
)

HEIGHT, WIDTH = 3, 4
INTRINSICS = torch.tensor([2.5, 2.0, 2.1, 1.4], dtype=torch.float64)
seeds = st.integers(0, 2**32 - 1)
quick = settings(max_examples=20, deadline=None)


def random_poses(seed: int, frames: int, spread: float = 3.0) -> torch.Tensor:
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    poses[:, :3, :3] = Rotation.random(frames, random_state=rng).as_matrix()
    poses[:, :3, 3] = rng.normal(size=(frames, 3)) * spread
    return torch.from_numpy(poses)


def rows_of(poses: torch.Tensor) -> torch.Tensor:
    return camera_rows(poses, INTRINSICS.expand(len(poses), 4))[None]


@quick
@given(seeds)
def test_relative_to_first(seed: int) -> None:
    poses = random_poses(seed, 5)
    relative = relative_to_first(poses[None])[0]
    assert torch.equal(relative[0], torch.eye(4, dtype=torch.float64))
    torch.testing.assert_close(relative, torch.linalg.inv(poses[0]) @ poses)
    assert torch.equal(relative_to_first(relative), relative)


@pytest.mark.parametrize(
    ("frames", "stride", "first", "expected"),
    [
        (9, 4, "future", [[0, 1, 2, 3], [1, 2, 3, 4], [5, 6, 7, 8]]),
        (9, 4, "hold", [[0, 0, 0, 0], [1, 2, 3, 4], [5, 6, 7, 8]]),
        (1, 4, "future", [[0, 0, 0, 0]]),
        (3, 4, "future", [[0, 1, 2, 2]]),
        (7, 4, "future", [[0, 1, 2, 3], [1, 2, 3, 4]]),
        (3, 1, "future", [[0], [1], [2]]),
    ],
)
def test_latent_windows(frames: int, stride: int, first: str, expected: list) -> None:
    assert latent_windows(frames, stride, first).tolist() == expected
    assert num_latent_frames(frames, stride) == len(expected)


def test_latent_windows_errors() -> None:
    with pytest.raises(ValueError, match="'future' or 'hold'"):
        latent_windows(9, 4, "past")
    with pytest.raises(ValueError, match="at least 1"):
        latent_windows(0, 4)


@quick
@given(seeds, st.sampled_from([1, 4, 8]))
def test_plucker_coordinates(seed: int, stride: int) -> None:
    poses = random_poses(seed, 2 * stride + 1)[None]
    plucker = chunk_plucker(poses, INTRINSICS.expand(1, poses.shape[1], 4), HEIGHT, WIDTH, stride)
    assert plucker.shape == (1, 6 * stride, 3, HEIGHT, WIDTH)
    rays = plucker.unflatten(1, (stride, 6))
    direction, moment = rays[:, :, :3], rays[:, :, 3:]
    torch.testing.assert_close(direction.norm(dim=2), torch.ones_like(direction[:, :, 0]))
    assert (direction * moment).sum(dim=2).abs().max() < 1e-12
    # Every ray passes through its camera's centre: centre x direction = moment.
    windows = latent_windows(poses.shape[1], stride)
    centre = relative_to_first(poses)[0, windows][..., :3, 3].permute(1, 2, 0)[None, ..., None, None]
    torch.testing.assert_close(torch.linalg.cross(centre.expand_as(direction), direction, dim=2), moment)


def test_held_first_frame_differs_only_in_latent_0() -> None:
    poses = random_poses(0, 9)[None]
    grid = INTRINSICS.expand(1, 9, 4)
    future = chunk_plucker(poses, grid, HEIGHT, WIDTH, 4)
    hold = chunk_plucker(poses, grid, HEIGHT, WIDTH, 4, first="hold")
    assert torch.equal(future[:, :, 1:], hold[:, :, 1:])
    assert torch.equal(hold[:, :6, 0], hold[:, 6:12, 0])
    assert not torch.equal(future[:, :, 0], hold[:, :, 0])


def test_raymap_rows() -> None:
    poses = random_poses(1, 9)[None]
    rows = raymap(poses, INTRINSICS.expand(1, 9, 4), 4)
    assert rows.shape == (1, 3, 20)
    assert torch.equal(rows[0, 1, :16].reshape(4, 4), relative_to_first(poses)[0, 4])
    assert torch.equal(rows[0, 2, 16:], INTRINSICS)


@quick
@given(seeds)
def test_ray_matrices_are_rigid_and_look_along_the_ray(seed: int) -> None:
    poses = random_poses(seed, 2)
    rays = ray_matrices(rows_of(poses), HEIGHT, WIDTH)
    assert rays.shape == (1, 2, HEIGHT, WIDTH, 4, 4)
    identity = torch.eye(4, dtype=torch.float64).expand_as(rays)
    torch.testing.assert_close(rays @ invert_ray_matrices(rays), identity)
    torch.testing.assert_close(invert_ray_matrices(rays), torch.linalg.inv(rays))
    # The camera centre is the origin of the ray frame, and the ray is its z axis.
    centre = poses[:, None, None, :, 3:]
    torch.testing.assert_close((rays[0] @ centre)[..., 0], identity[0, ..., 3])
    plucker = plucker_windows(poses[None, :, None], INTRINSICS.expand(1, 2, 1, 4), HEIGHT, WIDTH)
    torch.testing.assert_close(rays[..., 2, :3], plucker[:, :3].permute(0, 2, 3, 4, 1))


@quick
@given(seeds)
def test_moving_the_world_cancels_between_two_rays(seed: int) -> None:
    poses, (move,) = random_poses(seed, 2), random_poses(seed + 1, 1)
    rays = ray_matrices(rows_of(poses), HEIGHT, WIDTH)
    moved = ray_matrices(rows_of(move @ poses), HEIGHT, WIDTH)
    torch.testing.assert_close(moved, rays @ torch.linalg.inv(move))
    relative = rays[:, 1] @ invert_ray_matrices(rays[:, 0])
    torch.testing.assert_close(moved[:, 1] @ invert_ray_matrices(moved[:, 0]), relative)


def test_unusable_rays_become_identity() -> None:
    rows = rows_of(random_poses(2, 3))
    rows[0, 0, 16] = 0.0
    rows[0, 1] = float("nan")
    rays = ray_matrices(rows, HEIGHT, WIDTH)
    eye = torch.eye(4, dtype=torch.float64)
    assert torch.equal(rays[0, :2], eye.expand(2, HEIGHT, WIDTH, 4, 4))
    assert not torch.equal(rays[0, 2, 0, 0], eye)


def test_half_precision_is_raised() -> None:
    rows = rows_of(random_poses(3, 2)).bfloat16()
    assert ray_matrices(rows, HEIGHT, WIDTH).dtype == torch.float32
    assert raymap(random_poses(3, 5)[None].half(), INTRINSICS.expand(1, 5, 4), 4).dtype == torch.float32


def test_a_slot_does_not_depend_on_its_neighbours() -> None:
    poses = torch.stack([random_poses(seed, 5) for seed in range(6)]).float()
    grid = INTRINSICS.float().expand(6, 5, 4)
    rays = ray_matrices(raymap(poses, grid, 4), HEIGHT, WIDTH)
    plucker = chunk_plucker(poses, grid, HEIGHT, WIDTH, 4)
    for slot in range(6):
        one = slice(slot, slot + 1)
        assert torch.equal(rays[one], ray_matrices(raymap(poses[one], grid[one], 4), HEIGHT, WIDTH))
        assert torch.equal(plucker[one], chunk_plucker(poses[one], grid[one], HEIGHT, WIDTH, 4))


def test_one_graph_under_compile() -> None:
    # The "eager" backend checks the tracing, which is what can break, without a C++ compiler.
    rows = rows_of(random_poses(4, 2))

    def both(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        rays = ray_matrices(rows, HEIGHT, WIDTH)
        return rays, invert_ray_matrices(rays)

    compiled = torch.compile(both, backend="eager", fullgraph=True)
    for ours, plain in zip(compiled(rows), both(rows), strict=True):
        assert torch.equal(ours, plain)
