"""Chromium, and words for what a person does on the page."""

import base64
import os
import shutil
import time
from contextlib import contextmanager

import pytest

try:
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=30_000)
except ModuleNotFoundError:
    expect = sync_playwright = None

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
CHROMIUM = os.environ.get("SANAWM_CHROMIUM") or shutil.which("chromium")
needs_browser = pytest.mark.skipif(
    os.environ.get("REQUIRE_PLAY") != "1" and (sync_playwright is None or CHROMIUM is None),
    reason="needs playwright and Chromium: .ci/play",
)


@contextmanager
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        yield browser
        browser.close()


def open_page(browser, url, **context):
    """A page in a context of its own; `page.errors` gathers what goes wrong in it."""
    page = browser.new_context(**({"viewport": {"width": 1400, "height": 850}} | context)).new_page()
    page.set_default_timeout(60_000)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda said: said.type == "error" and "503" not in said.text and page.errors.append(said.text))
    page.goto(url)
    return page


def choose_scene(page, seed):
    page.click(f'[data-seed="{seed}"]')
    walking(page)


def walking(page):
    page.wait_for_selector("body[data-page=walk]")


def session(page):
    return page.evaluate("sanawm.session.id")


def world_time(page):
    return page.evaluate("sanawm.session.time")


def until(page, expression, seconds=60):
    """Wait until an expression is true; `page.wait_for_function` would need `unsafe-eval`, which the page forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(50)


def until_time(page, seconds):
    until(page, f"sanawm.session.time >= {seconds}")


def until_rest(page):
    """No step and no request is under way."""
    until(page, "!sanawm.session.playing && !sanawm.session.starting")
    page.evaluate("sanawm.session.inTurn(() => {})")
    page.wait_for_function(
        "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
    )


def walk(page, key, seconds):
    """Hold a key until so much of world time has passed, then rest."""
    until = world_time(page) + seconds
    page.keyboard.down(key)
    until_time(page, until)
    page.keyboard.up(key)
    rest(page)


def rest(page):
    if page.evaluate("sanawm.session.playing"):
        page.keyboard.press("Space")
    until_rest(page)


def pixels(page, canvas="#view"):
    """What is drawn, as a PNG, which is lossless."""
    return base64.b64decode(page.evaluate("id => document.querySelector(id).toDataURL()", canvas).partition(",")[2])


def tree(page):
    """Snapshots by id."""
    return {node["snapshot"]: node for node in page.evaluate("[...sanawm.session.nodes.values()]")}


def present(page):
    return page.evaluate("sanawm.session.present")


def picture(page, name):
    """Keep a picture of the page, if somebody wants it."""
    if folder := os.environ.get("SANAWM_SCREENSHOTS"):
        page.screenshot(path=f"{folder}/play-{name}.png")


def eventually(check, seconds=30):
    end = time.monotonic() + seconds
    while not check() and time.monotonic() < end:
        time.sleep(0.05)
    assert check()
