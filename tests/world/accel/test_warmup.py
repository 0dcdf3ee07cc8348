"""Warm-up, and steps through recorded programs: the same bits as without."""

import copy
import functools
import pickle

import numpy as np
import pytest
import torch

from sanawm_env.envs.env import SanaWMEnv
from sanawm_env.envs.vector_env import SanaWMVectorEnv
from sanawm_env.world.accel.capture import Programs, TraceRecorder
from sanawm_env.world.accel.fused import fuse_projections
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from sanawm_env.world.sampler import record
from tests.world.accel.test_capture import Eager
from tests.world.test_model import HEIGHT, WIDTH, begin, poses_for

RULES = ("alone", "plus_one", "chunks")


def world(rule="alone", text=0, batched=None, **changes):
    """As `test_world.world`, but never shared: these worlds are changed."""
    config = small_config(height=HEIGHT, width=WIDTH, sigmas=(1.0, 0.6, 0.0))
    kind = {"first_chunk": "alone", "window_frames": 4}
    if rule == "plus_one":
        kind["first_chunk"] = rule
    elif rule == "chunks":  # as the release
        kind = {"first_chunk": "plus_one", "window_frames": 0, "camera_conv_tail": False}
    model = config.model.replace(caption_channels=text, hidden_size=32, head_dim=8, mlp_ratio=2.0, depth=2)
    model = model.replace(softmax_every_n=2, **(kind | changes))
    built = WorldModel.untrained(config.replace(model=model), seed=3)
    if batched is not None:
        built.batched = batched
    return built


PHASES = {
    "alone": ["first chunk", "window 3 of 5", "window 5 of 5"],
    "plus_one": ["first chunk", "window 3 of 5", "window 5 of 5"],
    "chunks": ["first chunk", "window 3 of 7", "window 5 of 7"],
}


class Traced(TraceRecorder):
    """Counts recordings and replays."""

    def __init__(self):
        self.recorded = self.replayed = 0

    def __call__(self, function, inputs):
        replay = super().__call__(function, inputs)
        self.recorded += 1

        def counted():
            self.replayed += 1
            return replay()

        return counted


@pytest.mark.parametrize(("rule", "recorder"), [*((rule, Eager) for rule in RULES), ("chunks", Traced)])
def test_recorded_steps_have_the_bits_of_eager_ones(rule, recorder):
    """A whole rollout: every phase, and the window sliding, each step through a program."""
    plain, recorded = world(rule), world(rule)
    counter = recorder()
    if recorder is Traced:  # slow: two calls, not three
        plain.config = recorded.config = plain.config.replace(sigmas=(1.0, 0.0))
    seconds = recorded.warmup(chunk_frames=2, capture=True, recorder=counter, progress=False)
    assert list(seconds) == ["first frame", *PHASES[rule]] and min(seconds.values()) > 0
    assert counter.recorded == len(PHASES[rule]) == len(recorded.programs)
    assert counter.replayed == counter.recorded  # the dummy rollout's steps
    state, twin = begin(plain, 0), begin(recorded, 0)
    first = None
    for index in range(5):
        poses = poses_for(state, (0,), 2)
        state, frames = plain.step(state, poses)
        before = twin.map(torch.clone)
        after, found = recorded.step(twin, poses)
        assert counter.replayed == counter.recorded + index + 1
        assert np.array_equal(found, frames) and after.equal(state)
        assert twin.equal(before)
        first = first or (after, after.map(torch.clone))
        twin = after
    assert first[0].equal(first[1])  # states handed out are not the program's memory


def test_steps_of_another_phase_run_without_a_program():
    model, plain, counter = world(text=6), world(text=6), Eager()
    model.warmup(chunk_frames=2, text_length=5, capture=True, recorder=counter, progress=False)
    done = counter.replayed
    images = np.zeros((1, HEIGHT, WIDTH, 3), np.uint8)

    def begun(length):
        torch.manual_seed(length)
        return model.start(images, [[90.0, 90, 56, 32]], [1], torch.randn(1, length, 6))[0]

    state = begun(5)
    poses = poses_for(state, (0,), 2)
    for start, more in ((begun(4), {}), (state, {"sigmas": (1.0, 0.5, 0.0)})):
        after, frames = model.step(start, poses, **more)
        expected, expected_frames = plain.step(start, poses, **more)
        assert after.equal(expected) and np.array_equal(frames, expected_frames)
    model.step(state, poses_for(state, (0,), 1))
    assert counter.replayed == done
    model.step(state, poses)
    assert counter.replayed == done + 1


def test_slots_together_and_one_by_one():
    """Slots that are computed one by one share the programs of one slot; others have programs of their number."""
    for batched, replays in ((False, 3), (True, 1)):
        model, plain, counter = world(batched=batched), world(batched=batched), Eager()
        model.warmup(3, 2, capture=True, recorder=counter, progress=False)
        assert counter.recorded == 3 and counter.replayed == 3 * replays
        state = begin(model, 0, 1, 2)
        poses = poses_for(state, (0, 1, 2), 2)
        after, frames = model.step(state, poses)
        expected, expected_frames = plain.step(state, poses)
        assert counter.replayed == 4 * replays
        assert after.equal(expected) and np.array_equal(frames, expected_frames)


def test_weights_that_move_end_the_programs():
    """Fusing moves weights: steps run eagerly and are right, and a new warm-up records anew."""
    model, fused = world(), world()
    counter = Eager()
    model.warmup(chunk_frames=2, capture=True, recorder=counter, progress=False)
    for part in (model, fused):
        fuse_projections(part.transformer)
    state, done = begin(model, 0), counter.replayed
    poses = poses_for(state, (0,), 2)
    after, _ = model.step(state, poses)
    assert counter.replayed == done and len(model.programs) == 0
    assert after.equal(fused.step(state, poses)[0])
    model.warmup(chunk_frames=2, capture=True, recorder=Eager(), progress=False)
    assert len(model.programs) == 3 and model.step(state, poses)[0].equal(after)


def test_programs_are_kept_by_a_second_warm_up_and_shared_by_shallow_copies():
    model = world()
    model.warmup(chunk_frames=2, capture=True, recorder=Eager(), progress=False)
    programs = model.programs
    state = begin(model, 0)
    poses = torch.from_numpy(poses_for(state, (0,), 1))
    record(model.networks, state, poses, model.config.sigmas, programs)
    assert len(programs) == 4 and copy.copy(model).programs is programs and copy.deepcopy(model) is model
    assert pickle.loads(pickle.dumps(model)).programs is None
    assert programs.nbytes > 2 * sum(value.nbytes for value in state.cache.flat().values())


def test_progress_says_what_is_done(capsys):
    found = world().warmup(chunk_frames=3)
    err = capsys.readouterr().err
    assert list(found) == ["first frame", "first chunk", "window 4 of 5", "window 5 of 5"]
    assert "warm-up: first frame" in err and "warm-up: window 5 of 5" in err and "warm-up: done" in err
    world().warmup(progress=False)
    assert capsys.readouterr().err == ""


def test_a_warm_up_changes_no_later_frame():
    model, other = world(), world()
    other.warmup(2, progress=False)
    assert other.programs is None
    state, twin = begin(model, 0), begin(other, 0)
    assert state.equal(twin) and model.step(state, poses_for(state, (0,), 2))[0].equal(
        other.step(twin, poses_for(state, (0,), 2))[0]
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"slots": 0}, "slots must be at least 1"),
        ({"chunk_frames": 4}, r"chunk_frames lie in 1\.\.3"),
        ({"sigmas": (1.0, 0.5)}, "sigmas must descend"),
        ({"recorder": TraceRecorder()}, "without capture=True"),
        ({"capture": True}, "this world is on cpu"),
    ],
)
def test_what_cannot_be(options, words):
    model = world()
    with pytest.raises(ValueError, match=words):
        model.warmup(progress=False, **options)
    assert model.programs is None


def test_a_window_that_keeps_all_is_warmed_up_but_not_recorded():
    model = world(window_frames=0, cached_chunks=-1, max_cached_frames=8)
    assert list(model.warmup(chunk_frames=3, progress=False)) == ["first frame", "first chunk", "window 4 of 8"]
    with pytest.raises(ValueError, match="keeps every chunk"):
        model.warmup(capture=True, recorder=TraceRecorder(), progress=False)


def test_recording_needs_a_place():
    model = world()
    state = begin(model, 0)
    chunk = (model.networks, state, torch.from_numpy(poses_for(state, (0,), 1)), model.config.sigmas)
    with pytest.raises(ValueError, match="keeps no programs"):
        record(*chunk, model.programs)
    model.programs = Programs(Eager(), 1)
    assert record(*chunk, model.programs) in model.programs


def test_environments_warm_up_what_they_will_run():
    counter = Eager()
    model = world()
    env = SanaWMEnv(model, chunk_frames=2, sigmas=(1.0, 0.4, 0.0))
    seconds = env.warmup(capture=True, recorder=counter, progress=False)
    assert list(seconds) == ["first frame", *PHASES["alone"]]
    done = counter.replayed
    env.reset(seed=1)
    for _ in range(4):
        env.step(env.action_space.sample())
    assert counter.replayed == done + 4
    envs = SanaWMVectorEnv(2, model, chunk_frames=2, sigmas=(1.0, 0.4, 0.0), exact=True)
    envs.warmup(progress=False)
    envs.reset(seed=1)
    envs.step(envs.action_space.sample())
    assert counter.replayed == done + 4 + 3 * 2 + 2


@functools.cache
def cuda_world():
    return WorldModel.untrained(world("chunks").config, seed=3, device="cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_graphs_agree_with_eager_steps():
    model = cuda_world()
    state = begin(model, 0, 1)
    poses = [poses_for(state, (0, 1), 2)]
    eager = model.step(state, poses[0])
    model.warmup(2, 2, capture=True, progress=False)
    assert len(model.programs) == 3
    found = model.step(state, poses[0])
    assert np.abs(found[1].astype(int) - eager[1].astype(int)).max() <= 1
