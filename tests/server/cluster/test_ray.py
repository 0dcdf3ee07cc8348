"""`sanawm serve --ray`: replicas that are killed, really. Run by .ci/ray."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import psutil
import pytest
import torch
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from sanawm_env import SanaWMEnv, SanaWMVectorEnv
from sanawm_env.client import RemoteSanaWMEnv, RemoteSanaWMVectorEnv
from sanawm_env.server import wire
from sanawm_env.server.sessions.journal import read_folder
from tests.server.client.test_env import FAST, same
from tests.server.serving import TOKEN

if os.environ.get("REQUIRE_RAY") != "1":
    pytest.importorskip("ray", reason="Ray is not installed here; .ci/ray runs these tests")


class Serving:
    def __init__(self, process, url, data):
        self.process, self.url, self.data = process, url, data

    def get(self, path):
        request = urllib.request.Request(self.url.split("/?")[0] + path)
        request.add_header("Authorization", f"Bearer {TOKEN}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def replicas(self):
        return json.loads(self.get("/api/replicas"))["replicas"]

    def ready(self):
        """Wait until both are there."""
        deadline = time.monotonic() + 300
        while True:
            found = self.replicas()
            if all(each["state"] == "ready" for each in found):
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.2)

    def place(self, session):
        return next(each for each in self.replicas() if session in each["sessions"])

    def kill(self, session):
        """SIGKILL to the process that has the session."""
        place = self.place(session)
        os.kill(place["pid"], signal.SIGKILL)
        return place

    def socket(self):
        return connect(self.url.replace("http:", "ws:").replace("/?", "/ws?"), compression=None, max_size=None)


@pytest.fixture(scope="module")
def serving(tmp_path_factory):
    data = tmp_path_factory.mktemp("serve") / "data"
    command = [
        sys.executable, "-m", "sanawm_env.cli", "serve", "--checkpoint", "tiny", "--device", "cpu", "--port", "0",
        "--data", str(data), "--no-warmup", "--ray", "local", "--replicas", "2", "--threads", "1",
    ]  # fmt: skip
    environment = os.environ | {"SANAWM_TOKEN": TOKEN, "OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        address = process.stdout.readline().strip()
        assert TOKEN in address, process.stderr.read()
        threading.Thread(target=process.stderr.read, daemon=True).start()
        yield Serving(process, address, data)
    finally:
        process.terminate()
        try:
            process.wait(60)
        finally:
            if process.poll() is None:
                process.kill()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ask(socket, **message):
    socket.send(json.dumps(message))
    return answer_of(socket)


def answer_of(socket):
    head, payload = wire.split(socket.recv(120))
    return wire.decode(head, payload)


def test_a_replica_is_killed_amid_an_environments_steps(serving):
    """Each of its steps is done once, whenever the kill comes, and all that was remembered is still there."""
    serving.ready()
    remote = RemoteSanaWMEnv(serving.url, task="PointNav", patience=240.0, **FAST)
    local = SanaWMEnv("tiny", device="cpu", task="PointNav", **FAST)
    same(remote.reset(seed=8), local.reset(seed=8))
    session = remote._required.id
    moves = np.random.default_rng(1).uniform(-1, 1, (14, 6))
    for k, move in enumerate(moves[:12]):
        if k == 3:
            here, there = remote.snapshot("here"), local.snapshot()
        timer = None
        if k in (5, 9):  # amid a step, a little earlier and a little later
            serving.ready()
            timer = threading.Timer(0.0 if k == 5 else 0.05, serving.kill, (session,))
            timer.start()
        same(remote.step(move), local.step(move))
        if timer is not None:
            timer.join()
    same(remote.restore(here), local.restore(there))
    for move in moves[12:]:
        same(remote.step(move), local.step(move))
    assert sum(each["losses"] for each in serving.replicas()) == 2
    numbers = [line["n"] for line in read_folder(serving.data / "sessions" / session).lines if "n" in line]
    assert numbers == list(range(1, 1 + 1 + 1 + 12 + 1 + 2)), numbers
    remote.close()


def test_a_raw_socket_whose_answers_were_on_their_way(serving):
    """Four steps are asked for at once; after the kill each is asked for again, under its number."""
    serving.ready()
    local = SanaWMEnv("tiny", device="cpu", **FAST)
    expected = [local.reset(seed=4)]
    moves = np.random.default_rng(2).uniform(-1, 1, (8, 6)).tolist()
    expected += [local.step(move) for move in moves]
    with serving.socket() as socket:
        session = ask(socket, type="create", settings=FAST, key="raw")["session"]
        ask(socket, type="attach", session=session, client="raw")
        ask(socket, type="reset", session=session, n=1, seed=4)
        for n, move in enumerate(moves[:4], 2):
            socket.send(json.dumps({"type": "step", "session": session, "n": n, "action": move}))
        answer_of(socket)
        killed = serving.kill(session)
        with pytest.raises(ConnectionClosed) as closed:
            while True:
                socket.recv(60)
        assert closed.value.rcvd.code == 1012
    with serving.socket() as socket:
        assert ask(socket, type="create", settings=FAST, key="raw")["session"] == session
        done = ask(socket, type="attach", session=session, client="raw")["n"]
        assert 2 <= done <= 5 and serving.place(session)["pid"] != killed["pid"]
        for n, move in enumerate(moves, 2):
            answer = ask(socket, type="step", session=session, n=n, action=move)
            if answer.get("code") == "old":
                assert n <= done - 4
                continue
            assert answer["n"] == n
            np.testing.assert_array_equal(answer["info"]["frames"], expected[n - 1][4]["frames"])
            np.testing.assert_array_equal(answer["info"]["frame_c2w"], expected[n - 1][4]["frame_c2w"])
        assert ask(socket, type="describe", session=session)["n"] == 9
        ask(socket, type="delete", session=session)


def test_one_connection_over_both_replicas(serving):
    serving.ready()
    remote = RemoteSanaWMVectorEnv(2, serving.url, patience=240.0, **FAST)
    local = SanaWMVectorEnv(2, "tiny", device="cpu", **FAST)
    same(remote.reset(seed=5), local.reset(seed=5))
    places = [serving.place(each.id)["pid"] for each in remote._remotes]
    assert places[0] != places[1]
    for k, move in enumerate(np.random.default_rng(5).uniform(-1, 1, (4, 2, 6))):
        if k == 2:
            os.kill(places[0], signal.SIGKILL)
        same(remote.step(move), local.step(move))
    remote.close()


def test_health_and_numbers(serving):
    serving.ready()
    facts = json.loads(serving.get("/healthz"))
    assert facts["status"] == "ok" and len(facts["replicas"]) == 2
    text = serving.get("/metrics")
    assert 'sanawm_replicas{state="ready"} 2' in text and 'sanawm_steps_total{replica="1"}' in text
    moved = next(line for line in text.splitlines() if line.startswith("sanawm_sessions_moved_total"))
    assert float(moved.split()[1]) >= 1


def test_it_ends_with_all_its_processes(serving):
    """And a session is still there for whoever serves the folder next."""
    remote = RemoteSanaWMEnv(serving.url, **FAST)
    remote.reset(seed=1)
    remote._remote._mine = False  # it stays
    session = remote._required.id
    remote.close()
    pids = [each["pid"] for each in serving.ready()]
    serving.process.terminate()
    serving.process.wait(90)
    deadline = time.monotonic() + 30
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert read_folder(serving.data / "sessions" / session).lines[0]["type"] == "reset"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--ray", "127.0.0.1:1", "--data", "there"), "no Ray cluster there"),
        (("--ray", "auto"), "needs --data"),
        (("--ray", "local", "--replicas", "0"), "--replicas must be at least 1"),
        (("--replicas", "2"), "belong to --ray"),
        (("--ray", "local", "--checkpoint", "nothing-like-it"), "nothing-like-it"),
    ],
)
def test_mistakes(options, words, tmp_path):
    command = [sys.executable, "-m", "sanawm_env.cli", "serve", "--port", "0", "--checkpoint", "tiny", *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 2 and words in done.stderr, done.stderr
    assert len([line for line in done.stderr.splitlines() if line.startswith("sanawm: error")]) == 1
