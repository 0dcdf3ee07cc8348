"""`SanaWMVectorEnv`: many independent worlds behind one model."""

from sanawm_env.envs.vector_env.vector_env import SanaWMVectorEnv

__all__ = ["SanaWMVectorEnv"]
