"""Write a policy, let it play held-out worlds beside a random one, and print the table.

Run: python examples/evaluate_a_policy.py [--episodes 10]
"""

import gymnasium as gym
import numpy as np
import tyro
from sanawm_env.policies import make_policy

from sanawm_env import WorldModel
from sanawm_env.evaluation.policy.table import format_table, summarize_trials
from sanawm_env.evaluation.policy.trials import HELD_OUT_RESETS, run_trials


class TurnAndWalk:
    """Turns towards the goal where it stands, then walks; a policy is anything with these two methods."""

    def begin(self, env, observation, info):
        """Look at a new episode."""
        self.reach, self.turn = env.unwrapped.max_translation, env.unwrapped.max_rotation

    def act(self, observation, info):
        """The next action: a pose delta in [-1, 1]."""
        x, _, z = observation["goal"]  # metres, in the camera's frame: right, down, ahead
        aside = np.arctan2(x, z)
        action = np.zeros(6, dtype=np.float32)
        if abs(aside) > 0.1:
            action[4] = np.clip(aside / self.turn, -1, 1)
        else:
            action[2] = min(1.0, np.hypot(x, z) / self.reach)
        return action


def main(episodes: int = 10, checkpoint: str = "tiny", max_steps: int = 40) -> None:
    """Print the table.

    Args:
        episodes: Per policy.
        checkpoint: Built-in name, checkpoint folder, or `untrained`.
        max_steps: Steps of an episode.
    """
    world = WorldModel.load(checkpoint)
    env = gym.make("SanaWM/PointNav-v0", checkpoint=world, max_episode_steps=max_steps, episode_seconds=None)
    players = {"random:smooth": make_policy("random:smooth"), "turn and walk": TurnAndWalk()}
    seeds = HELD_OUT_RESETS[:episodes]  # equal worlds and goals for all
    trials = [trial for name, player in players.items() for trial in run_trials(env, player, seeds, name=name)]
    print(format_table(summarize_trials(trials)))


if __name__ == "__main__":
    tyro.cli(main)
