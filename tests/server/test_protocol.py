import re
from pathlib import Path

from sanawm_env.server.errors import CODES
from sanawm_env.server.protocol import MESSAGES

PAGE = (Path(__file__).parents[2] / "docs/reference/server-protocol.md").read_text()


def test_the_page_tells_every_request_and_every_code():
    for kind in MESSAGES:
        assert f"`{kind}`" in PAGE or f'"type": "{kind}"' in PAGE, kind
    told = PAGE[PAGE.index("## Errors") : PAGE.index("## HTTP")]
    assert set(re.findall(r"`([a-z-]+)`", told)) - {"error", "id"} >= set(CODES)
