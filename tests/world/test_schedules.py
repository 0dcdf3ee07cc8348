"""Schedules are a leaf: configs and checkpoints read them without loading networks."""

import subprocess
import sys

import pytest

from sanawm_env.envs import options
from sanawm_env.world import config, schedules
from sanawm_env.world.schedules import RELEASE_SIGMAS, check_sigmas, sampler_sigmas


def test_a_schedule_is_resampled_by_its_index():
    assert sampler_sigmas(RELEASE_SIGMAS, 4, None) == RELEASE_SIGMAS
    assert sampler_sigmas(RELEASE_SIGMAS, None, None) == RELEASE_SIGMAS
    assert sampler_sigmas((1.0, 0.8, 0.2, 0.0), 6, None) == pytest.approx((1.0, 0.9, 0.8, 0.5, 0.2, 0.1, 0.0))
    assert sampler_sigmas(RELEASE_SIGMAS, None, [1, 0.5, 0]) == (1.0, 0.5, 0.0)
    with pytest.raises(ValueError, match="not both"):
        sampler_sigmas(RELEASE_SIGMAS, 2, [1.0, 0.0])
    with pytest.raises(ValueError, match="at least 1"):
        sampler_sigmas(RELEASE_SIGMAS, 0, None)


def test_old_names_are_the_same_functions():
    assert options.sampler_sigmas is sampler_sigmas and config.check_sigmas is check_sigmas


def test_schedules_load_no_torch():
    code = f"import sys, {schedules.__name__}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
