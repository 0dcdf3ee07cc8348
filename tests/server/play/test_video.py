import av
import numpy as np
import pytest

from sanawm_env.server import wire
from sanawm_env.server.play.video import LiveVideo
from tests.server.serving import Socket


def moving(count, height=64, width=96):
    """Smooth pictures that move."""
    y, x = np.mgrid[:height, :width]
    for k in range(count):
        planes = [np.sin((x + 4 * k) / 15), np.cos((y + 2 * k) / 11), np.sin((x + y) / 23)]
        yield (127 + 120 * np.stack(planes, -1)).astype(np.uint8)


class Reader:
    def __init__(self):
        self.context = av.CodecContext.create("h264", "r")

    def read(self, packet):
        (frame,) = self.context.decode(av.Packet(packet))  # each packet gives its frame at once
        return frame.reformat(format="rgb24", src_colorspace="ITU709").to_ndarray()


def test_each_frame_at_once_and_like_itself():
    video, reader = LiveVideo(64, 96, 16), Reader()
    for k, image in enumerate(moving(12)):
        packet, key = video.encode(image)
        assert key is (k == 0)
        assert np.abs(reader.read(packet).astype(int) - image).mean() < 4


def test_one_may_begin_at_a_restart():
    video, packets, images = LiveVideo(64, 96, 16), [], list(moving(12))
    for k, image in enumerate(images):
        if k == 7:
            video.restart()
        packets.append(video.encode(image))
    assert [k for k, (_, key) in enumerate(packets) if key] == [0, 7]
    reader = Reader()
    for (packet, _), image in zip(packets[7:], images[7:], strict=True):
        assert np.abs(reader.read(packet).astype(int) - image).mean() < 4
    with pytest.raises(av.error.FFmpegError):
        Reader().read(packets[8][0])  # of no use without those before it


def test_sizes():
    assert LiveVideo.fits(704, 1280) and not LiveVideo.fits(63, 96) and not LiveVideo.fits(64, 95)


def frames(socket, session, count):
    """Heads and payloads of the next frames of play, each acknowledged."""
    found = []
    while len(found) < count:
        head, payload = socket.early.pop(0) if socket.early else wire.split(socket.socket.recv(60))
        if head["type"] == "frame":
            found.append((head, bytes(payload)))
            socket.socket.send(f'{{"type": "ack", "session": "{session}", "frame": {head["frame"]}}}')
    return found


def test_play_as_a_stream(server):
    """It begins with a key frame, and again after each jump and for each connection."""
    socket = Socket(server.socket_url)
    session = socket.ask(type="create", settings={"chunk_frames": 1, "sampler_steps": 1})[0]["session"]
    assert socket.ask(type="attach", session=session, video="h264")[0]["video"] == "h264"
    socket.ask(type="reset", session=session, seed=3)
    start = socket.ask(type="snapshot", session=session)[0]["snapshot"]
    socket.socket.send(f'{{"type": "control", "session": "{session}", "seq": 1, "twist": [0, 0, 0.5, 0, 0, 0]}}')
    socket.ask(type="play", session=session)
    first, reader = frames(socket, session, 6), Reader()
    assert [head["key"] for head, _ in first] == [True] + [False] * 5
    assert all(head["format"] == "h264" for head, _ in first)
    seen = [reader.read(packet) for _, packet in first]
    assert seen[0].shape == (128, 224, 3) and np.abs(seen[0].astype(int) - seen[-1]).mean() > 0.1

    socket.socket.send(f'{{"type": "restore", "session": "{session}", "snapshot": "{start}"}}')
    until_fresh = []
    while not (until_fresh and until_fresh[-1][0]["fresh"]):
        until_fresh += frames(socket, session, 1)
    assert until_fresh[-1][0]["key"] and until_fresh[-1][0]["row"] == 0
    Reader().read(until_fresh[-1][1])
    after = frames(socket, session, 2)
    assert not any(head["key"] for head, _ in after)

    watcher = Socket(server.socket_url)
    watcher.ask(type="attach", session=session, control=False, video="h264")
    plain = Socket(server.socket_url)
    plain.ask(type="attach", session=session, control=False)
    frames(socket, session, 6)
    (head, packet), *_ = frames(watcher, session, 1)
    assert head["key"] and Reader().read(packet).shape == (128, 224, 3)
    (head, payload), *_ = frames(plain, session, 1)
    assert head["format"] == "jpeg" and payload[:2] == b"\xff\xd8"
    assert socket.ask(type="attach", session=session, video="mpeg2")[0]["code"] == "malformed"
    for each in (watcher, plain, socket):
        each.close()
