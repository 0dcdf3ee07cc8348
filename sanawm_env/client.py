"""Act in a world that runs elsewhere: the client of `sanawm serve`, with NumPy, Gymnasium and websockets alone.

env = gym.make("sanawm_env.client:RemoteSanaWM-v0", url="http://127.0.0.1:8766/?token=...")
"""

import gymnasium as gym

from sanawm_env.server.client.connection import RemoteError
from sanawm_env.server.client.env import RemoteSanaWMEnv
from sanawm_env.server.client.values import RemoteSnapshot
from sanawm_env.server.client.vector_env import RemoteSanaWMVectorEnv

__all__ = ["RemoteError", "RemoteSanaWMEnv", "RemoteSanaWMVectorEnv", "RemoteSnapshot"]

if "RemoteSanaWM-v0" not in gym.registry:
    gym.register(
        id="RemoteSanaWM-v0",
        entry_point="sanawm_env.client:RemoteSanaWMEnv",
        vector_entry_point="sanawm_env.client:RemoteSanaWMVectorEnv",
    )
