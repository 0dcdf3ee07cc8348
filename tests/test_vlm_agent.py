"""`examples/vlm_agent.py` against a stub of the OpenAI API on loopback."""

import base64
import io
import json
import re
import runpy
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sanawm_env.cli.main import main
from sanawm_env.envs.wrappers.discrete import habitat_moves
from sanawm_env.evaluation.policy.trials import run_trials
from sanawm_env.tasks import PointNav
from tests.policies.policy_worlds import make

EXAMPLE = runpy.run_path(str(Path(__file__).parent.parent / "examples" / "vlm_agent.py"))
VLMAgent, read_action, read_words = EXAMPLE["VLMAgent"], EXAMPLE["read_action"], EXAMPLE["read_words"]


@contextmanager
def stub(monkeypatch, answer):
    """A server whose `answer(body, number)` is the model's words, or a status and bytes; gives what it was asked."""
    asked = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, dict(self.headers), body))
            said = answer(body, len(asked) - 1)
            if not isinstance(said, tuple):
                said = 200, json.dumps({"choices": [{"message": {"role": "assistant", "content": said}}]}).encode()
            self.send_response(said[0])
            self.end_headers()
            self.wfile.write(said[1])

        def log_message(self, *arguments): ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}/v1/")
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("OPENAI_MODEL", "a-model")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


def walk(agent, **limits):
    env = habitat_moves(make("SanaWM/PointNav-v0", task=PointNav(stop_action=True), **limits))
    (trial,) = run_trials(env, agent, [1_000_000], name="vlm")
    return trial


def steer(body, number):
    """What a model that reads its instruction would say."""
    text = body["messages"][1]["content"][0]["text"]
    away, aside, side = re.search(r"is ([\d.]+) m away, (\d+) degrees to the (\w+)", text).groups()
    action = "STOP" if float(away) < 0.15 else f"TURN_{side.upper()}" if int(aside) > 5 else "MOVE_FORWARD"
    return f'Let me see ...\n```json\n{{"action": "{action}"}}\n```'


def test_it_walks_to_the_goal_and_stops(monkeypatch):
    with stub(monkeypatch, steer) as asked:
        trial = walk(VLMAgent())
    assert trial.ending == "terminated" and trial.success and trial.steps == len(asked) > 2
    path, headers, body = asked[0]
    assert path == "/v1/chat/completions" and headers["Authorization"] == "Bearer sk-test"
    assert body["model"] == "a-model" and "MOVE_FORWARD (0.25 m)" in body["messages"][0]["content"]
    url = body["messages"][1]["content"][1]["image_url"]["url"]
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(url.removeprefix("data:image/png;base64,")))))
    assert shown.shape == (32, 48, 3) and shown.std() > 10


def test_it_asks_again_and_then_stops(monkeypatch):
    with stub(monkeypatch, lambda body, number: "I would rather not.") as asked:
        trial = walk(VLMAgent(retries=2))
    assert trial.ending == "terminated" and trial.steps == 1 and not trial.success
    assert [len(body["messages"]) for _, _, body in asked] == [2, 4, 6]
    with stub(monkeypatch, lambda body, number: '{"action": "FLY"}' if number == 0 else '{"action": "stop"}') as asked:
        assert walk(VLMAgent()).steps == 1 and len(asked) == 2


def test_a_busy_server_is_asked_later(monkeypatch):
    with stub(monkeypatch, lambda body, number: (429, b"slow down") if number < 2 else '{"action": "STOP"}') as asked:
        assert walk(VLMAgent(pause=0.01)).ending == "terminated" and len(asked) == 3


@pytest.mark.parametrize(
    ("status", "count", "said"),
    [(401, 1, "HTTP 401; set OPENAI_API_KEY: no"), (404, 1, "404: no"), (503, 3, "503")],
)
def test_a_server_that_refuses_fails_the_episode(monkeypatch, status, count, said):
    with stub(monkeypatch, lambda body, number: (status, b"no")) as asked:
        trial = walk(VLMAgent(pause=0.01))
    assert trial.ending == "failed" and said in trial.reason and len(asked) == count and "sk-test" not in trial.reason


def test_nobody_there(monkeypatch):
    with stub(monkeypatch, steer):
        agent = VLMAgent(pause=0.01, timeout=5)
    trial = walk(agent)
    assert trial.ending == "failed" and "cannot be reached" in trial.reason and "OPENAI_BASE_URL" in trial.reason


def test_what_it_needs(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "file:///etc")
    with pytest.raises(ValueError, match="OPENAI_BASE_URL"):
        VLMAgent("a-model")
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_MODEL", raising=False)
    with pytest.raises(ValueError, match="OPENAI_MODEL"):
        VLMAgent()
    env = make("SanaWM/PointNav-v0")
    (trial,) = run_trials(env, VLMAgent("a-model"), [0], name="vlm")
    assert "four actions (--discrete)" in trial.reason


@pytest.mark.parametrize(
    ("words", "action"),
    [
        ('{"action": "TURN_LEFT"}', 2),
        ('first {"action": "STOP"}, no: {"action": "move_forward"}', 1),
        ('{"thought": "hm", "action": " turn_right "}', 3),
        ('{"action": 1}', None),
        ('{"action": null} {"x": ', None),
        ("[1]", None),
        ("MOVE_FORWARD", None),
        ("", None),
    ],
)
def test_reading_answers(words, action):
    assert read_action(words) == action


@given(st.text() | st.binary())
def test_no_answer_breaks_it(junk):
    assert read_words(junk) == "" or isinstance(read_words(junk), str)
    read_action(junk if isinstance(junk, str) else read_words(junk))


def test_other_forms_of_a_response():
    def of(content):
        return read_words(json.dumps({"choices": [{"message": {"content": content}}]}))

    assert of([{"type": "text", "text": "a"}, 3, {"text": "b"}]) == "a b"
    assert of(None) == "" and read_words(b'{"choices": []}') == "" and read_words(b"[" * 100_000) == ""


def test_as_a_policy_of_the_command_line(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(Path(__file__).parent.parent / "examples")
    monkeypatch.setattr(sys, "path", list(sys.path))
    line = (
        "-c",
        "untrained",
        "--device",
        "cpu",
        "--discrete",
        "--task",
        "PointNav,stop_action=True",
        "--episodes",
        "1",
    )
    with stub(monkeypatch, steer) as asked:
        main(["evaluate-policy", "--policy", "vlm_agent:VLMAgent", *line, "--json", str(tmp_path / "a.json")])
    (episode,) = json.loads((tmp_path / "a.json").read_text())["episodes"]
    assert episode["success"] and episode["steps"] == len(asked)


def test_the_script(monkeypatch, capsys):
    with stub(monkeypatch, steer):
        EXAMPLE["main"](episodes=1, checkpoint="untrained", max_steps=25)
    assert "vlm a-model" in capsys.readouterr().out
