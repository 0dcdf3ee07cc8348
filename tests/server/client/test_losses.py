"""Connections and servers that die in the middle: no step is lost, none done twice."""

import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np

from sanawm_env import SanaWMEnv
from sanawm_env.client import RemoteSanaWMEnv
from tests.server.client.test_env import FAST, same
from tests.server.serving import TOKEN


class Cable:
    """Passes bytes on to a server, and can be cut."""

    def __init__(self, port):
        self.server = socket.create_server(("127.0.0.1", 0))
        self.port, self.to, self.pairs = self.server.getsockname()[1], port, []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                ours, _ = self.server.accept()
            except OSError:
                return
            theirs = socket.create_connection(("127.0.0.1", self.to))
            self.pairs.append((ours, theirs))
            for pair in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self.pump, args=pair, daemon=True).start()

    @staticmethod
    def pump(source, sink):
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
        except OSError:
            pass

    def cut(self):
        """Cut what is connected now, amid whatever is under way."""
        pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.server.close()
        self.cut()


def test_a_cable_that_is_cut_again_and_again(server, model):
    port = int(server.url.split(":")[2].split("/")[0])
    cable = Cable(port)
    remote = RemoteSanaWMEnv(f"http://127.0.0.1:{cable.port}/?token={TOKEN}", task="PointNav", patience=60.0, **FAST)
    local = SanaWMEnv(model, task="PointNav", **FAST)
    same(remote.reset(seed=3), local.reset(seed=3))
    rng = np.random.default_rng(0)
    for step in range(12):
        action = rng.uniform(-1, 1, 6)
        # Before, amid and after the step, in turn.
        timer = threading.Timer([0.0, 0.01, 0.05][step % 3], cable.cut)
        timer.start()
        same(remote.step(action), local.step(action))
        timer.join()
    here = remote.snapshot()
    cable.cut()
    remote.step(np.zeros(6))
    same(remote.restore(here), local.restore(local.snapshot()))
    remote.close()
    cable.close()


@contextmanager
def serve_process(data, port):
    command = [
        sys.executable, "-m", "sanawm_env.cli", "serve", "--checkpoint", "tiny", "--port", str(port),
        "--data", str(data), "--no-warmup",
    ]  # fmt: skip
    environment = os.environ | {"SANAWM_TOKEN": TOKEN}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        address = process.stdout.readline().strip()
        assert TOKEN in address, process.stderr.read()
        yield process, address
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait(20)
        process.stdout.close(), process.stderr.close()


def test_a_server_that_is_killed_and_started_again(model, tmp_path):
    local = SanaWMEnv(model, task="PointNav", **FAST)
    moves = np.random.default_rng(1).uniform(-1, 1, (9, 6))
    with serve_process(tmp_path / "data", 0) as (first, address):
        remote = RemoteSanaWMEnv(address, task="PointNav", patience=120.0, **FAST)
        same(remote.reset(seed=8), local.reset(seed=8))
        for move in moves[:3]:
            same(remote.step(move), local.step(move))
        here, there = remote.snapshot("here"), local.snapshot()
        same(remote.step(moves[3]), local.step(moves[3]))
        port = int(address.split(":")[2].split("/")[0])
        first.send_signal(signal.SIGKILL)
        first.wait(20)
    with serve_process(tmp_path / "data", port):
        for move in moves[4:6]:
            same(remote.step(move), local.step(move))
        same(remote.restore(here), local.restore(there))
        for move in moves[6:]:
            same(remote.step(move), local.step(move))
        same(remote.reset(), local.reset())
        assert remote.np_random.bit_generator.state == local.np_random.bit_generator.state
        remote.close()
