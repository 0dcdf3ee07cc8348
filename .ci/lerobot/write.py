"""Small datasets of the world `tiny` for `.ci/lerobot/judge.py`: real rollouts, written by `formats.lerobot`.

python .ci/lerobot/write.py FOLDER
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from sanawm_env.data import Episode
from sanawm_env.data.episode import all_frames
from sanawm_env.data.formats import lerobot
from sanawm_env.envs.env import SanaWMEnv


def play(env: SanaWMEnv, seed: int, steps: int) -> Episode:
    """One episode of random motions."""
    rng = np.random.default_rng(seed)
    observation, info = env.reset(seed=seed)
    frames, poses, goals = [info["frames"][-1:]], [info["frame_c2w"][-1:]], [observation["goal"]]
    actions, rewards = [], []
    terminated = truncated = False
    while len(actions) < steps and not terminated and not truncated:
        action = rng.uniform(-0.6, 0.6, env.action_space.shape).astype(np.float32)
        action[6:] = -1  # not yet STOP
        observation, reward, terminated, truncated, info = env.step(action)
        frames.append(info["frames"])
        poses.append(info["frame_c2w"])
        goals.append(observation["goal"])
        actions.append(action)
        rewards.append(reward)
    return Episode(
        frames,
        np.concatenate(poses),
        np.asarray(observation["intrinsics"], np.float64),
        frames[0].shape[1:3],
        frames_per_step=env.frames_per_step,
        actions=np.array(actions),
        rewards=np.array(rewards, np.float64),
        terminated=terminated,
        truncated=truncated,
        success=bool(info.get("success", False)),
        entries={"goal": np.array(goals, np.float32)},
        text=f"go to place {seed % 3}",
        name=str(seed),
    )


def main(folder: Path) -> None:
    """Write datasets, and beside each what must be read.

    `rgb-a`, `rgb-b` (in two appends), `h264-444` and `h264` by the writer, `rgb-collected` by `sanawm collect`.
    """
    env = SanaWMEnv("tiny", task="PointNav", obs_mode="dict")
    episodes = [play(env, seed, steps=3 + seed % 3) for seed in range(5)]
    env.close()
    for name, codec, parts in (
        ("rgb-a", "rgb", [episodes[:2]]),
        ("rgb-b", "rgb", [episodes[2:3], episodes[3:]]),
        ("h264-444", "h264-444", [episodes[:2]]),
        ("h264", "h264", [episodes[:2]]),
    ):
        for part in parts:
            lerobot.write(folder / name, part, mode="append", codec=codec)
        assert not (problems := lerobot.check(folder / name)), problems
        expect(folder / f"{name}.npz", [episode for part in parts for episode in part])
    collected = folder / "rgb-collected"
    options = "--task PointNav --policy scripted:follow --episodes 3 --max-steps 6 -c tiny --codec rgb".split()
    subprocess.run([sys.executable, "-m", "sanawm_env.cli", "collect", *options, "--out", str(collected)], check=True)
    assert not (problems := lerobot.check(collected)), problems
    expect(folder / "rgb-collected.npz", list(lerobot.read(collected)))


def expect(file: Path, episodes: list[Episode]) -> None:
    """Write down what LeRobot must read: rows of all episodes, one after another."""
    held = [
        np.concatenate([np.repeat(e.actions, e.frames_per_step, axis=0), np.zeros((1, e.actions.shape[1]))])
        for e in episodes
    ]
    np.savez(
        file,
        frames=np.concatenate([all_frames(e) for e in episodes]),
        c2w=np.concatenate([e.c2w for e in episodes]),
        actions=np.concatenate(held).astype(np.float32),
        texts=np.concatenate([np.repeat(e.text, len(e)) for e in episodes]),
    )


def read_merged(folder: Path) -> None:
    """LeRobot's tool joins videos and drops our folder: our reader must find each frame and pose all the same."""
    assert not (problems := lerobot.check(folder / "merged")), problems
    episodes = list(lerobot.read(folder / "merged"))
    expected = [np.load(file) for file in sorted(folder.glob("rgb-*.npz"))]
    for name, mine in (("frames", [all_frames(e) for e in episodes]), ("c2w", [e.c2w for e in episodes])):
        np.testing.assert_array_equal(np.concatenate(mine), np.concatenate([each[name] for each in expected]))
    print(f"merged by LeRobot, read here: {len(episodes)} episodes, frames and poses exact")


if __name__ == "__main__":
    (read_merged if "--merged" in sys.argv else main)(Path(sys.argv[1]))
