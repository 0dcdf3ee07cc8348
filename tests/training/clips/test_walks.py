"""Walks: what follows what, and that turning back shows the same places again."""

import pytest
import torch

from sanawm_env.training.clips.walks import WalkConfig, Walks

SEGMENT = 2


def walks(pool, slots=3, **changes):
    config = WalkConfig(
        **({"segment": SEGMENT, "longest": 8, "full": 1.0, "turn_back": 0.0, "time_shift": 0.0, "pause": 0.0} | changes)
    )
    return Walks(config, pool, slots, seed=1)


def camera_of(pool, path):
    return torch.stack([pool.c2w[p, 4 * (j + 1)] for p, j, _ in path])


def test_segments_continue_and_walks_restart_at_their_end(walk_pool):
    w = walks(walk_pool)
    depths, fresh = [], []
    for _ in range(5):
        segment = w.next()
        depths.append(segment.depth.tolist())
        fresh.append(segment.fresh.tolist())
    assert [d[0] for d in depths] == [0, 2, 4, 6, 0]
    assert [f[0] for f in fresh] == [True, False, False, False, True]


def test_a_whole_walk_is_the_clip_itself(walk_pool):
    w = walks(walk_pool, slots=1)
    parts = [w.next() for _ in range(4)]
    (entry, start, _), *_ = w.path[0]
    assert start == 0
    assert torch.equal(torch.cat([p.latents for p in parts], 2)[0], walk_pool.motion[entry].float())
    assert torch.equal(parts[0].still[0, :, 0], walk_pool.stills[entry, :, 0].float())
    whole = torch.cat([p.camera["raymap"] for p in parts], 1)[0, :, :16].reshape(-1, 4, 4)
    c2w = walk_pool.c2w[entry].double()
    # The raymap begins with the pose relative to the walk's first frame.
    expected = torch.linalg.solve(c2w[0], c2w[4::4]).float()
    assert torch.allclose(whole, expected, atol=1e-4)


def test_turning_back_retraces_the_poses(walk_pool):
    w = walks(walk_pool, slots=1, turn_back=1.0)
    for _ in range(20):
        w.next()
        path = w.path[0]
        entries = [at.entry for at in path]
        out = entries.count(entries[0])
        if out == len(path):
            continue
        # Latent k after the turn ends where latent k before the turn began.
        poses = camera_of(walk_pool, path)
        for k in range(min(out - 1, len(path) - out)):
            assert torch.allclose(poses[out + k], poses[out - 2 - k], atol=1e-5)
        return
    raise AssertionError("no walk turned back in twenty segments")


def test_a_pause_holds_pose_and_picture_and_the_walk_goes_on_from_there(walk_pool):
    w = walks(walk_pool, slots=1, pause=1.0, longest_pause=4)
    segments = [w.next()]
    while w.at[0] < len(w.path[0]):
        segments.append(w.next())
    path = w.path[0]
    held = [at.held for at in path]
    assert held.count(False) == 8 and held.count(True) in (2, 4)
    first = held.index(True)
    assert path[first + held.count(True)][:2] == path[first][:2]  # goes on through the latent before which it stood
    latents = torch.cat([s.latents for s in segments], 2)[0]
    raymap = torch.cat([s.camera["raymap"] for s in segments], 1)[0]
    entry, latent, _ = path[first]
    stood = walk_pool.stills[entry, :, latent].float()
    before = raymap[first - 1] if first else None
    for k in range(first, first + held.count(True)):
        assert torch.equal(latents[:, k], stood)
        assert torch.equal(raymap[k], raymap[first])
        if before is not None:
            assert torch.allclose(raymap[k], before, atol=1e-4)


def test_the_clock_is_shifted_once_per_walk(walk_pool):
    w = walks(walk_pool, time_shift=1.0)
    first, second = w.next(), w.next()
    assert (first.shift > 0).all() and torch.equal(first.shift, second.shift)


def test_walks_longer_than_the_clips_are_refused(walk_pool):
    with pytest.raises(ValueError, match=r"data\.clip_latents"):
        walks(walk_pool, longest=60)
