"""`WorldState`, the whole of a rollout as a value, and its files."""

from sanawm_env.world.networks.cache import own
from sanawm_env.world.state.errors import StateError
from sanawm_env.world.state.files import FORMAT, TASK, VERSION
from sanawm_env.world.state.value import WorldState

__all__ = ["FORMAT", "TASK", "VERSION", "StateError", "WorldState", "own"]
