import json
import re
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

from sanawm_env.cli.main import main
from sanawm_env.data.review import read_decisions
from tests.data.native import write_episode


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    root = tmp_path_factory.mktemp("data") / "a räum"
    write_episode(root, 0, steps=1)
    return root


def refused(capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        main(["review", *map(str, arguments)])
    assert end.value.code == 2
    return capsys.readouterr().err


def test_what_is_no_dataset(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert "no dataset" in refused(capsys, tmp_path / "none")
    assert "is no dataset of `sanawm collect`" in refused(capsys, tmp_path)
    assert "is no dataset of `sanawm collect`" in refused(capsys, tmp_path / "file")


def test_a_port_that_is_taken(dataset, capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        text = refused(capsys, dataset, "--port", other.getsockname()[1])
    assert "cannot be had" in text and "--port 0" in text
    assert "0..65535" in refused(capsys, dataset, "--port", 70000)


def test_the_printed_address_works_until_it_is_interrupted(dataset):
    command = [sys.executable, "-m", "sanawm_env.cli", "review", str(dataset), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline()
            home, token = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)", line).groups()
            body = json.dumps({"decision": "keep"}).encode()
            request = urllib.request.Request(
                f"{home}/api/decisions/000000", body, {"X-Sanawm-Token": token}, method="PUT"
            )
            with urllib.request.urlopen(request, timeout=30) as answer:
                assert json.load(answer)["decision"] == "keep"
        finally:
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=30)
    assert read_decisions(dataset)["000000"].decision == "keep"
    assert "Traceback" not in said
