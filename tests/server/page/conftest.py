"""One browser, and one server with the page, for the tests that disturb nobody."""

import pytest

from sanawm_env.server.web.page import page_routes
from tests.server.page.browser import chromium, open_page
from tests.server.serving import serving


@pytest.fixture(scope="session")
def browser():
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def play(model, tmp_path_factory):
    with serving(model, tmp_path_factory.mktemp("play"), routes=page_routes(), recording=True) as running:
        yield running


@pytest.fixture
def opened(browser, play):
    """Opens pages; none may have an error."""
    pages = []

    def one(url=play.url, **context):
        pages.append(open_page(browser, url, **context))
        return pages[-1]

    yield one
    for page in pages:
        page.context.close()
    assert [error for page in pages for error in page.errors] == []
