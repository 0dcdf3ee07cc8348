// From keys, mouse, gamepad and thumbs to one twist: m/s and rad/s along the camera's axes (x right, y down, z forward).
import { dead } from "./touch.js";

const STEEPEST = 1.05; // rad of pitch in walking

export class Motion {
  constructor(keys, mouse, move, look) {
    Object.assign(this, { keys, mouse, move, look, speed: 1, walking: true, held: "", changed: false });
    this.last = performance.now();
  }

  /** Walk on the level, or fly where one looks; what that means. */
  fly() {
    this.walking = !this.walking;
    return this.walking ? "Walking: forward is level." : "Flying: forward is where you look.";
  }

  /** What is held now; `pose` is `[x, y, z, qw, qx, qy, qz]`, `limits` has max_speed and max_turn. */
  twist(pose, limits) {
    const now = performance.now(), seconds = Math.min(0.1, (now - this.last) / 1000);
    this.last = now;
    const axes = this.keys.axes(), pad = gamepad();
    const forward = axes.forward + this.move.y + pad.forward, right = axes.right + this.move.x + pad.right;
    const up = axes.up + pad.up;
    const quick = limits.max_speed * this.speed * (this.keys.slow ? 0.4 : 1);
    const held = [forward, right, up, axes.yaw + this.look.x + pad.yaw, axes.pitch + this.look.y + pad.pitch].join();
    this.changed = held !== this.held;
    this.held = held;
    const length = Math.max(1, Math.hypot(forward, right, up));
    const walk = [(right / length) * quick, (-up / length) * quick, (forward / length) * quick];
    const drag = this.mouse.take(seconds, limits.max_turn), most = limits.max_turn * (this.keys.slow ? 0.4 : 1);
    const yaw = clamp(most * (axes.yaw + this.look.x + pad.yaw) + drag.yaw, limits.max_turn);
    const pitch = clamp(most * (axes.pitch + this.look.y + pad.pitch) + drag.pitch, limits.max_turn);
    if (![...walk, yaw, pitch].some((value) => Math.abs(value) > 1e-3)) return [0, 0, 0, 0, 0, 0];
    return (this.walking ? upright(walk, yaw, pitch, pose, limits) : [...walk, pitch, yaw, 0]).map((value) => Math.round(value * 1e4) / 1e4);
  }
}

/** On the ground: forward is level whatever one looks at, turning is about the vertical, and the horizon comes level. */
function upright([x, y, z], yaw, pitch, pose, limits) {
  const down = toCamera(pose, [0, 1, 0]);
  const ahead = level([0, 0, 1], down), side = level([1, 0, 0], down);
  if (ahead === null || side === null) return [x, y, z, pitch, yaw, 0];
  const tilt = -Math.asin(clamp(down[2], 1)); // of the view; up is positive
  if ((tilt > STEEPEST && pitch > 0) || (tilt < -STEEPEST && pitch < 0)) pitch = 0;
  const turn = down.map((part) => part * yaw);
  turn[0] += pitch;
  turn[2] += clamp(-1.5 * Math.atan2(down[0], down[1]), limits.max_turn / 2);
  return [...[0, 1, 2].map((k) => side[k] * x + down[k] * y + ahead[k] * z), ...turn];
}

/** A direction without its part along another, of length 1. */
function level(direction, along) {
  const part = direction.reduce((sum, value, k) => sum + value * along[k], 0);
  const rest = direction.map((value, k) => value - part * along[k]), length = Math.hypot(...rest);
  return length < 0.05 ? null : rest.map((value) => value / length);
}

/** A direction of the world as the camera sees it. */
export function toCamera(pose, v) {
  const [, , , w, x, y, z] = pose;
  return rotate([w, -x, -y, -z], v);
}

/** A vector turned by a quaternion w, x, y, z. */
export function rotate([w, x, y, z], [a, b, c]) {
  const t = [2 * (y * c - z * b), 2 * (z * a - x * c), 2 * (x * b - y * a)];
  return [a + w * t[0] + y * t[2] - z * t[1], b + w * t[1] + z * t[0] - x * t[2], c + w * t[2] + x * t[1] - y * t[0]];
}

function gamepad() {
  const pad = (navigator.getGamepads?.() ?? []).find((each) => each?.connected && each.axes.length >= 4);
  if (!pad) return { forward: 0, right: 0, up: 0, yaw: 0, pitch: 0 };
  const button = (k) => pad.buttons[k]?.value ?? 0;
  return {
    right: dead(pad.axes[0]), forward: -dead(pad.axes[1]), yaw: dead(pad.axes[2]), pitch: -dead(pad.axes[3]),
    up: button(7) - button(6),
  };
}

const clamp = (value, most) => Math.max(-most, Math.min(most, value));
