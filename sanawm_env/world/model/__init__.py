"""`WorldModel`: start a world from an image and step it by camera poses."""

from sanawm_env.world.accel.threads import take_share
from sanawm_env.world.config import WorldConfig
from sanawm_env.world.model.world_model import WorldModel
from sanawm_env.world.state import WorldState

__all__ = ["WorldConfig", "WorldModel", "WorldState"]

take_share()
