"""Camera: poses, intrinsics, trajectories and the tensors that condition the world model."""

from sanawm_env.camera.rays import (
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

__all__ = [
    "camera_rows",
    "chunk_plucker",
    "invert_ray_matrices",
    "latent_windows",
    "num_latent_frames",
    "plucker_windows",
    "ray_matrices",
    "raymap",
    "relative_to_first",
]
