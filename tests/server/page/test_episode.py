"""Episodes that are recorded on the page, and the page in a notebook."""

import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np

from sanawm_env import SanaWMEnv
from sanawm_env import play as play_by_hand
from sanawm_env.data.formats import detect, get_format
from sanawm_env.data.replay import compare, read_source, rerender
from sanawm_env.server.web.page import page_routes
from tests.server.page.browser import (
    choose_scene,
    expect,
    needs_browser,
    open_page,
    picture,
    present,
    rest,
    until_time,
    walk,
    walking,
    world_time,
)
from tests.server.serving import serving

pytestmark = needs_browser


def test_an_episode(opened, play, model):
    """Walk, go back, walk elsewhere: the episode is the way to where one stands."""
    page = opened()
    choose_scene(page, 3)
    page.keyboard.press("l")
    expect(page.locator("#episode")).to_have_attribute("aria-pressed", "true")
    walk(page, "w", 1.0)
    fork, at = present(page), world_time(page)
    walk(page, "a", 1.0)
    picture(page, "recording")
    while present(page) != fork:
        now = world_time(page)
        page.keyboard.press("Comma")
        page.wait_for_timeout(50)
        rest(page)
        assert world_time(page) <= now
    assert world_time(page) == at
    walk(page, "d", 1.0)
    seconds = world_time(page)
    page.click("#episode")
    expect(page.locator("#message")).to_contain_text("Episode 0 of recordings/walks")
    picture(page, "recorded")
    root = play.host.folder / "recordings" / "walks"
    assert detect(root).load().check(root) == []
    (episode,) = get_format("lerobot").load().read(root)
    assert episode.seconds == seconds
    sideways = np.diff(episode.c2w[:, 0, 3])
    assert sideways.min() > -1e-6 and sideways.max() > 0.01  # forward, then to the right; the left was left behind
    source = read_source(root / "sanawm" / "episodes" / "000000.json")
    again = compare(rerender(source.recipe, root, model), source.recipe.digests, source.recipe.frames_sha256)
    assert again.difference is None

    page.keyboard.press("l")  # a second one, which goes on from the first
    walk(page, "w", 0.5)
    page.keyboard.press("l")
    expect(page.locator("#message")).to_contain_text("Episode 1 of recordings/walks")
    assert len(list(get_format("lerobot").load().read(root))) == 2


def test_an_episode_ends_with_the_task(opened, play):
    page = opened()
    page.wait_for_selector("#gallery .tile")
    page.select_option("#task", "PointNav")
    choose_scene(page, 3)
    page.keyboard.press("l")
    page.select_option("#policy", "scripted:follow")
    expect(page.locator("#message")).to_contain_text("Episode 0 of recordings/pointnav", timeout=120_000)
    expect(page.locator("#message")).to_contain_text("task done")
    (episode,) = get_format("lerobot").load().read(play.host.folder / "recordings" / "pointnav")
    assert episode.success


def test_what_cannot_be_recorded(browser, opened, model, tmp_path):
    with serving(model, tmp_path, routes=page_routes()) as running:
        page = open_page(browser, running.url)
        choose_scene(page, 1)
        expect(page.locator("#episode")).to_be_disabled()
        assert "--data" in page.locator("#episode").get_attribute("title")
        walk(page, "w", 0.5)
        with page.expect_download() as downloading:
            page.click("#save")
        downloading.value.save_as(tmp_path / "world.safetensors")
        page.context.close()
    page = opened()
    page.wait_for_selector("#gallery .tile")
    page.set_input_files("#world-file", tmp_path / "world.safetensors")
    walking(page)
    page.keyboard.press("l")
    expect(page.locator("#message")).to_contain_text("makes no episode")
    expect(page.locator("#episode")).to_have_attribute("aria-pressed", "false")


def test_in_a_notebook(browser, model):
    """The page within one of another origin; the environment goes on from where the person stopped."""
    env = SanaWMEnv(model, task="PointNav", chunk_frames=1)
    env.reset(seed=5)
    env.step(np.zeros(6))
    with play_by_hand(env) as playing, framing(playing._repr_html_()) as address:
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.goto(address)
        frame = page.frame_locator("iframe")
        expect(frame.locator("#hint")).to_contain_text("Press W to go on")
        expect(frame.locator("#numbers")).to_contain_text("x, y, z")
        inner = page.frames[1]
        frame.locator("#view").click()
        page.keyboard.down("w")
        until_time(inner, 1.25)
        page.keyboard.up("w")
        picture(page, "notebook")
        inner.evaluate("sanawm.session.pause()")
        walked = playing.snapshot()
        page.context.close()
    _, info = env.restore(walked)
    assert info["time"] >= 1.25 and info["c2w"][2, 3] > 0.3
    assert env.step(np.zeros(6))[4]["time"] == info["time"] + 0.25


@contextmanager
def framing(html):
    """Another site, with some HTML."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(f"<!doctype html><body>{html}".encode())

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://localhost:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
