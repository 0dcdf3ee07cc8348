import io
import json
import logging
import os
import socket
import struct
import zlib

import httpx
import numpy as np
import pytest
import websockets.sync.client
from PIL import Image
from websockets.exceptions import ConnectionClosed

from sanawm_env import EnvSnapshot
from sanawm_env.server import wire
from sanawm_env.server.web.limits import Rate
from tests.server.serving import TOKEN, Socket

FAST = {"chunk_frames": 1, "sampler_steps": 1}


@pytest.fixture
def http(server):
    base = server.url.split("?")[0]
    with httpx.Client(base_url=base, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
        yield client


@pytest.fixture
def connect(server):
    made = []

    def one(**arguments):
        made.append(Socket(server.socket_url, **arguments))
        return made[-1]

    yield one
    for each in made:
        each.close()


def begun(socket, **settings):
    session = socket.ask(type="create", settings=FAST | settings)[0]["session"]
    socket.ask(type="attach", session=session)
    assert socket.ask(type="reset", session=session, seed=3)[0]["type"] == "result"
    return session


def test_control_by_http(http, server):
    assert http.get("/healthz").json()["status"] == "ok"
    world = http.get("/api/world").json()
    assert world["name"] == "tiny" and world["size"] == [128, 224] and world["exact"] is True
    made = http.post("/api/sessions", json={"settings": FAST | {"task": "PointNav"}, "key": "once"})
    again = http.post("/api/sessions", json={"settings": FAST, "key": "once"})
    assert made.status_code == 201 and again.json()["session"] == made.json()["session"]
    name = made.json()["session"]
    assert made.json()["observation_space"]["dict"]["goal"]["box"]["shape"] == [3]
    assert name in [each["session"] for each in http.get("/api/sessions").json()["sessions"]]
    assert http.get(f"/api/sessions/{name}/snapshots").json()["snapshots"] == []
    assert http.get(f"/api/sessions/{name}/world").json()["code"] == "not-begun"
    assert http.delete(f"/api/sessions/{name}").json()["type"] == "done"
    assert http.get(f"/api/sessions/{name}").status_code == 404
    assert http.post("/api/sessions", content=b"[]").status_code == 400
    assert http.post("/api/sessions", json={"settings": {"nonsense": 1}}).json()["code"] == "invalid"


def test_moments_by_http(http, connect, tmp_path):
    socket = connect()
    session = begun(socket)
    snapshot = socket.ask(type="snapshot", session=session)[0]["snapshot"]
    picture = http.get(f"/api/sessions/{session}/snapshots/{snapshot}.jpg")
    assert Image.open(io.BytesIO(picture.content)).size == (224, 128)
    path = tmp_path / "w.safetensors"
    path.write_bytes(http.get(f"/api/sessions/{session}/world", params={"snapshot": snapshot}).content)
    assert EnvSnapshot.load(path).elapsed_steps == 0
    seed = http.get("/api/gallery").json()["seeds"][3]
    shown = np.asarray(Image.open(io.BytesIO(http.get(f"/api/gallery/{seed}.jpg").content)), int)
    head, payload = socket.ask(type="reset", session=session, seed=seed)
    assert np.abs(wire.decode(head, payload)["observation"] - shown).mean() < 8
    assert http.get("/api/gallery/999.jpg").status_code == 404


def test_metrics(http, connect):
    socket = connect()
    session = begun(socket)
    socket.ask(type="step", session=session, action=[0] * 6)
    text = http.get("/metrics").text
    assert f'sanawm_step_latency_seconds{{session="{session}",quantile="0.95"}}' in text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values["sanawm_steps_total"]) >= 1 and float(values["sanawm_websockets"]) >= 1


def test_who_is_let_in(server, caplog):
    base = server.url.split("?")[0]
    with caplog.at_level(logging.DEBUG):
        assert httpx.get(f"{base}healthz").status_code == 200
        for path in ("metrics", "api/world", "api/sessions"):
            assert httpx.get(base + path).status_code == 401
            assert httpx.get(base + path, params={"token": TOKEN + "x"}).status_code == 401
            assert httpx.get(base + path, headers={"Authorization": f"Basic {TOKEN}"}).status_code == 401
            assert httpx.get(base + path, params={"token": TOKEN}).status_code == 200
        headers = {"Authorization": f"Bearer {TOKEN}"}
        for wrong in ({"Origin": "http://evil.example"}, {"Host": "evil.example"}, {"Origin": "null"}):
            assert httpx.get(f"{base}api/world", headers=headers | wrong).status_code == 403
        assert httpx.get(f"{base}api/world", headers=headers | {"Origin": base[:-1]}).status_code == 200
        answer = httpx.get(f"{base}healthz")
        assert "default-src 'self'" in answer.headers["content-security-policy"]
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert not [line for line in ours if TOKEN in line]


@pytest.mark.parametrize(
    ("change", "headers", "code"),
    [
        (lambda url: url[:-1], {}, 4401),
        (lambda url: url.split("?")[0], {}, 4401),
        (lambda url: url, {"Origin": "http://evil.example"}, 4403),
    ],
)
def test_who_is_let_on_the_socket(server, change, headers, code):
    arguments = {"additional_headers": headers, "proxy": None}
    with websockets.sync.client.connect(change(server.socket_url), **arguments) as socket:
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(20)
    assert closed.value.rcvd.code == code


def png_of_many_pixels():
    """A file of kilobytes that unpacks to 900 megapixels."""
    header = struct.pack(">IIBBBBB", 30_000, 30_000, 1, 0, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(3751 * 3000), 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )


def test_uploads_that_are_too_much(http, connect):
    assert http.post("/api/images", content=png_of_many_pixels()).json()["code"] == "too-large"
    assert http.post("/api/images", content=b"no picture").json()["code"] == "invalid"
    tiny = io.BytesIO()
    Image.new("RGB", (4, 4)).save(tiny, "png")
    assert http.post("/api/images", content=tiny.getvalue()).json()["code"] == "invalid"

    def endless():  # 200 MB, of which the server reads a tenth
        for _ in range(200):
            sent.append(1)
            yield bytes(1_000_000)

    sent = []
    try:
        assert http.post("/api/images", content=endless()).status_code == 413
    except httpx.TransportError:
        pass  # hung up in the middle of it
    assert len(sent) < 100
    with socket.create_connection((http.base_url.host, http.base_url.port), timeout=60) as caller:
        caller.sendall(
            f"POST /api/images?token={TOKEN} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 200000000\r\n\r\n".encode()
        )
        assert b" 413 " in caller.recv(4096)  # before a byte of it was sent
    answer, _ = connect().ask(type="image", payload=png_of_many_pixels())
    assert answer["code"] == "too-large"


def test_no_file_of_the_server_is_read(http, connect, server):
    socket = connect()
    session = begun(socket)
    secret = os.path.abspath(__file__)
    for message in (
        {"type": "reset", "options": {"image": secret}},
        {"type": "reset", "options": {"state": secret}},
        {"type": "reset", "options": {"state": {"snapshot": secret}}},
        {"type": "reset", "options": {"state": {"snapshot": "x", "session": "../" + session}}},
        {"type": "restore", "snapshot": "../../../" + secret},
        {"type": "configure", "settings": {"image": secret}},
        {"type": "configure", "settings": {"keymap": secret}},
        {"type": "configure", "settings": {"text_encoder": secret}},
        {"type": "view", "snapshot": secret},
        {"type": "play", "policy": f"sb3:{secret}"},
        {"type": "play", "policy": "os:getcwd"},
    ):
        answer, _ = socket.ask(session=session, **message)
        assert answer["type"] == "error" and answer["code"] != "failed", message
        assert "def test_" not in json.dumps(answer)
    for path in (
        f"/api/sessions/..%2F..%2F{session}",
        "/static/../../etc/passwd",
        f"/api/sessions/{session}/snapshots/..%2fx.jpg",
    ):
        assert http.get(path).status_code in (400, 404)


def test_two_controllers(connect):
    first, second = connect(), connect()
    session = begun(first)
    assert second.ask(type="step", session=session, action=[0] * 6)[0]["code"] == "not-attached"
    assert second.ask(type="attach", session=session)[0]["code"] == "controlled"
    assert second.ask(type="attach", session=session, control=False)[0]["type"] == "session"
    assert second.ask(type="step", session=session, action=[0] * 6)[0]["code"] == "controlled"
    assert second.ask(type="delete", session=session)[0]["code"] == "controlled"
    assert second.ask(type="describe", session=session)[0]["controlled"] is True
    assert second.ask(type="attach", session=session, take=True)[0]["type"] == "session"
    assert first.ask(type="step", session=session, action=[0] * 6)[0]["code"] == "not-attached"
    assert first.events == [{"type": "lost", "session": session}]
    assert second.ask(type="step", session=session, action=[0] * 6)[0]["type"] == "result"


def test_a_rate():
    rate = Rate(per_second=0.0, burst=3.0)
    assert [rate.take() for _ in range(5)] == [True, True, True, False, False]
