"""The page when something is in its way: no token, another page, a slow tab, a server that starts again."""

from sanawm_env.server.play.player import IN_FLIGHT
from sanawm_env.server.web.page import page_routes
from tests.server.page.browser import (
    choose_scene,
    eventually,
    expect,
    needs_browser,
    open_page,
    picture,
    pixels,
    rest,
    session,
    until_time,
    walk,
    walking,
    world_time,
)
from tests.server.serving import serving

pytestmark = needs_browser


def test_a_wrong_token(opened, play):
    page = opened(play.url + "x")
    expect(page.locator("#message")).to_contain_text("The token is missing or wrong")
    picture(page, "refused")
    assert page.locator(".tile").count() == 0


def test_a_second_page(opened):
    """It watches until it takes over; the first one is told, and can take it back."""
    page = opened()
    choose_scene(page, 8)
    other = opened(page.url)
    walking(other)
    expect(other.locator("#watching")).to_be_visible()
    page.keyboard.down("w")
    until_time(other, 0.5)  # frames come here as well
    picture(other, "watching")
    other.keyboard.press("s")
    assert other.evaluate("sanawm.session.watching")
    other.click("#take")
    expect(page.locator("#watching")).to_be_visible()
    expect(page.locator("#message")).to_contain_text("took over")
    expect(other.locator("#watching")).to_be_hidden()
    page.keyboard.up("w")
    rest(other)
    walk(other, "w", 0.5)
    page.click("#take")
    expect(other.locator("#watching")).to_be_visible()
    walk(page, "w", 0.5)


def test_a_slow_tab(opened, play):
    """Late acknowledgements slow the world down for this page; nothing piles up."""
    page = opened()
    choose_scene(page, 9)
    page.evaluate("""() => {
        const send = sanawm.socket.send.bind(sanawm.socket);
        sanawm.socket.send =
            (message) => (message.type === "ack" ? setTimeout(() => send(message), 600) : send(message));
    }""")
    page.keyboard.down("w")
    hub = play.app.state.dispatcher.hub
    eventually(lambda: session(page) in hub.players)
    player, behind = hub.players[session(page)], []
    for _ in range(40):
        page.wait_for_timeout(50)
        behind.append(player.sent - player.acked)
    page.keyboard.up("w")
    assert max(behind) == IN_FLIGHT
    until_time(page, 1.0)
    rest(page)


def test_the_server_starts_again(model, browser, tmp_path):
    with serving(model, tmp_path, routes=page_routes()) as running:
        port = int(running.url.split(":")[2].split("/")[0])
        page = open_page(browser, running.url)
        choose_scene(page, 10)
        walk(page, "w", 1.0)
        seen, where = pixels(page), world_time(page)
    expect(page.locator("#connection")).to_have_text("Reconnecting…")
    with serving(model, tmp_path, port=port, routes=page_routes()):
        expect(page.locator("#connection")).to_have_text("")
        rest(page)
        assert (pixels(page), world_time(page)) == (seen, where)
        walk(page, "w", 0.5)
    with serving(model, tmp_path / "other", port=port, routes=page_routes()):  # without its folder
        expect(page.locator("#message")).to_contain_text("Begin another", timeout=30_000)
        expect(page.locator("#start")).to_be_visible()
        choose_scene(page, 11)
    page.context.close()
