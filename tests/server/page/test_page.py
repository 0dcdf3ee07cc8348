"""A person's minute on the page of `sanawm play`, in a real browser."""

import io

import numpy as np
import pytest
from PIL import Image

from sanawm_env import EnvSnapshot
from tests.server.page.browser import (
    choose_scene,
    expect,
    needs_browser,
    picture,
    pixels,
    present,
    rest,
    session,
    tree,
    until,
    until_time,
    walk,
    walking,
    world_time,
)

pytestmark = needs_browser


def frames(host, name):
    """Every snapshot's last frame, as the server has it."""
    nodes = {node.id: node for node in host.call(lambda: list(host.session(name).tree)).result()}
    return {
        id: host.call(lambda id=id: host.session(name).tree.moment(id).state.last_frame.numpy().copy()).result()
        for id in nodes
    }


def test_a_minute(opened, play, tmp_path):
    """Open, walk, rewind, branch, compare, mark, save, reload and go on."""
    page = opened()
    until(page, "document.querySelectorAll('#gallery img[src]').length == 24")
    picture(page, "start")
    choose_scene(page, 3)
    expect(page.locator("#hint")).to_contain_text("Press W")
    walk(page, "w", 2.0)
    seen, place = pixels(page), present(page)
    assert page.evaluate("sanawm.session.pose[2]") > 1.0  # 0.8 m/s
    page.keyboard.down("w")
    walk(page, "ArrowRight", 10.0)
    page.keyboard.up("w")
    picture(page, "walk")
    assert pixels(page) != seen

    trunk = frames(play.host, session(page))
    end = present(page)
    while present(page) != place:  # 10 s ago
        now = world_time(page)
        page.keyboard.press("Comma")
        until(page, f"sanawm.session.time < {now}")
    rest(page)
    assert pixels(page) == seen

    page.keyboard.down("d")  # a branch
    walk(page, "ArrowLeft", 3.0)
    page.keyboard.up("d")
    after = frames(play.host, session(page))
    assert len(after) > len(trunk) and all(np.array_equal(after[id], trunk[id]) for id in trunk)
    assert end in tree(page) and pixels(page) != seen
    picture(page, "branches")

    page.keyboard.press("c")
    expect(page.locator("#compare")).to_be_visible()
    expect(page.locator("#compare-fork")).to_contain_text("part at 0:02")
    until(page, "['a', 'b'].every(k => document.getElementById('compare-' + k).width == 224)")
    assert pixels(page, "#compare-a") != pixels(page, "#compare-b")
    picture(page, "compare")
    page.locator("#compare-time").fill("1")  # before they part
    until(page, "new Set(['a', 'b'].map(k => document.getElementById('compare-' + k).dataset.snapshot)).size == 1")
    page.keyboard.press("Escape")

    page.keyboard.press("b")
    page.fill("#mark-name", "the <b>door</b>")
    page.keyboard.press("Enter")
    expect(page.locator("#timeline .name").last).to_have_text("the <b>door</b>")  # text, not markup
    rest(page)
    marked = tree(page)[present(page)]
    same = [node for node in tree(page).values() if (node["time"], node["pose"]) == (marked["time"], marked["pose"])]
    assert same == [marked]  # it took the place of the snapshot that was taken when time came to rest
    with page.expect_download() as downloading:
        page.click("#save")
    downloading.value.save_as(tmp_path / "world.safetensors")
    saved = EnvSnapshot.load(tmp_path / "world.safetensors")
    assert saved.state.frame_index[0] / 16 == world_time(page)

    before, where, name, known = pixels(page), world_time(page), session(page), set(tree(page))
    page.reload()
    walking(page)
    rest(page)
    assert (session(page), world_time(page), pixels(page), set(tree(page))) == (name, where, before, known)
    walk(page, "w", 1.0)

    page.keyboard.press("n")  # the file is a world as well
    page.wait_for_selector("#recent .tile")
    picture(page, "again")
    page.set_input_files("#world-file", tmp_path / "world.safetensors")
    walking(page)
    rest(page)
    assert pixels(page) == before and session(page) != name and world_time(page) == where


def test_keys_are_let_go(opened):
    """Repeats of the keyboard count for nothing; without the focus nothing is held."""
    page = opened()
    choose_scene(page, 4)
    twist = "JSON.parse(sanawm.session.sent)"
    page.keyboard.down("w")
    page.keyboard.down("w")  # Playwright sends a repeat
    page.keyboard.down("a")
    until(page, f"{twist}[0] < -0.5 && {twist}[2] > 0.5")  # together no faster than one alone
    assert page.evaluate(f"Math.hypot(...{twist}.slice(0, 3))") == pytest.approx(0.8, abs=1e-3)
    page.evaluate("dispatchEvent(new Event('blur'))")
    until(page, f"{twist}.every(value => value === 0)")
    page.keyboard.down("w")  # still a repeat: held down since before the focus was lost
    page.wait_for_timeout(200)
    assert page.evaluate("sanawm.session.still")
    page.keyboard.up("w")
    page.keyboard.up("a")

    rest(page)
    page.keyboard.press("b")
    page.fill("#mark-name", "")
    page.keyboard.type("was wandern")  # letters of a text move nobody
    assert page.evaluate("sanawm.session.still && !sanawm.session.playing")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    picture(page, "help")
    page.keyboard.press("Escape")

    page.mouse.move(500, 300)  # dragging looks around
    page.mouse.down()
    page.mouse.move(600, 300, steps=5)
    page.mouse.up()
    until(page, "2 * Math.asin(sanawm.session.pose[5]) > 0.03")
    rest(page)
    theme = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.keyboard.press("t")
    picture(page, "dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != theme


def test_thumbs(opened):
    page = opened(viewport={"width": 390, "height": 800}, has_touch=True, is_mobile=True)
    page.locator('[data-seed="1"]').tap()
    walking(page)
    parts = "document.querySelectorAll('header *, nav *, #view, #panel, .stick')"
    assert page.evaluate(f"Math.max(...[...{parts}].map(part => part.getBoundingClientRect().right))") <= 390
    box = page.locator("#move").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    touches = page.context.new_cdp_session(page)
    touches.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]})
    touches.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x + 5, "y": y - 30}]})
    until(page, "JSON.parse(sanawm.session.sent)[2] > 0.1")
    speed = page.evaluate("JSON.parse(sanawm.session.sent)[2]")
    assert 0.2 < speed < 0.75  # between the middle and the edge
    until_time(page, 1.5)
    picture(page, "phone")
    touches.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    until(page, "sanawm.session.still")
    rest(page)
    assert page.evaluate("sanawm.session.pose[2]") > 0.3


def test_pictures(opened, tmp_path):
    page = opened()
    image = np.random.default_rng(0).integers(0, 255, (90, 160, 3)).astype(np.uint8)
    Image.fromarray(np.repeat(np.repeat(image[::10, ::10], 10, 0), 10, 1)).save(tmp_path / "mine.png")
    page.wait_for_selector("#gallery .tile")
    (tmp_path / "no.png").write_bytes(b"\x89PNG nothing")
    page.set_input_files("#picture", tmp_path / "no.png")
    expect(page.locator("#message")).to_contain_text("upload a PNG, JPEG or WebP file")
    big = {"name": "big.png", "mimeType": "image/png", "buffer": bytes(21_000_000)}
    page.set_input_files("#picture", big)
    expect(page.locator("#message")).to_contain_text("at most 20 MB; this one has 21")
    (tmp_path / "no.safetensors").write_bytes(b"nothing")
    page.set_input_files("#world-file", tmp_path / "no.safetensors")
    expect(page.locator("#message")).to_contain_text("world file")
    assert page.evaluate("document.body.dataset.page") == "start"
    page.errors.clear()  # the browser notes the 422
    page.set_input_files("#picture", tmp_path / "mine.png")
    walking(page)
    rest(page)
    drawn = np.asarray(Image.open(io.BytesIO(pixels(page))).convert("RGB")).reshape(-1, 3)
    assert drawn.std(axis=0).min() > 30  # the motley of the file, not a black canvas


def test_a_policy_walks_and_hands_back(opened):
    page = opened()
    page.wait_for_selector("#policy option >> nth=5", state="attached")
    choose_scene(page, 5)
    page.select_option("#policy", "scripted:orbit")
    until_time(page, 1.0)
    assert page.evaluate("sanawm.session.policy") == "scripted:orbit"
    page.keyboard.down("w")  # whoever walks takes over
    until(page, "sanawm.session.policy === null && sanawm.session.playing")
    page.keyboard.up("w")
    expect(page.locator("#policy")).to_have_value("")
    page.select_option("#policy", "scripted:follow")  # needs a task
    expect(page.locator("#message")).to_be_visible()
    expect(page.locator("#policy")).to_have_value("")


def test_a_task(opened):
    page = opened()
    page.wait_for_selector("#gallery .tile")
    page.select_option("#task", "PointNav")
    choose_scene(page, 3)
    expect(page.locator("#numbers")).to_contain_text("To the goal")
    first = page.locator("#numbers").inner_text()
    walk(page, "w", 1.0)
    assert page.locator("#numbers").inner_text() != first
    expect(page.locator("#numbers")).to_contain_text("Drift")
    picture(page, "task")


def test_recording(opened, tmp_path):
    import av

    page = opened()
    choose_scene(page, 6)
    page.keyboard.press("r")
    walk(page, "w", 1.5)
    with page.expect_download() as downloading:
        page.keyboard.press("r")
    path = tmp_path / downloading.value.suggested_filename
    downloading.value.save_as(path)
    with av.open(str(path)) as video:
        assert video.streams.video[0].width == 224 and sum(1 for _ in video.decode(video=0)) > 5


def test_a_link_to_a_moment(opened):
    page = opened()
    choose_scene(page, 7)
    walk(page, "w", 1.0)
    page.click("#share")
    expect(page.locator("#sharing")).to_be_visible()
    url = page.input_value("#share-link")
    page.keyboard.press("Escape")
    seen, where, known = pixels(page), world_time(page), set(tree(page))
    other = opened(url)
    walking(other)
    rest(other)
    assert pixels(other) == seen and world_time(other) == where and session(other) != session(page)
    walk(other, "s", 0.5)
    page.reload()
    walking(page)
    rest(page)
    assert set(tree(page)) == known and pixels(page) == seen
