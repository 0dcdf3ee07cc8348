"""Freedoom's levels (BSD-3), drawn by ViZDoom (MIT).

The engine draws walls upright, so the camera only turns about the vertical. Things (bottles, torches) are flat pictures
that always face the camera; there are no monsters.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from sanawm_env.scenes.builder import Dice
from sanawm_env.scenes.external.doom_level import Ground, Level
from sanawm_env.scenes.external.source import Array, Take, pinhole
from sanawm_env.scenes.motion import MAX_TRANSLATION, free_path

__all__ = ["film"]

UNIT = 32.0
"""Map units of a metre: players then look from 1.3 m."""
_BODY = 0.2
"""Metres by which a player (radius 16 map units) is wider than the camera's clearance and its margin."""
_SIZES = {"RES_640X360": (360, 640), "RES_1280X720": (720, 1280), "RES_1920X1080": (1080, 1920)}
_FOCAL = 0.375
"""fx as a share of the width, at 16:9: 106 degrees, whatever CAMERA_FOV says."""
_TALL = 1.2
"""fy / fx: the engine's pixels are taller than wide."""
_LEVEL_STEP = 7.25
"""Map units of a level of ViZDoom's depth of 8 bits."""
_THRUST = 32.0
"""Units of a MOVE_*_DELTA button that change the speed by one map unit per tic."""
_SETTLE = 40
"""Tics to come to rest at the first pose."""
_TRIES = 8
"""Levels tried: now and then the player is carried away, or has no room."""


def film(seed: int, frames: int, height: int, width: int) -> Take:
    """Walk through a level of a seed.

    Raises:
        RuntimeError: No place in several levels where a player can walk.
    """
    import vizdoom

    iwads = Path(vizdoom.__file__).parent
    # The engine leaves its settings in the folder that it starts in.
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        for attempt in range(_TRIES):
            dice = Dice(seed, 20, attempt)
            game = _game(vizdoom, height)
            if dice.chance(0.5):
                game.set_doom_game_path(str(iwads / "freedoom1.wad"))
                game.set_doom_map(f"E{1 + dice.index(4)}M{1 + dice.index(9)}")
            else:
                game.set_doom_game_path(str(iwads / "freedoom2.wad"))
                game.set_doom_map(f"MAP{1 + dice.index(32):02d}")
            game.set_seed(seed % 2**31)
            game.set_doom_config_path(str(Path(folder) / "settings.ini"))
            game.init()
            try:
                take = _walk(game, seed + attempt * 1_000_003, frames, (height, width), dice)
            finally:
                game.close()
            if take is not None:
                return take
    raise RuntimeError(f"seed {seed} of vizdoom: nowhere to walk in {_TRIES} levels; begin at another --seed.")


def _game(vizdoom: Any, height: int) -> Any:
    """The engine, without what is no part of a level."""
    game = vizdoom.DoomGame()
    fitting = [name for name, (rows, _) in _SIZES.items() if rows >= 2 * height] or [list(_SIZES)[-1]]
    game.set_screen_resolution(getattr(vizdoom.ScreenResolution, fitting[0]))
    game.set_screen_format(vizdoom.ScreenFormat.RGB24)
    for name in ("depth_buffer", "sectors_info"):
        getattr(game, f"set_{name}_enabled")(True)
    for name in (
        "hud", "weapon", "crosshair", "particles", "decals", "effects_sprites", "messages", "corpses", "screen_flashes",
    ):  # fmt: skip
        getattr(game, f"set_render_{name}")(False)
    game.set_window_visible(False)
    game.set_sound_enabled(False)
    game.set_mode(vizdoom.Mode.PLAYER)
    game.add_game_args("+sv_cheats 1 -nomonsters +movebob 0")
    buttons, variables = vizdoom.Button, vizdoom.GameVariable
    game.set_available_buttons(
        [buttons.TURN_LEFT_RIGHT_DELTA, buttons.MOVE_FORWARD_BACKWARD_DELTA, buttons.MOVE_LEFT_RIGHT_DELTA]
    )
    game.set_available_game_variables(
        [variables.CAMERA_POSITION_X, variables.CAMERA_POSITION_Y, variables.CAMERA_POSITION_Z,
         variables.CAMERA_ANGLE, variables.VELOCITY_X, variables.VELOCITY_Y]
    )  # fmt: skip
    return game


def _walk(game: Any, seed: int, frames: int, size: tuple[int, int], dice: Dice) -> Take | None:
    """One walk on some piece of ground; None if the player was carried away, or has no room there."""
    game.new_episode()
    game.send_game_command("god")
    level = Level.read(game.get_state().sectors)
    ground = _some_ground(level, np.random.default_rng([seed, 21]))
    plan = free_path(seed, ground, frames, level=True)
    if ground.clearance(plan[:, :3, 3]).min() < 0.1:
        return None
    wish_at = plan[:, [0, 2], 3] * UNIT
    wish_angle = 90 - np.rad2deg(np.arctan2(plan[:, 0, 2], plan[:, 2, 2]))
    game.send_game_command(f"warp {wish_at[0, 0]:.0f} {wish_at[0, 1]:.0f}")
    for _ in range(_SETTLE):
        _step(game, wish_at[0], wish_angle[0])
    camera = _Camera(size, dice.uniform(65.0, 95.0))
    rgb, depth, poses = [], [], []
    for i in range(frames):
        if i:
            _step(game, wish_at[i], wish_angle[i])
        state = game.get_state()
        if state is None:
            return None
        x, y, z, angle = (float(value) for value in state.game_variables[:4])
        rgb.append(camera.picture(state.screen_buffer))
        exact = level.depth(np.array([x, y, z]), np.deg2rad(angle), camera.intrinsics, *size)
        depth.append(_corrected(exact, camera.coarse(state.depth_buffer)) / UNIT)
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_euler("y", 90 - angle, degrees=True).as_matrix()
        pose[:3, 3] = x / UNIT, -z / UNIT, y / UNIT
        poses.append(pose)
    c2w = np.stack(poses)
    if np.linalg.norm(np.diff(c2w[:, :3, 3], axis=0), axis=1).max() > 2 * MAX_TRANSLATION:
        return None
    return Take(_brightened(np.stack(rgb)), np.stack(depth).astype(np.float32), c2w, camera.intrinsics)


def _some_ground(level: Level, rng: np.random.Generator) -> Ground:
    """A piece of ground, large ones more often."""
    low, high = level.lines.reshape(-1, 2).min(0), level.lines.reshape(-1, 2).max(0)
    pieces = level.grounds()
    for _ in range(200):
        sector = level.sector_at(*rng.uniform(low, high))
        if sector >= 0 and level.ceiling[sector] - level.floor[sector] >= 60:
            break
    return Ground(level, pieces == pieces[max(sector, 0)], UNIT, _BODY)


def _step(game: Any, at: Array, angle: float) -> None:
    """One tic towards a place (map units) and angle (degrees): push by what the present speed lacks."""
    state = game.get_state()
    if state is None:
        return
    x, y, _, now, *speed = (float(value) for value in state.game_variables)
    push = (at - [x, y] - speed) * _THRUST
    turn = (now - angle + 180) % 360 - 180
    facing = np.deg2rad(now - turn)
    ahead, right = [np.cos(facing), np.sin(facing)], [np.sin(facing), -np.cos(facing)]
    game.make_action([turn, float(np.clip(push @ ahead, -50, 50)), float(np.clip(push @ right, -50, 50))])


class _Camera:
    """A crop of the engine's picture, with square pixels."""

    def __init__(self, size: tuple[int, int], fov: float) -> None:
        height, width = size
        # As wide as asked for, unless that is higher than the engine's picture.
        focal = max(pinhole(height, width, fov)[0], height * _FOCAL * 16 / 9 * _TALL)
        self.intrinsics = np.array([focal, focal, width / 2, height / 2])
        self._size = size

    def picture(self, screen: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The crop, (H, W, 3)."""
        from sanawm_env.camera.opencv import cv2

        rows, columns = screen.shape[:2]
        focal = _FOCAL * columns
        high, wide = (side * focal / self.intrinsics[0] for side in self._size)
        top, left = (rows - high * _TALL) / 2, (columns - wide) / 2
        # Twice the size by the exact crop, then means of four: textures are fine and unfiltered.
        height, width = 2 * self._size[0], 2 * self._size[1]
        scale = np.array([[wide / width, 0, left], [0, high * _TALL / height, top]])
        scale[:, 2] += scale[:, :2] @ [0.5, 0.5] - 0.5
        how = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        large = cv2.warpAffine(screen, scale, (width, height), flags=how, borderMode=cv2.BORDER_REPLICATE)
        found = cv2.resize(large, (self._size[1], self._size[0]), interpolation=cv2.INTER_AREA)
        return np.asarray(found, np.uint8)

    def coarse(self, levels: NDArray[np.uint8]) -> Array:
        """The engine's depth at the crop's pixels, in levels."""
        rows, columns = levels.shape
        focal = _FOCAL * columns
        y = ((np.arange(self._size[0]) + 0.5) - self.intrinsics[3]) / self.intrinsics[1] * focal * _TALL + rows / 2
        x = ((np.arange(self._size[1]) + 0.5) - self.intrinsics[2]) / self.intrinsics[0] * focal + columns / 2
        y, x = y.astype(int).clip(0, rows - 1), x.astype(int).clip(0, columns - 1)
        found: Array = levels[y[:, None], x].astype(np.float64)
        return found


def _corrected(exact: Array, levels: Array) -> Array:
    """Depth by rays, and the engine's coarse one where that knows better: things, and walls one can look through."""
    coarse = (levels + 0.5) * _LEVEL_STEP
    other = np.abs(exact - coarse) > 2.5 * _LEVEL_STEP + 0.08 * coarse
    return np.where(other, np.where(levels >= 255, np.inf, coarse), exact)


def _brightened(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One gamma for the clip: most levels are dark."""
    mean = float(rgb[0].mean()) / 255
    gamma = float(np.clip(np.log(0.4) / np.log(np.clip(mean, 0.02, 0.98)), 0.5, 1.0))
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return table[rgb]
