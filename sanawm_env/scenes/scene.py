"""The scene description: batched tables of solids, materials and light that the ray caster reads."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

NUM_BOXES = 26
"""Box slots of every scene; unused ones are parked underground."""
NUM_CYLINDERS = 5
"""Upright cylinder slots of every scene."""
NUM_ELLIPSOIDS = 5
"""Ellipsoid slots of every scene."""
NUM_SOLIDS = NUM_BOXES + NUM_CYLINDERS + NUM_ELLIPSOIDS
"""All solids, in the order boxes, cylinders, ellipsoids."""
NUM_FACES = 6
"""Inner faces of the shell, in the order floor, ceiling, -x, +x, -z, +z."""
NUM_ROWS = NUM_SOLIDS + NUM_FACES
"""Material rows: one for each solid, then one for each face of the shell."""

HEAD_HEIGHT = 1.2
"""Solids centred below this height (m) ..."""
STEP_HEIGHT = 0.3
"""... and taller than this one (m) may not be flown over: `Scene.clearance` extends them upwards."""


@dataclass(frozen=True)
class Scene:
    """`B` static worlds in metres; +y is down, the floor is the plane y = 0.

    A scene is one *shell* (a box seen from inside: the room, or ground and sky) with solids in it. All
    counts are fixed, so that scenes of different families stack into one batch and compile once.
    """

    center: Tensor
    """(B, S, 3) centres of the solids, m."""
    half: Tensor
    """(B, S, 3) half extents along the solid's own axes, m (radii for cylinders and ellipsoids)."""
    turn: Tensor
    """(B, S, 2) cosine and sine of each solid's yaw; yaw turns +z towards +x, as for a camera."""
    active: Tensor
    """(B, S) bool, False for unused slots."""
    shell_center: Tensor
    """(B, 3) centre of the shell, m."""
    shell_half: Tensor
    """(B, 3) half extents of the shell, m."""
    color_a: Tensor
    """(B, R, 3) base colour in [0, 1] of solids, then of the shell's faces."""
    color_b: Tensor
    """(B, R, 3) second colour, used by the pattern."""
    wave: Tensor
    """(B, R, 4) checker frequencies along u and v (1/m) and phases (cycles); frequency 0 leaves stripes."""
    style: Tensor
    """(B, R, 4) checker weight [0, 1], border width (m), wainscot height (m), downward darkening [0, 1]."""
    light: Tensor
    """(B, 3) position of the light, m; far away for the sun."""
    lighting: Tensor
    """(B, 3) ambient, diffuse, and fall-off of the diffuse part with squared distance (1/m^2)."""
    fog: Tensor
    """(B, 4) fog colour and density (1/m)."""
    sky: Tensor
    """(B, 9) zenith, horizon and hill colours."""
    hills: Tensor
    """(B, 3) phases of the skyline, rad."""
    open_air: Tensor
    """(B,) 1 where every face of the shell but the floor shows the sky, else 0."""
    bounds: Tensor
    """(B, 4) x_min, x_max, z_min, z_max of the area meant for the camera, m."""

    def __post_init__(self) -> None:
        b = self.center.shape[0] if self.center.ndim else -1
        expected = {"center": (b, NUM_SOLIDS, 3), "half": (b, NUM_SOLIDS, 3), "turn": (b, NUM_SOLIDS, 2),
                    "color_a": (b, NUM_ROWS, 3), "wave": (b, NUM_ROWS, 4), "shell_half": (b, 3)}  # fmt: skip
        for name, shape in expected.items():
            if tuple(getattr(self, name).shape) != shape:
                raise ValueError(f"Scene.{name} must have shape {shape}, got {tuple(getattr(self, name).shape)}")

    @property
    def batch(self) -> int:
        """Number of scenes."""
        return self.center.shape[0]

    @property
    def device(self) -> torch.device:
        """Where the tables live."""
        return self.center.device

    def to(self, device: torch.device | str) -> Scene:
        """The same scenes on another device."""
        return replace(self, **{f.name: getattr(self, f.name).to(device) for f in fields(self)})

    def select(self, index: int | slice | Tensor) -> Scene:
        """Some of the scenes; an int keeps a batch axis of one."""
        rows = slice(index, index + 1 or None) if isinstance(index, int) else index
        return replace(self, **{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @staticmethod
    def cat(scenes: list[Scene]) -> Scene:
        """Joins batches of scenes along the leading axis."""
        return Scene(**{f.name: torch.cat([getattr(s, f.name) for s in scenes]) for f in fields(Scene)})

    def clearance(self, points: Tensor) -> Tensor:
        """Distance from each point to the nearest surface; negative inside a solid or outside the shell.

        Furniture is treated as if it reached the ceiling, so that the camera walks round it instead of
        flying over it; lintels, crowns of trees, rugs and pictures count at their true height. Cylinders
        and ellipsoids count as upright cylinders, which is exact or a little conservative.

        Args:
            points: (B, N, 3) world points, m.

        Returns:
            (B, N) distances, m.
        """
        if points.ndim != 3 or points.shape[0] != self.batch or points.shape[2] != 3:
            raise ValueError(f"points must have shape ({self.batch}, N, 3), got {tuple(points.shape)}")
        top, bottom = self.center[..., 1] - self.half[..., 1], self.center[..., 1] + self.half[..., 1]
        stands = (self.center[..., 1] > -HEAD_HEIGHT) & (top < -STEP_HEIGHT)
        top = torch.where(stands, torch.full_like(top, -1e3), top)
        rel = points[:, :, None, :] - self.center[:, None]  # (B, N, S, 3)
        cos, sin = self.turn[:, None, :, 0], self.turn[:, None, :, 1]
        lx, lz = cos * rel[..., 0] - sin * rel[..., 2], sin * rel[..., 0] + cos * rel[..., 2]
        y = points[:, :, None, 1]
        dy = torch.maximum(top[:, None] - y, y - bottom[:, None])
        dx, dz = lx.abs() - self.half[:, None, :, 0], lz.abs() - self.half[:, None, :, 2]
        flat = (dx.clamp_min(0) ** 2 + dz.clamp_min(0) ** 2).sqrt() + torch.maximum(dx, dz).clamp_max(0)
        radius = torch.maximum(self.half[..., 0], self.half[..., 2])[:, None]
        round_ = (lx**2 + lz**2).sqrt() - radius
        flat = torch.cat([flat[..., :NUM_BOXES], round_[..., NUM_BOXES:]], -1)
        dist = (flat.clamp_min(0) ** 2 + dy.clamp_min(0) ** 2).sqrt() + torch.maximum(flat, dy).clamp_max(0)
        dist = torch.where(self.active[:, None], dist, torch.full_like(dist, 1e3)).amin(-1)
        walls = (self.shell_half[:, None] - (points - self.shell_center[:, None]).abs()).amin(-1)
        return torch.minimum(dist, walls)

    def is_free(self, points: Tensor, margin: float = 0.0) -> Tensor:
        """Whether each of the (B, N, 3) points keeps `margin` metres of clearance: (B, N) bool."""
        return self.clearance(points) >= margin

    def body_clearance(self, places: Tensor, radius: float, above: float, below: float) -> Tensor:
        """Room around an upright cylinder as the scene really is: furniture ends where it ends.

        Distances are horizontal, to what stands at the body's height; they are exact. Ellipsoids must be round seen
        from above, as those of all families are.

        Args:
            places: (B, N, 3) points on the body's axis, m.
            radius: Of the body, m.
            above: Its extent above those points, m.
            below: Its extent below them, m.

        Returns:
            (B, N) metres between the body's side and the nearest surface beside it: negative where the body cuts
            into one, infinite where there is nothing. Minus infinity where the floor, or the ceiling, cuts it.

        Raises:
            ValueError: Places of another shape, or an ellipsoid that is not round.
        """
        if places.ndim != 3 or places.shape[0] != self.batch or places.shape[2] != 3:
            raise ValueError(f"places must have shape ({self.batch}, N, 3), got {tuple(places.shape)}")
        half, spheroid = self.half[:, None], self.half[:, NUM_BOXES:]
        if not torch.equal(spheroid[..., 0], spheroid[..., 2]):
            raise ValueError("body_clearance needs cylinders and ellipsoids that are round seen from above")
        rel = places[:, :, None] - self.center[:, None]  # (B, N, S, 3)
        cos, sin = self.turn[:, None, :, 0], self.turn[:, None, :, 1]
        lx, lz = cos * rel[..., 0] - sin * rel[..., 2], sin * rel[..., 0] + cos * rel[..., 2]
        dx, dz = lx.abs() - half[..., 0], lz.abs() - half[..., 2]
        flat = (dx.clamp_min(0) ** 2 + dz.clamp_min(0) ** 2).sqrt() + torch.maximum(dx, dz).clamp_max(0)
        # The widest cut through each solid within the body's height: only ellipsoids are not as wide everywhere.
        top, bottom = rel[..., 1] - above, rel[..., 1] + below
        share = torch.maximum(top, -bottom).clamp_min(0) / half[..., 1]
        width = half[..., 0] * torch.cat(
            [torch.ones_like(share[..., : NUM_BOXES + NUM_CYLINDERS]),
             (1 - share[..., NUM_BOXES + NUM_CYLINDERS :] ** 2).clamp_min(0).sqrt()], -1
        )  # fmt: skip
        round_ = (lx**2 + lz**2).sqrt() - width
        dist = torch.cat([flat[..., :NUM_BOXES], round_[..., NUM_BOXES:]], -1)
        beside = (share < 1) & self.active[:, None]
        dist = torch.where(beside, dist, torch.full_like(dist, torch.inf)).amin(-1)
        walls = self.shell_half[:, None] - (places - self.shell_center[:, None]).abs()
        dist = torch.minimum(dist, torch.minimum(walls[..., 0], walls[..., 2]))
        low = self.shell_center[:, None, 1] + self.shell_half[:, None, 1] - places[..., 1] < below
        high = places[..., 1] - self.shell_center[:, None, 1] + self.shell_half[:, None, 1] < above
        return torch.where(low | high, torch.full_like(dist, -torch.inf), dist - radius)
