import re
import socket
import subprocess
import sys

import pytest

from sanawm_env.cli import main
from sanawm_env.cli.common.cluster import RayReplicas
from sanawm_env.cli.server.serve import Serve, address
from sanawm_env.server.web.listening import listen, locked


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"host": "0.0.0.0", "insecure": True}, "--insecure would let everybody"),
        ({"insecure": True, "token": "long-enough"}, "either"),
        ({"token": "short"}, "8 letters"),
        ({"port": 99999}, "--port"),
        ({"max_sessions": 0}, "positive"),
        ({"snapshot_gb": float("nan")}, "positive"),
        ({"cluster": RayReplicas("local", replicas=0)}, "--replicas must be at least 1; got 0"),
        ({"cluster": RayReplicas(replicas=2)}, "belong to --ray"),
        ({"cluster": RayReplicas("http://here")}, "give auto, local or HOST:PORT"),
    ],
)
def test_options_that_cannot_be_used(options, words):
    with pytest.raises(ValueError, match=words):
        Serve(**options).run()


def test_without_ray(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match=r"pip install 'sanawm_env\[ray\]'"):
        Serve(cluster=RayReplicas("local")).run()


def test_a_port_in_use(capsys):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SystemExit):
            main(["serve", "--port", str(port)])
        assert f"127.0.0.1:{port} cannot be had" in capsys.readouterr().err
        assert address(taken, "abc") == f"http://127.0.0.1:{port}/?token=abc"


def test_a_folder_in_use(tmp_path):
    with locked(tmp_path / "data"):
        with pytest.raises(ValueError, match="another server uses"):
            with locked(tmp_path / "data"):
                pass
    with locked(tmp_path / "data") as folder:
        assert folder == tmp_path / "data"


def test_what_is_missing_is_named():
    code = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from sanawm_env.cli import main; main(['serve', '--port', '0', '--checkpoint', 'tiny'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and re.search(r"needs uvicorn: pip install 'sanawm_env\[play\]'", done.stderr)


def test_it_serves_and_ends(tmp_path):
    """Ctrl-C ends it, and the token is in its first line alone."""
    command = [sys.executable, "-m", "sanawm_env.cli", "serve", "--checkpoint", "tiny", "--port", "0", "--no-warmup"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    port, token = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/\?token=(\S+)\n", line).groups()
    with socket.create_connection(("127.0.0.1", int(port)), timeout=60) as caller:
        caller.sendall(
            f"GET /api/world?token={token}x HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode()
        )
        assert b"401" in caller.recv(4096)
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert token not in out + err and process.returncode in (0, 128 + 15, -15)
