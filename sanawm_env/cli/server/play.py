"""`sanawm play`: walk into a world in the browser."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass

from sanawm_env.cli.common.console import note, report
from sanawm_env.cli.server.serve import Serve, address, need_extra

__all__ = ["Play"]


@dataclass
class Play(Serve):
    """Walk through a world in the browser: act, rewind, branch, compare.

    The page talks to the session server of `sanawm serve`, which this starts. The address that is printed holds a
    token. Whoever has it may use every session.
    """

    browser: bool = True
    """Open the page; without a browser the address is printed all the same."""

    def run(self) -> None:
        """Serve the page until interrupted.

        Raises:
            ValueError, OSError: An option that cannot be used, or a port that cannot be had.
        """
        self._check()
        need_extra("play")
        from sanawm_env.server.web.listening import listen, locked
        from sanawm_env.server.web.page import page_routes
        from sanawm_env.server.web.run import make_server

        with (
            listen(self.host, self.port) as listening,
            locked(self.data) as folder,
            self.application(folder, page_routes()) as (app, token),
        ):
            server = make_server(app)
            report(where := address(listening, token))
            if self.browser and not opened(where):
                note("no browser was found here; open the address above in one.")
            server.run(sockets=[listening])


def opened(url: str) -> bool:
    """Open an address in a browser with windows, and say whether there is one.

    A browser of the terminal would take it from the server, and runs no page like this.
    """
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return False
    if type(found) is webbrowser.GenericBrowser:
        return False
    return found.open_new_tab(url)
