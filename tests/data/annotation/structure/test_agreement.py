import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import RigidTransform, Rotation

from sanawm_env.data.annotation.structure.agreement import apart, path_length, similarity


def a_path(seed, straight=False):
    rng = np.random.default_rng(seed)
    twists = rng.normal(0, 0.1, (20, 6))
    if straight:
        twists[:, 3:] = np.array([0.1, 0, 0.2]) * np.arange(20)[:, None]
    return RigidTransform.from_components(twists[:, 3:].cumsum(0), Rotation.from_rotvec(twists[:, :3])).as_matrix()


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 999), factor=st.floats(1e-3, 1e3), straight=st.booleans())
def test_world_frame_and_scale_do_not_count(seed, factor, straight):
    truth = a_path(seed, straight)
    moved = RigidTransform.from_rotation(Rotation.random(random_state=seed)).as_matrix() @ truth
    moved[:, :3, 3] = factor * moved[:, :3, 3] + [1, 2, 3]
    found = apart(moved, truth)
    assert found.share < 1e-6 and found.degrees < 1e-4
    assert similarity(moved, truth)[0] == pytest.approx(1 / factor)


def test_what_differs_counts():
    truth = a_path(0)
    other = truth.copy()
    other[:, :3, 3] += np.random.default_rng(1).normal(0, 0.1, (20, 3))
    wanted = 0.1 * np.sqrt(3) / path_length(truth)
    assert apart(other, truth).share == pytest.approx(wanted, rel=0.4)
    mirrored = truth.copy()
    mirrored[:, :3, 3] *= -1
    assert apart(mirrored, truth).share > 0.05
    other[:10, :3, :3] = other[:10, :3, :3] @ Rotation.from_rotvec([0, 0.2, 0]).as_matrix()
    assert apart(other, truth).degrees > 4


def test_a_path_without_length():
    still = np.tile(np.eye(4), (5, 1, 1))
    assert apart(still, still).share == np.inf and apart(still, still).degrees == 0
