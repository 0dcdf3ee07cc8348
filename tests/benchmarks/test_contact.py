"""The contact benchmark: its truth, and that contact agrees with it where depth is true."""

import json
import math

import numpy as np
import pytest
import torch

from benchmarks.contact import Move, Truth, interval, main, summarize
from sanawm_env.envs.sensors.contact import Body
from sanawm_env.scenes import render_scene
from sanawm_env.scenes.builder import Material, SceneBuilder

PLAIN = Material((0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def truth():
    """A hall with a post 2 m ahead of frame 0, and another behind it."""
    builder = SceneBuilder()
    builder.shell((8.0, 3.0, 12.0), [PLAIN] * 6)
    builder.box(0.0, 2.0, (1.0, 2.5, 0.2), PLAIN)
    builder.cylinder(0.0, 3.0, 0.2, 2.5, PLAIN)
    scene, start = builder.build(), np.eye(4)
    start[1, 3] = -1.4
    camera = np.array([60.0, 60.0, 48.0, 32.0])
    pose = torch.from_numpy(start)[None].float()
    depth = render_scene(scene, pose, torch.from_numpy(camera).float(), 64, 96)[1][0].double().numpy()
    return Truth(scene, start, camera, depth, Body(radius=0.2))


def test_room_is_asked_for_in_the_worlds_axes(truth):
    places = np.array([[0, 0, 0], [0, 0, 1.5], [0, 0, 1.8], [3.5, 0, 0]], float)
    np.testing.assert_allclose(truth.room(places), [1.7, 0.2, -0.1, 0.3], atol=1e-5)
    np.testing.assert_allclose(truth.true_depth(np.eye(4)), truth.depth)


@pytest.mark.parametrize(
    ("place", "shown"),
    [
        ((0, 0, 1.72), True),
        ((0, 0, 2.65), False),
        ((-0.62, 0, 2.0), False),
        ((0, 0, -5.9), False),
        ((-3, 0, 5.85), True),
    ],
)
def test_frame_0_shows_what_it_sees_and_not_what_is_hidden_or_behind(truth, place, shown):
    assert truth.shows_contact(np.array(place, float)) == shown


def test_frame_0_looks_through_empty_ways_only(truth):
    z = np.linspace(0.6, 1.5, 10)[:, None]
    assert truth.shows_way(z * [0, 0, 1])
    assert not truth.shows_way((z + 1) * [0, 0, 1])  # through the post
    assert not truth.shows_way(-z * [0, 0, 1])
    assert not truth.shows_way(z * [1, 0, 0])


def test_shares_of_moves():
    def move(hit, seen, share, room, seed=0):
        return Move(seed, "room", 0, hit, seen, {"": share}, {"": room})

    moves = [move(True, True, 0.5, 0.0), move(True, True, 1.0, -0.1), move(True, True, 0.9, -0.01)]
    moves += [move(False, True, 1.0, 0.2), move(False, False, 0.3, 0.2)]
    found = summarize(moves)
    assert (found["hits"], found["free"], found["hits_beyond"], found["free_beyond"]) == (3, 1, 0, 1)
    assert found["blocked_of_hits"] == found["kept_of_hits"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["shortened_of_free"] == 0 and found["shortened_of_free_beyond"] == 1
    assert found["blocked_of_hits_beyond"] is None
    assert interval(moves[:3]) is None
    # One scene of two has all the misses: drawing scenes gives anything between both, drawing moves would not.
    two = moves[:1] * 50 + [move(True, True, 1.0, 0.0, seed=1)] * 50
    assert interval(two) == [0, 1]


def test_with_true_depth_contact_and_truth_agree(capsys):
    main(["--checkpoint", "untrained", "--seeds", "20000005:20000007", "--walk", "4", "--moves", "12"])
    lines = capsys.readouterr().out.strip().splitlines()
    out = json.loads(lines[-1])
    assert out["seeds"] == "20000005:20000007" and out["held_out"]
    for name in ("blocked_of_hits", "shortened_of_free", "depth_median_error"):
        assert name in out
    low, high = out["shortened_of_free_95"]
    assert low <= out["shortened_of_free"] <= high
    perfect = out["true_depth"]
    assert perfect["hits"] >= 5 and perfect["free"] >= 20
    assert perfect["blocked_of_hits"] >= 0.9 and perfect["shortened_of_free"] <= 0.05
    counts = [out[kind + end] for kind in ("hits", "free") for end in ("", "_beyond")]
    assert sum(counts) == 2 * 5 * 12
    for group in ("by_family", "by_step"):
        assert sum(part["hits"] for part in out[group].values()) == out["hits"]
    assert math.isfinite(out["scale_median_error"])


@pytest.mark.parametrize("argument", ["--seeds=5:5", "--checkpoint=tiny", "--checkpoint=nowhere", "--body.radius=0"])
def test_bad_arguments(argument, capsys):
    with pytest.raises(SystemExit) as stop:
        main([argument])
    captured = capsys.readouterr()
    assert stop.value.code == 2 and not captured.out and captured.err


@pytest.mark.parametrize("argument", ["--walk=-1", "--moves=0"])
def test_bad_counts(argument, capsys):
    with pytest.raises(SystemExit) as stop:
        main([argument])
    assert stop.value.code == 2
