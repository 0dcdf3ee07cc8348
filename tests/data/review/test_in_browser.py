"""The page in a real browser: `.ci/review` brings one; elsewhere this is skipped."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sanawm_env import WorldModel
from sanawm_env.data.review import read_decisions
from sanawm_env.data.storage.native import item_files, video_file
from tests.data.native import write_episode

FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip
CHROMIUM = os.environ.get("SANAWM_CHROMIUM") or shutil.which("chromium")
WANTED = os.environ.get("SANAWM_BROWSER") == "1"

try:
    from playwright.sync_api import expect, sync_playwright
except ModuleNotFoundError:
    sync_playwright = None
pytestmark = pytest.mark.skipif(
    not WANTED and (sync_playwright is None or CHROMIUM is None), reason="needs playwright and Chromium: .ci/review"
)


@pytest.fixture
def dataset(tmp_path):
    root, world = tmp_path / "Räume 1", WorldModel.load("tiny")
    for number in range(5):
        write_episode(root, number, world=world, checkpoint="tiny", kept=number != 1, lossless=number != 2)
    video = video_file(root, 3)
    video.write_bytes(video.read_bytes()[:30000])
    item_files(root)[4].write_text('{"rec')
    return root


@pytest.fixture
def address(dataset, tmp_path):
    command = [sys.executable, "-m", "sanawm_env.cli", "review", str(dataset), "--port", "0"]
    environment = os.environ | {"SANAWM_CACHE": str(tmp_path / "cache")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield re.search(r"http://\S+", process.stdout.readline()).group()
        process.terminate()


@pytest.fixture
def page(address):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, headless=True, args=FLAGS)
        page = browser.new_page(viewport={"width": 1400, "height": 850})
        page.errors = []
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        page.goto(address)
        page.wait_for_selector(".card")
        yield page
        assert page.errors == []
        browser.close()


def until(check):
    """Wait for what comes soon."""
    end = time.monotonic() + 10
    while not check() and time.monotonic() < end:
        time.sleep(0.05)
    assert check()


def names(page):
    return page.eval_on_selector_all(".card", "cards => cards.map(card => card.dataset.name)")


def test_looking_deciding_and_finding(page, dataset):
    expect(page.locator(".card")).to_have_count(5)
    until(lambda: page.evaluate("document.querySelector('video')?.readyState >= 2"))  # a copy of lossless RGB plays
    assert page.evaluate("document.querySelector('video').videoWidth") == 224
    expect(page.locator("svg.path polyline")).to_have_count(1)

    page.keyboard.press("k")  # 000000, and on
    page.keyboard.press("d")  # 000001, and on
    expect(page.locator(".card.selected")).to_have_attribute("data-name", "000002")
    page.keyboard.press("t")
    page.keyboard.type("doorway, Tür")
    page.keyboard.press("Enter")
    page.keyboard.press("n")
    page.keyboard.type("dark\nkd")
    page.keyboard.press("Escape")
    until(lambda: "000002" in (known := read_decisions(dataset)) and known["000002"].note == "dark\nkd")
    known = read_decisions(dataset)
    assert [known[name].decision for name in sorted(known)] == ["keep", "drop", None]
    assert known["000002"].tags == ("doorway", "Tür")
    if folder := os.environ.get("SANAWM_SCREENSHOTS"):
        page.wait_for_timeout(500)
        page.screenshot(path=Path(folder) / "review.png")

    page.keyboard.press("ArrowLeft")
    page.keyboard.press("u")
    until(lambda: "000001" not in read_decisions(dataset))
    page.keyboard.press("/")
    page.keyboard.type("tür")
    expect(page.locator(".card")).to_have_count(1)
    page.fill("#search", "")
    page.select_option("#filter", "broken")
    expect(page.locator(".card")).to_have_count(2)
    assert names(page) == ["000003", "000004"]
    expect(page.locator("#detail")).to_contain_text("cut off")
    page.select_option("#filter", "all")
    page.select_option("#sort", "reward")
    first = names(page)
    page.click("#order")
    assert names(page)[:4] == first[:4][::-1] and names(page)[4] == first[4] == "000004"  # it has no reward


def test_it_grows_and_says_when_it_cannot_decide(page, dataset):
    write_episode(dataset, 5, steps=1)
    expect(page.locator(".card")).to_have_count(6, timeout=10_000)
    (dataset / "sanawm" / "review.json").write_text("{broken")
    expect(page.locator("#message")).to_contain_text("review.json cannot be read", timeout=10_000)
    page.goto(page.url.partition("?")[0])  # without the token
    page.wait_for_selector(".card")
    page.keyboard.press("k")
    expect(page.locator("#message")).to_contain_text("no right to decide")
