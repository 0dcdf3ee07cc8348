"""`sb3:<file>.zip`: a model that Stable-Baselines3 has trained and saved."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

from sanawm_env.policies.base import Env, Info

__all__ = ["SB3Policy"]

_MARKS = {
    "PPO": "clip_range",
    "DQN": "exploration_final_eps",
    "SAC": "target_entropy",
    "TD3": "policy_delay",
    "A2C": "gae_lambda",
}
"""A setting that only this algorithm saves, or only this one of those that are left: files do not name theirs."""


class SB3Policy:
    """Acts as a saved model does.

    The file contains pickled Python objects: load only what you trust. Wrap the environment as it was in training;
    pictures may stay channels-last.
    """

    def __init__(
        self, path: str | Path, algorithm: str | None = None, deterministic: bool = True, seed: int = 0
    ) -> None:
        """Load the model.

        Args:
            path: The zip file.
            algorithm: `PPO`, `A2C`, `DQN`, `SAC`, `TD3` or `DDPG`; None tells it by the file's settings.
            deterministic: The likeliest action, or a drawn one.
            seed: Of drawn ones. Stable-Baselines3 draws from the process's own random numbers, which are seeded anew
                in `begin`.

        Raises:
            FileNotFoundError: No such file.
            ValueError: Not such a file, an unknown algorithm, or Stable-Baselines3 is missing.
        """
        try:
            import stable_baselines3
        except ImportError:
            raise ValueError('sb3 policies need Stable-Baselines3; pip install "sanawm_env[sb3]".') from None
        name = _algorithm(Path(path)) if algorithm is None else algorithm
        if name not in (*_MARKS, "DDPG"):
            raise ValueError(f"algorithm must be one of {', '.join(_MARKS)}, DDPG; got {name!r}.")
        # A replay buffer is for learning; of pictures it would take gigabytes.
        without: dict[str, Any] = {"buffer_size": 1, "replay_buffer_class": None, "replay_buffer_kwargs": {}}
        off_policy = name not in ("PPO", "A2C")
        load = getattr(stable_baselines3, name).load
        self.model: Any = load(path, device="cpu", custom_objects=without if off_policy else None)
        self._deterministic, self._seed = deterministic, seed

    def begin(self, env: Env, observation: Any, info: Info) -> None:
        """See `Policy`."""
        if env.action_space != self.model.action_space:
            raise ValueError(
                f"the model was trained for actions {self.model.action_space}, but the environment takes "
                f"{env.action_space}; wrap it as in training."
            )
        try:
            self.model.predict(observation, deterministic=True)
        except (ValueError, LookupError, AssertionError, RuntimeError, TypeError, AttributeError) as error:
            raise ValueError(
                f"the model was trained for observations {self.model.observation_space}, but the environment gives "
                f"{env.observation_space} ({error}); use the same task, obs_mode, obs_size and wrappers."
            ) from error
        if not self._deterministic:
            from stable_baselines3.common.utils import set_random_seed

            set_random_seed(self._seed)

    def act(self, observation: Any, info: Info) -> Any:
        """See `Policy`."""
        action, _ = self.model.predict(observation, deterministic=self._deterministic)
        return action if self.model.action_space.shape else int(action)


def _algorithm(path: Path) -> str:
    if not path.is_file():
        raise FileNotFoundError(f"no file {path}; save one with model.save(...).")
    try:
        with zipfile.ZipFile(path) as archive:
            saved = json.loads(archive.read("data"))
    except (zipfile.BadZipFile, KeyError, ValueError):
        raise ValueError(f"{path} is no model of Stable-Baselines3; write one with model.save(...).") from None
    for name, mark in _MARKS.items():
        if mark in saved:
            return name
    raise ValueError(f"cannot tell which algorithm saved {path}; say algorithm='PPO' or another.")
