"""Frames of play as an H.264 stream, and as pictures where the browser cannot decode one."""

import io

import numpy as np
from PIL import Image

from tests.server.page.browser import choose_scene, needs_browser, pixels, rest, session, walk, walking

pytestmark = needs_browser

BROKEN = """globalThis.VideoDecoder = class {
    static isConfigSupported() { return Promise.resolve({ supported: true }); }
    constructor({ error }) { Object.assign(this, { error, state: "configured" }); }
    configure() {}
    decode() { setTimeout(() => this.error(new Error("broken"))); }
    close() { this.state = "closed"; }
};"""


def distance(page, host):
    """Mean difference, of 255 levels, between what is drawn and the present."""
    drawn = np.asarray(Image.open(io.BytesIO(pixels(page))).convert("RGB"), int)
    name = session(page)
    frame = host.call(lambda: host.session(name).require().last_frames[0]).result()
    return np.abs(drawn - frame).mean()


def test_a_stream(opened, play):
    page = opened(play.url + "&video=h264")
    choose_scene(page, 2)
    page.evaluate("sanawm.view.show = async () => {}")  # only frames of play are drawn
    for key in ("w", "ArrowRight"):
        walk(page, key, 1.0)
        assert distance(page, play.host) < 8
    page.keyboard.press("Backspace")  # to another time: the stream begins anew
    rest(page)
    seen = page.evaluate("sanawm.view.formats.h264")
    walk(page, "s", 0.75)
    assert distance(page, play.host) < 8
    assert page.evaluate("sanawm.view.formats.h264") > seen > 8
    assert page.evaluate("sanawm.view.formats.jpeg === undefined")
    page.reload()
    walking(page)
    rest(page)
    walk(page, "w", 0.5)
    assert page.evaluate("sanawm.view.formats.h264 > 1 && sanawm.view.formats.jpeg === undefined")


def test_pictures_where_the_browser_decodes_none(opened, play):
    page = opened()
    page.add_init_script("delete globalThis.VideoDecoder;")
    page.goto(play.url + "&video=h264")
    choose_scene(page, 2)
    walk(page, "w", 0.5)
    assert page.evaluate("sanawm.view.formats.jpeg > 1 && sanawm.view.formats.h264 === undefined")


def test_pictures_where_decoding_fails(opened, play):
    page = opened()
    page.add_init_script(BROKEN)
    page.goto(play.url + "&video=h264")
    choose_scene(page, 2)
    walk(page, "w", 1.5)
    assert page.evaluate("sanawm.view.formats.jpeg > 3 && sanawm.view.formats.h264 >= 1")
    assert page.evaluate("sanawm.session.video") == "jpeg"


def test_small_worlds_come_as_pictures(opened):
    page = opened()
    choose_scene(page, 2)
    walk(page, "w", 0.5)
    assert page.evaluate("sanawm.session.video") == "jpeg"
