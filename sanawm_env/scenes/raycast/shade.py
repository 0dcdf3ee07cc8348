"""Colours of the nearest hits: pattern, light, fog and sky, evaluated once per ray."""

from __future__ import annotations

import torch
from torch import Tensor

from sanawm_env.scenes.scene import NUM_BOXES, NUM_CYLINDERS, NUM_FACES, NUM_SOLIDS, Scene


def material_table(scene: Scene) -> Tensor:
    """(B, R, 22): centre 3, half 3, turn 2, colours 6, wave 4, style 4 of each solid and shell face."""
    b = scene.batch
    center = torch.cat([scene.center, scene.shell_center[:, None].expand(b, NUM_FACES, 3)], 1)
    half = torch.cat([scene.half, scene.shell_half[:, None].expand(b, NUM_FACES, 3)], 1)
    straight = torch.tensor([1.0, 0.0], dtype=torch.float32, device=scene.device).expand(b, NUM_FACES, 2)
    turn = torch.cat([scene.turn, straight], 1)
    return torch.cat([center, half, turn, scene.color_a, scene.color_b, scene.wave, scene.style], -1)


def light_table(scene: Scene) -> Tensor:
    """(B, 23): light 3, lighting 3, fog 4, sky 9, hills 3, open air 1."""
    return torch.cat([scene.light, scene.lighting, scene.fog, scene.sky, scene.hills, scene.open_air[:, None]], -1)


def _square(u: Tensor, freq: Tensor, phase: Tensor, blur: Tensor) -> Tensor:
    """A square wave in [-1, 1] whose edges are `blur` metres wide; it fades out where cells get smaller."""
    cycle = u * freq + phase
    triangle = 1 - 4 * (cycle - torch.floor(cycle) - 0.5).abs()  # -1 .. 1, zero on the edges
    # A frequency of zero makes the cell endless, so the wave stays at its crest.
    return (triangle / (4 * freq * blur + 1e-4)).clamp(-1, 1)


def shade(
    table: Tensor,
    light: Tensor,
    pose: Tensor,
    x: Tensor,
    y: Tensor,
    focal: Tensor,
    depth: Tensor,
    row: Tensor,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Colours one scene's hits.

    Args:
        table: (R, 22) from `material_table`.
        light: (23,) from `light_table`.
        pose: (F, 4, 4) camera-to-world.
        x: (1, 1, W) ray slopes.
        y: (1, H, 1) ray slopes.
        focal: (1, 1, 1) focal length in pixels, for the size of a pixel on the surface.
        depth: (F, H, W) z-depth, m.
        row: (F, H, W) material row, integer.

    Returns:
        red, green, blue (F, H, W) in [0, 1], and the depth (F, H, W) with infinity for the sky.
    """
    # One look-up per parameter: a stacked one would be written to memory before use.
    index = row.long()
    params = [column[index] for column in table.unbind(-1)]
    cx, cy, cz, hx, hy, hz, cos, sin = params[:8]
    color_a, color_b = params[8:11], params[11:14]
    freq_u, freq_v, phase_u, phase_v, weight, border, band, fade = params[14:]

    m = [[pose[:, i, j, None, None] for j in range(4)] for i in range(3)]
    vx, vy, vz = (m[i][0] * x + (m[i][1] * y + m[i][2]) for i in range(3))
    px, py, pz = (m[i][3] + depth * v for i, v in enumerate((vx, vy, vz)))
    stretch = (1 + x * x + y * y).sqrt()  # ray length per metre of z-depth

    # Hit point in the solid's frame, in metres and in units of the half extents.
    qx, ly, qz = px - cx, py - cy, pz - cz
    lx, lz = cos * qx - sin * qz, sin * qx + cos * qz
    ux, uy, uz = lx / hx, ly / hy, lz / hz
    ax, ay, az = ux.abs(), uy.abs(), uz.abs()

    # Which face: the axis on which the point lies farthest out. Solids seen from outside and the shell
    # seen from inside differ only in the sign of the normal, which is turned towards the viewer below.
    cylinder = (row >= NUM_BOXES) & (row < NUM_BOXES + NUM_CYLINDERS)
    ball = (row >= NUM_BOXES + NUM_CYLINDERS) & (row < NUM_SOLIDS)
    on_y = torch.where(cylinder, ay * ay > ux * ux + uz * uz, (ay >= ax) & (ay >= az)) & ~ball
    on_x = (ax >= az) & ~on_y
    curved = (cylinder & ~on_y) | ball
    zero = torch.zeros_like(ux)
    nx = torch.where(curved, ux / hx, torch.where(on_x, ux, zero))
    ny = torch.where(ball, uy / hy, torch.where(on_y, uy, zero))
    nz = torch.where(curved, uz / hz, torch.where(on_x | on_y, zero, uz))
    nx, nz = cos * nx + sin * nz, cos * nz - sin * nx
    scale = torch.rsqrt(nx * nx + ny * ny + nz * nz + 1e-12)
    facing = (nx * vx + ny * vy + nz * vz) * scale / stretch
    scale = torch.where(facing > 0, -scale, scale)
    nx, ny, nz = nx * scale, ny * scale, nz * scale

    # Pattern coordinates in metres, and the width of a pixel on the surface (blurred less than exact
    # at grazing angles, where the footprint is long in one direction only).
    u = torch.where(on_x & ~curved, lz, lx)
    v = torch.where(on_y, lz, ly)
    edge_u = torch.where(on_x & ~curved, hz, hx) - u.abs()
    edge_v = torch.where(on_y, hz, hy) - v.abs()
    blur = depth * stretch / focal * 0.6 / (facing.abs() + 0.2) + 1e-4
    checks = _square(u, freq_u, phase_u, blur) * _square(v, freq_v, phase_v, blur)
    frame = torch.where(curved, edge_v, torch.minimum(edge_u, edge_v))
    framed = (0.5 + (border - frame) / blur).clamp(0, 1) * (border > 0)
    wainscot = (0.5 + (band - (hy - ly)) / blur).clamp(0, 1) * (~on_y)
    mix = torch.maximum(weight * (0.5 - 0.5 * checks), torch.maximum(framed, wainscot))

    # Wrapped Lambert light from one lamp: faces turned away keep some shape instead of going black.
    sx, sy, sz = light[0] - px, light[1] - py, light[2] - pz
    square = sx * sx + sy * sy + sz * sz
    lambert = (nx * sx + ny * sy + nz * sz) * torch.rsqrt(square + 1e-6)
    power = light[3] + light[4] * (0.3 + 0.7 * lambert).clamp_min(0) / (1 + light[5] * square)
    power = power * (1 - fade * torch.where(on_y, zero, 0.5 + 0.5 * uy))
    haze = 1 - torch.exp(-light[9] * depth * stretch)

    # Sky: gradient over elevation, a soft sun, and a skyline of smooth hills that makes turning visible.
    flat = torch.rsqrt(vx * vx + vz * vz + 1e-9)
    slope, east, north = -vy * flat, vx * flat, vz * flat
    ridge = 0.13 + 0.05 * torch.sin(4 * east + light[19]) + 0.05 * torch.sin(5 * north + light[20])
    ridge = ridge + 0.03 * torch.sin(7 * (east + north) + light[21])
    hill = (0.5 + (ridge - slope) * focal * 0.7).clamp(0, 1)
    up = (slope * 1.1).clamp(0, 1)
    reach = torch.rsqrt(light[0] * light[0] + light[1] * light[1] + light[2] * light[2])
    sun = (vx * light[0] + vy * light[1] + vz * light[2]) * reach / stretch
    glow = ((sun - 0.9) * 10).clamp(0, 1)
    glow = 0.5 * glow * glow + ((sun - 0.985) * 200).clamp(0, 1)
    outside = (row > NUM_SOLIDS) & (light[22] > 0)

    channels = []
    for i in range(3):
        surface = (color_a[i] + (color_b[i] - color_a[i]) * mix) * power
        surface = surface + (light[6 + i] - surface) * haze
        air = light[13 + i] + (light[10 + i] - light[13 + i]) * up
        air = air + ((1.0, 0.96, 0.8)[i] - air) * glow.clamp(0, 1)
        air = air + (light[16 + i] * (0.75 + 0.25 * slope / 0.2).clamp(0, 1) - air) * hill
        channels.append(torch.where(outside, air, surface).clamp(0, 1))
    return channels[0], channels[1], channels[2], torch.where(outside, torch.inf, depth)
