"""A vision-language model walks to a goal: it is shown the picture, and says which of Habitat's four actions to do.

Any server of the OpenAI API will do (vLLM, llama.cpp, Ollama, OpenAI) whose /v1/chat/completions takes pictures.

Run: OPENAI_BASE_URL=http://127.0.0.1:8000/v1 OPENAI_MODEL=Qwen/Qwen3-VL-8B-Instruct python examples/vlm_agent.py
Or:  cd examples; sanawm evaluate-policy --policy vlm_agent:VLMAgent --discrete --task PointNav,stop_action=True
"""

import base64
import http.client
import io
import json
import math
import os
import re
import time
import urllib.error
import urllib.request

import gymnasium as gym
import tyro
from PIL import Image

from sanawm_env import WorldModel
from sanawm_env.envs.wrappers import NavigationAction
from sanawm_env.envs.wrappers.discrete import habitat_moves
from sanawm_env.evaluation.policy.table import format_table, summarize_trials
from sanawm_env.evaluation.policy.trials import HELD_OUT_RESETS, run_trials
from sanawm_env.tasks import PointNav

SYSTEM = """You steer a camera through a place, one action at a time:
MOVE_FORWARD ({step:.2f} m), TURN_LEFT or TURN_RIGHT ({turn:.0f} degrees), STOP (you are there; it ends the walk).
Answer with one JSON object and nothing else: {{"action": "<one of the four>"}}"""
LARGEST_ANSWER = 1_000_000
LATER = (408, 429, 500, 502, 503, 504)


class VLMAgent:
    """Asks the model at every step; an answer that names no action is asked for again, then it stops."""

    def __init__(self, model: str | None = None, retries: int = 2, timeout: float = 60.0, pause: float = 1.0):
        """Read OPENAI_BASE_URL, OPENAI_API_KEY and, if `model` is None, OPENAI_MODEL.

        Args:
            model: Name at the server.
            retries: How often to ask again after a bad answer, or a server that is busy.
            timeout: Seconds for an answer.
            pause: Seconds before the first retry of a busy server, twice as many before the next.
        """
        base = os.environ.get("OPENAI_BASE_URL", "https://api.openai.com/v1").rstrip("/")
        self.url, self.key = f"{base}/chat/completions", os.environ.get("OPENAI_API_KEY", "")
        self.model = model or os.environ.get("OPENAI_MODEL", "")
        if not base.startswith(("http://", "https://")) or not self.model:
            raise ValueError("set OPENAI_BASE_URL to http(s)://..., and OPENAI_MODEL to the model's name.")
        self.retries, self.timeout, self.pause = retries, timeout, pause

    def begin(self, env, observation, info):
        """Look at a new episode."""
        if not isinstance(env.action_space, gym.spaces.Discrete) or "goal" not in observation:
            raise ValueError("this agent walks by Habitat's four actions (--discrete) to the goal of PointNav.")
        self.system = SYSTEM.format(step=env.get_wrapper_attr("step_metres"), turn=env.get_wrapper_attr("turn_degrees"))
        self.done = []

    def act(self, observation, info):
        """The next action."""
        x, _, z = (float(value) for value in observation["goal"])
        aside = math.degrees(math.atan2(x, z))
        side = "right" if aside > 0 else "left"
        text = (
            f"The goal is {math.hypot(x, z):.2f} m away, {abs(aside):.0f} degrees to the {side}. "
            f"Your last actions: {', '.join(self.done[-8:]) or 'none'}. What next?"
        )
        messages = [
            {"role": "system", "content": self.system},
            {"role": "user", "content": [{"type": "text", "text": text}, picture(observation["image"])]},
        ]
        action = NavigationAction.STOP
        for _ in range(1 + self.retries):
            answer = self.ask(messages)
            if (named := read_action(answer)) is not None:
                action = named
                break
            messages += [
                {"role": "assistant", "content": answer[:500]},
                {"role": "user", "content": 'That names no action. Answer {"action": "MOVE_FORWARD"} or another.'},
            ]
        self.done.append(action.name)
        return int(action)

    def ask(self, messages):
        """The model's words; empty if its answer has none."""
        body = {"model": self.model, "messages": messages, "max_tokens": 200, "temperature": 0}
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.key}"} if self.key else {})
        request = urllib.request.Request(self.url, json.dumps(body).encode(), headers)
        for attempt in range(1 + self.retries):
            try:
                with urllib.request.urlopen(request, timeout=self.timeout) as response:
                    return read_words(response.read(LARGEST_ANSWER))
            except urllib.error.HTTPError as error:
                said = error.read(300).decode(errors="replace")
                if error.code not in LATER or attempt == self.retries:
                    fix = "; set OPENAI_API_KEY" if error.code in (401, 403) else ""
                    raise RuntimeError(f"{self.url} answers HTTP {error.code}{fix}: {said}") from None
            except (OSError, http.client.HTTPException) as error:
                if attempt == self.retries:
                    raise RuntimeError(f"{self.url} cannot be reached ({error}); is OPENAI_BASE_URL right?") from None
            time.sleep(self.pause * 2**attempt)


def picture(image):
    """A part of a message with an image `(H, W, 3)`."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    url = "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": url}}


def read_words(body):
    """The text of a response; empty if it holds none."""
    try:
        content = json.loads(body)["choices"][0]["message"]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return ""
    if isinstance(content, list):  # some servers answer in parts
        content = " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def read_action(words):
    """The action that the last JSON object of an answer names; None if there is none."""
    for found in reversed(re.findall(r"\{[^{}]*\}", words)):
        try:
            name = json.loads(found).get("action")
        except ValueError:
            continue
        if isinstance(name, str) and name.strip().upper() in NavigationAction.__members__:
            return NavigationAction[name.strip().upper()]
    return None


def main(episodes: int = 3, checkpoint: str = "tiny", max_steps: int = 40, model: str | None = None) -> None:
    """Let it walk to goals in held-out worlds, and print the table.

    Args:
        episodes: How many.
        checkpoint: Built-in name, checkpoint folder, or `untrained`.
        max_steps: Steps of an episode.
        model: Name of the model; OPENAI_MODEL otherwise.
    """
    agent = VLMAgent(model)
    world = WorldModel.load(checkpoint)
    limit = {"max_episode_steps": max_steps, "episode_seconds": None}
    env = habitat_moves(gym.make("SanaWM/PointNav-v0", checkpoint=world, task=PointNav(stop_action=True), **limit))
    trials = list(run_trials(env, agent, HELD_OUT_RESETS[:episodes], name=f"vlm {agent.model}"))
    print(format_table(summarize_trials(trials)))


if __name__ == "__main__":
    tyro.cli(main)
