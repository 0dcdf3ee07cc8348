"""Camera: poses, intrinsics, trajectories and the tensors that condition the world model."""

from sanawm_env.camera.intrinsics import (
    Intrinsics,
    check_fov,
    fit_geometry,
    fit_image,
    fit_intrinsics,
    load_intrinsics,
)
from sanawm_env.camera.keymaps import KEYMAPS, Control, KeyMap, get_keymap
from sanawm_env.camera.pose import (
    action_to_delta,
    delta_to_action,
    geodesic,
    load_poses,
    pose_deltas,
    poses_to_actions,
    rollout_actions,
    validate_c2w,
)
from sanawm_env.camera.rays import (
    FirstWindow,
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
from sanawm_env.camera.trajectory import KeyboardState, parse_actions, rollout_keys

__all__ = [
    "KEYMAPS",
    "Control",
    "FirstWindow",
    "Intrinsics",
    "KeyMap",
    "KeyboardState",
    "action_to_delta",
    "camera_rows",
    "check_fov",
    "chunk_plucker",
    "delta_to_action",
    "fit_geometry",
    "fit_image",
    "fit_intrinsics",
    "geodesic",
    "get_keymap",
    "invert_ray_matrices",
    "latent_windows",
    "load_intrinsics",
    "load_poses",
    "num_latent_frames",
    "parse_actions",
    "plucker_windows",
    "pose_deltas",
    "poses_to_actions",
    "ray_matrices",
    "raymap",
    "relative_to_first",
    "rollout_actions",
    "rollout_keys",
    "validate_c2w",
]
