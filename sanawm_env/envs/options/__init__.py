"""Reading of arguments and reset options, apart from the environments' own logic."""

from sanawm_env.envs.options.arguments import OPTIONS, as_moment, as_size, check_options
from sanawm_env.world.accel.device import as_device, as_dtype
from sanawm_env.world.schedules import sampler_sigmas

__all__ = ["OPTIONS", "as_device", "as_dtype", "as_moment", "as_size", "check_options", "sampler_sigmas"]
