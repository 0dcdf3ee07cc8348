"""What a page takes beside keys: a gamepad, and a prompt where the world has text."""

from dataclasses import replace

import pytest

from sanawm_env.server.web.page import page_routes
from sanawm_env.world.checkpoints.local import save_checkpoint
from sanawm_env.world.config import small_config
from sanawm_env.world.model import WorldModel
from tests.server.page.browser import (
    choose_scene,
    expect,
    needs_browser,
    open_page,
    picture,
    pixels,
    rest,
    until,
    until_time,
)
from tests.server.serving import serving
from tests.world.networks.text.text_fixtures import write_text_encoder

pytestmark = needs_browser

TWIST = "JSON.parse(sanawm.session.sent)"


def hold(page, axes, buttons=()):
    """A gamepad with these axes, and these buttons fully down."""
    pressed = [{"value": float(k in buttons), "pressed": k in buttons} for k in range(17)]
    pad = {"connected": True, "axes": list(axes), "buttons": pressed, "mapping": "standard"}
    page.evaluate("pad => { navigator.getGamepads = () => [null, pad]; }", pad)


def test_a_gamepad(opened):
    page = opened()
    choose_scene(page, 2)
    hold(page, [0.05, -0.04, 0.03, 0.0])  # a worn stick is not quite in the middle
    page.wait_for_timeout(200)
    assert page.evaluate("sanawm.session.still")
    hold(page, [0.0, -1.0, 0.0, 0.0])  # forward is up
    until(page, f"{TWIST}[2] > 0.7")
    hold(page, [0.0, -0.56, 0.0, 0.0])
    until(page, f"{TWIST}[2] > 0.2 && {TWIST}[2] < 0.6")  # half way is half as fast
    hold(page, [1.0, 0.0, 0.0, 0.0])
    until(page, f"{TWIST}[0] > 0.7 && Math.abs({TWIST}[2]) < 0.1")
    hold(page, [0.0, 0.0, 1.0, 0.0])
    until(page, f"{TWIST}[4] > 0.1 && Math.abs({TWIST}[0]) < 0.1")  # to the right
    hold(page, [0.0, 0.0, 0.0, 0.0], [7])  # the right trigger rises
    until(page, f"{TWIST}[1] < -0.7")
    until(page, "sanawm.session.pose[1] < -0.1")
    until_time(page, 1.0)
    hold(page, [0.0, 0.0, 0.0, 0.0])
    until(page, "sanawm.session.still")
    page.evaluate("() => { navigator.getGamepads = () => [null]; }")  # unplugged
    rest(page)


@pytest.fixture(scope="module")
def wordy(tmp_path_factory):
    """A small world of random weights that is conditioned on text, with a text encoder beside it."""
    config = small_config()
    model = WorldModel.untrained(replace(config, model=replace(config.model, caption_channels=16, text_length=8)))
    folder = tmp_path_factory.mktemp("wordy")
    save_checkpoint(folder, model.config, model.transformer.state_dict(), model.vae.state_dict())
    write_text_encoder(folder / "gemma-2-2b-it")
    return WorldModel.load(folder)


def test_a_prompt(browser, wordy, tmp_path):
    """The same words give the same world, others another."""
    with serving(wordy, tmp_path, routes=page_routes()) as running:
        page, seen = open_page(browser, running.url), []
        page.wait_for_selector("#gallery .tile")
        for words in ("", "a quiet street in the rain", "a bright room", "a quiet street in the rain"):
            expect(page.locator("#prompt")).to_be_visible()
            page.fill("#prompt", words)
            if words:
                picture(page, "prompt")
            choose_scene(page, 1)
            rest(page)
            page.evaluate("sanawm.session.ask('step', {action: [0, 0, 1, 0, 0, 0]}).then(() => sanawm.session.look())")
            rest(page)
            seen.append(pixels(page))
            page.keyboard.press("n")
            page.wait_for_selector("body[data-page=start]")
        assert page.errors == []
        page.context.close()
    assert len(set(seen)) == 3 and seen[1] == seen[3]


def test_a_world_without_text_asks_for_no_prompt(opened):
    page = opened()
    page.wait_for_selector("#gallery .tile")
    expect(page.locator("#prompt")).to_be_hidden()
