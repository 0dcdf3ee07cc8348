import json
import shutil

import av
import numpy as np
import pytest
from starlette.testclient import TestClient

from sanawm_env.data.review import decisions, decisions_file, read_decisions
from sanawm_env.data.review.server import make_app
from sanawm_env.data.storage.native import item_files, poses_file, video_file
from sanawm_env.video import read_video
from tests.data.native import edit, three_episodes, write_episode, write_video

TOKEN = {"X-Sanawm-Token": "secret"}
HOME = "http://127.0.0.1:8765"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return three_episodes(tmp_path_factory.mktemp("data") / "Räume 1")


@pytest.fixture
def dataset(made, tmp_path):
    return shutil.copytree(made, tmp_path / made.name)


@pytest.fixture
def client(dataset, tmp_path):
    return TestClient(make_app(dataset, "secret", tmp_path / "cache"), base_url=HOME)


def rows(client):
    return {row["name"]: row for row in client.get("/api/dataset").json()["episodes"]}


def test_what_is_listed(client, dataset):
    answer = client.get("/api/dataset").json()
    assert answer["name"] == "Räume 1" and answer["problem"] is None
    found = rows(client)
    assert list(found) == ["000000", "000001", "000002"]
    first, second = found["000000"], found["000001"]
    outcome = json.loads(item_files(dataset)[0].read_text())["outcome"]
    assert first["reward"] == outcome["reward"] and first["measures"] == outcome["measures"]
    assert first["kept"] and first["video"] and first["problem"] is None and first["task"] == "PointNav"
    assert (first["frames"], first["length"], first["size"]) == (37, 36 / 16, [64, 112])
    assert not second["kept"] and not second["video"] and second["reasons"] == ["not successful"]
    assert second["problem"] is None and second["decision"] is None and second["tags"] == []


def test_the_page_and_its_parts(client):
    page = client.get("/")
    assert page.status_code == 200 and "default-src 'self'" in page.headers["content-security-policy"]
    for name in ("main", "grid", "detail", "path", "api", "list", "dom"):
        answer = client.get(f"/static/{name}.js")
        assert answer.status_code == 200 and "javascript" in answer.headers["content-type"]
    assert "http" not in page.text.replace("http-equiv", "")  # nothing comes from elsewhere


def test_a_decision_lands_in_the_sidecar(client, dataset):
    asked = {"decision": "keep", "tags": ["door  way", " ", "Tür", "Tür"], "note": "good"}
    answer = client.put("/api/decisions/000001", json=asked, headers=TOKEN)
    kept = {"decision": "keep", "tags": ["door way", "Tür"], "note": "good"}
    assert answer.status_code == 200 and answer.json() == kept
    assert json.loads(decisions_file(dataset).read_text()) == {"000001": kept}
    assert rows(client)["000001"]["tags"] == ["door way", "Tür"]
    client.put("/api/decisions/000000", json={"decision": "drop"}, headers=TOKEN)
    client.put("/api/decisions/000001", json={"decision": None}, headers=TOKEN)
    assert {name: each.decision for name, each in read_decisions(dataset).items()} == {"000000": "drop"}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("no json", "Expecting"),
        ("[]", "an object"),
        ('{"decision": "maybe"}', "keep, drop or null"),
        ('{"tags": "door"}', "a list"),
        ('{"tags": [1]}', "a list"),
        ('{"note": 3}', "note must be"),
        ('{"verdict": "keep"}', "'verdict' is unknown"),
        (json.dumps({"note": "x" * 5000}), "4000"),
        (json.dumps({"tags": [str(i) for i in range(40)]}), "32 tags"),
    ],
)
def test_decisions_that_are_none(client, dataset, body, words):
    answer = client.put("/api/decisions/000000", content=body, headers=TOKEN)
    assert answer.status_code == 400 and words in answer.json()["error"] and not decisions_file(dataset).exists()


def test_who_has_no_token_decides_nothing(client, dataset):
    for headers in ({}, {"X-Sanawm-Token": "guess"}):
        answer = client.put("/api/decisions/000000", json={"decision": "drop"}, headers=headers)
        assert answer.status_code == 403 and "no right" in answer.json()["error"]
    assert client.put("/api/decisions/000000", content=b"x" * 200_000, headers=TOKEN).status_code == 413
    assert not decisions_file(dataset).exists()


def test_other_names_of_this_machine_are_turned_away(client, dataset):
    for host in ("evil.example", "evil.example:8765", "127.0.0.1.evil.example", "192.168.1.4:8765"):
        assert client.get("/api/dataset", headers={"Host": host}).status_code == 400
        answer = client.put("/api/decisions/000000", json={"decision": "drop"}, headers=TOKEN | {"Host": host})
        assert answer.status_code == 400
    assert client.get("/api/dataset", headers={"Host": "localhost:8765"}).status_code == 200
    assert not decisions_file(dataset).exists()


@pytest.mark.parametrize("name", ["000009", "nobody", "..%2F..%2Fcollection", "٠٠٠٠٠٠", "%2e%2e"])
def test_episodes_that_are_none(client, name):
    for url in (f"/api/path/{name}", f"/video/{name}.mp4", f"/thumbnail/{name}.jpg"):
        assert client.get(url).status_code == 404
    assert client.put(f"/api/decisions/{name}", json={"decision": "keep"}, headers=TOKEN).status_code == 404


@pytest.mark.parametrize(("name", "pix_fmt"), [("000000", "gbrp"), ("000002", "yuv444p")])
def test_videos_that_browsers_do_not_play_are_copied(client, dataset, tmp_path, name, pix_fmt):
    original = video_file(dataset, int(name))
    with av.open(str(original)) as container:
        assert container.streams.video[0].pix_fmt == pix_fmt
    answer = client.get(f"/video/{name}.mp4")
    assert answer.status_code == 200 and answer.headers["content-type"] == "video/mp4"
    (tmp_path / "seen.mp4").write_bytes(answer.content)
    with av.open(str(tmp_path / "seen.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 16)
    frames, theirs = read_video(tmp_path / "seen.mp4")[0], read_video(original)[0]
    assert frames.shape == theirs.shape
    part = client.get(f"/video/{name}.mp4", headers={"Range": "bytes=0-99"})
    assert part.status_code == 206 and part.content == answer.content[:100]
    copies = list((tmp_path / "cache").glob("*.mp4"))
    before = copies[0].stat().st_ino
    client.get(f"/video/{name}.mp4")
    assert len(copies) == 1 and copies[0].stat().st_ino == before  # made once


def test_a_thumbnail_shows_beginning_middle_and_end(client, dataset, tmp_path):
    frames = np.zeros((37, 64, 112, 3), np.uint8)
    frames[0, ..., 0] = frames[18, ..., 1] = frames[36, ..., 2] = 255
    write_video(video_file(dataset, 0), frames)
    (tmp_path / "t.jpg").write_bytes(client.get("/thumbnail/000000.jpg").content)
    from PIL import Image

    picture = np.asarray(Image.open(tmp_path / "t.jpg"))
    assert picture.shape == (91, 480, 3)
    assert [int(picture[45, 80 + 160 * i].argmax()) for i in range(3)] == [0, 1, 2]


def test_the_path_from_above(client, dataset):
    c2w = np.load(poses_file(item_files(dataset)[0]))["c2w"]
    edit(dataset, 0, lambda item: item["recipe"]["start"].__setitem__("goal", [1.0, 9.0, 2.0]))
    path = client.get("/api/path/000000").json()
    np.testing.assert_allclose(path["points"], c2w[:, [0, 2], 3], atol=1e-4)
    np.testing.assert_allclose(path["forward"], c2w[:, [0, 2], 2], atol=1e-4)
    assert path["goal"] == [1.0, 2.0]
    assert client.get("/api/path/000001").json()["goal"] is None


def test_a_growing_dataset(client, dataset):
    first = client.get("/api/dataset")
    tag = first.headers["etag"]
    assert client.get("/api/dataset", headers={"If-None-Match": tag}).status_code == 304
    write_episode(dataset, 3)
    grown = client.get("/api/dataset", headers={"If-None-Match": tag})
    assert grown.status_code == 200 and len(grown.json()["episodes"]) == 4
    tag = grown.headers["etag"]
    client.put("/api/decisions/000003", json={"decision": "keep"}, headers=TOKEN)
    assert client.get("/api/dataset", headers={"If-None-Match": tag}).status_code == 200
    edit(dataset, 3, lambda item: item["outcome"].__setitem__("reward", 7.0))
    assert rows(client)["000003"]["reward"] == 7.0


def test_broken_episodes_are_shown_as_broken(client, dataset):
    video = video_file(dataset, 0)
    whole = video.read_bytes()
    video.write_bytes(whole[: len(whole) * 2 // 3])  # its index is whole, since it stands in front
    item_files(dataset)[1].write_text('{"recipe": {"se')
    video_file(dataset, 2).unlink()
    found = rows(client)
    assert "cut off" in found["000000"]["problem"] and "broken" in found["000001"]["problem"]
    assert found["000002"]["problem"] == "the video is missing"
    for url in ("/video/000000.mp4", "/thumbnail/000000.jpg"):
        answer = client.get(url)
        assert answer.status_code == 422 and "no readable video" in answer.json()["error"]
    video.write_bytes(whole[:100])
    assert "cannot be opened" in rows(client)["000000"]["problem"]
    assert client.get("/video/000000.mp4").status_code == 422
    poses_file(item_files(dataset)[0]).write_bytes(b"PK\x03\x04 cut")
    answer = client.get("/api/path/000000")
    assert answer.status_code == 422 and "poses of episode 000000" in answer.json()["error"]
    assert client.put("/api/decisions/000001", json={"decision": "drop"}, headers=TOKEN).status_code == 200


def test_numbers_that_json_does_not_know(client, dataset):
    edit(dataset, 0, lambda item: item["outcome"]["measures"].__setitem__("spl", float("nan")))
    assert rows(client)["000000"]["measures"]["spl"] is None


def test_a_read_only_dataset(client, dataset, monkeypatch):
    def refuse(path, value):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(decisions, "write_json", refuse)
    answer = client.put("/api/decisions/000000", json={"decision": "keep"}, headers=TOKEN)
    assert answer.status_code == 409 and "Read-only file system" in answer.json()["error"]
    assert "review a copy" in answer.json()["error"] and rows(client)["000000"]["decision"] is None


def test_decisions_that_were_broken_by_hand_are_not_overwritten(client, dataset):
    decisions_file(dataset).write_text('{"000000": {"decision": "keep"},}')
    answer = client.get("/api/dataset").json()
    assert "review.json cannot be read" in answer["problem"] and len(answer["episodes"]) == 3
    answer = client.put("/api/decisions/000000", json={"decision": "drop"}, headers=TOKEN)
    assert answer.status_code == 409 and "mend it" in answer.json()["error"]
    assert decisions_file(dataset).read_text().endswith(",}")
