"""Small datasets in the layout of `sanawm collect`, of an untrained world: two or three steps each."""

import json

import av
import numpy as np

from sanawm_env import SanaWMEnv, WorldModel
from sanawm_env.data.recipe import EpisodeRecipe, frames_digest
from sanawm_env.data.storage.native import item_files, video_file
from sanawm_env.tasks import get_task
from sanawm_env.world.offline.provenance import frames_depend_on

TASK = {"task_class": "PointNav"}


def write_video(path, frames, fps=16, lossless=True):
    path.parent.mkdir(parents=True, exist_ok=True)
    codec, options, pix = (
        ("libx264rgb", {"qp": "0", "preset": "ultrafast"}, "rgb24")
        if lossless
        else ("libx264", {"crf": "18"}, "yuv444p")
    )
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream(codec, rate=fps, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = pix
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())


def three_episodes(root):
    """The second is not kept, the third not lossless."""
    world = WorldModel.untrained()
    for number in range(3):
        write_episode(root, number, world=world, kept=number != 1, lossless=number != 2)
    return root


def write_episode(root, number, *, world=None, steps=3, kept=True, lossless=True, checkpoint="untrained", image=None):
    """Play one episode and write it; returns its frames."""
    env_arguments = {"task": json.loads(json.dumps(get_task("PointNav").to_dict())), "max_translation": 0.4}
    env = SanaWMEnv(world or WorldModel.untrained(), **env_arguments)
    options = {} if image is None else {"image": root / image["file"]}
    _, info = env.reset(seed=number, options=options)
    state = env.snapshot().state
    actions = np.random.default_rng(number).uniform(-1, 1, (steps, 6)).astype(np.float32)
    pieces, c2w, rewards = [info["frames"][:1]], [info["c2w"][None]], []
    for action in actions:
        _, reward, terminated, truncated, info = env.step(action)
        pieces.append(info["frames"])
        c2w.append(info["frame_c2w"])
        rewards.append(reward)
    frames, poses = np.concatenate(pieces), np.concatenate(c2w)
    recipe = EpisodeRecipe(
        checkpoint=checkpoint, checkpoint_hash=env.model.checkpoint, checkpoint_name=env.model.config.name,
        env=env_arguments, seed=number, options={}, image=image,
        start={"scene_seed": None, "noise_seed": int(state.noise_seed[0]), "intrinsics": [1, 1, 1, 1], "goal": None},
        actions=actions.tolist(), policy="random", frames=len(frames), frames_per_step=env.frames_per_step,
        size=frames.shape[1:3], fps=16.0, digests=[frames_digest(piece) for piece in pieces],
        frames_sha256=__import__("hashlib").sha256(frames.tobytes()).hexdigest(),
        depends_on=frames_depend_on(env.model),
    )  # fmt: skip
    outcome = {
        "reward": float(sum(rewards)), "terminated": bool(terminated), "truncated": bool(truncated),
        "success": bool(info["success"]), "measures": {"distance_to_goal": float(info["distance_to_goal"])},
        "seconds": 1.0, "kept": kept, "reasons": [] if kept else ["not successful"],
    }  # fmt: skip
    folder = root / "sanawm" / "episodes"
    folder.mkdir(parents=True, exist_ok=True)
    (root / "sanawm" / "collection.json").write_text("{}")
    if kept:
        write_video(video_file(root, number), frames, lossless=lossless)
    np.savez(folder / f"{number:06d}.npz", c2w=poses, intrinsics=np.ones(4), actions=actions, rewards=np.array(rewards))
    (folder / f"{number:06d}.json").write_text(
        json.dumps({"recipe": recipe.to_dict(), "outcome": outcome, "video": {}})
    )
    return frames


def edit(root, number, change):
    """Change an item's JSON."""
    file = next(each for each in item_files(root) if int(each.stem) == number)
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))
    return file
