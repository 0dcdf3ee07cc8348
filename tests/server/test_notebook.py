import gymnasium as gym
import httpx
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

import sanawm_env
from sanawm_env import SanaWMEnv, SanaWMVectorEnv
from sanawm_env.client import RemoteSanaWMEnv
from sanawm_env.server.errors import ServerError
from sanawm_env.tasks import PointNav

FAST = {"chunk_frames": 1, "sampler_steps": 1}


@pytest.mark.parametrize(
    "settings",
    [
        {"task": PointNav(success_distance=0.3, stop_action=True), "obs_mode": "dict", "max_translation": 0.3},
        {"image": np.full((64, 96, 3), 90, np.uint8), "fov_deg": 70.0, "sensors": (), "contact": "none"},
    ],
    ids=["task", "image"],
)
def test_a_person_goes_on_and_the_environment_after_them(model, settings):
    """A remote environment is in the person's place; both see the same bits as without the page between them."""
    env, alone = (SanaWMEnv(model, **FAST, **settings) for _ in range(2))
    still = env.action_space.sample() * 0
    env.reset(seed=5), alone.reset(seed=5)
    env.step(still), alone.step(still)
    with sanawm_env.play(env) as playing:
        assert playing.snapshot().equal(env.snapshot())
        assert playing.session in playing.url and playing.url.split("#")[0] in playing._repr_html_()
        person = RemoteSanaWMEnv(playing.url.split("#")[0], session=playing.session)
        stepped, expected = person.step(still), alone.step(still)
        np.testing.assert_equal(stepped[0], expected[0])
        assert stepped[1] == expected[1]
        np.testing.assert_equal(env.restore(playing.snapshot())[0], expected[0])
        assert env.snapshot().equal(alone.snapshot())
        assert env.step(still)[4]["time"] == 0.75
        person.close()
        with pytest.raises(ServerError, match="no such session"):
            playing.snapshot("selsewhere")
    playing.close()
    with pytest.raises(httpx.ConnectError):
        httpx.get(playing.url)


def test_people_steer_by_deltas(model):
    env = SanaWMEnv(model, **FAST, action_mode="keys")
    env.reset(seed=5)
    with sanawm_env.play(env) as playing:
        person = RemoteSanaWMEnv(playing.url.split("#")[0], session=playing.session)
        assert person.action_space.shape == (6,)
        person.step([0, 0, 1, 0, 0, 0])
        env.restore(playing.snapshot())  # the world is the same one
        person.close()
    assert env.step(env.action_space.sample())[4]["time"] == 0.5


def test_pages_may_frame_it_and_others_may_not(model, server):
    env = SanaWMEnv(model, **FAST)
    env.reset(seed=1)
    with sanawm_env.play(env) as playing:
        told = httpx.get(playing.url).headers["content-security-policy"]
        assert "frame-ancestors http: https:" in told and "default-src 'self'" in told
        assert httpx.get(playing.url.partition("?")[0] + "api/world").status_code == 401
    assert (
        "frame-ancestors 'none'"
        in httpx.get(server.url.partition("?")[0] + "healthz").headers["content-security-policy"]
    )


def test_what_cannot_be_played(model):
    with pytest.raises(ResetNeeded):
        sanawm_env.play(SanaWMEnv(model))
    with pytest.raises(TypeError, match="takes a SanaWMEnv; got CartPole"):
        sanawm_env.play(gym.make("CartPole-v1"))
    envs = SanaWMVectorEnv(2, model)
    envs.reset(seed=1)
    with pytest.raises(TypeError, match="got SanaWMVectorEnv"):
        sanawm_env.play(envs)
