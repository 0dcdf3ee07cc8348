"""Who may talk to the server: a token, and pages of its own origin only."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

__all__ = ["Guard", "is_loopback"]


@dataclass(frozen=True)
class Guard:
    """Decides about a request's headers and query."""

    token: str | None
    """None lets everybody in."""
    hosts: tuple[str, ...] | None = None
    """Names that requests may call the server by; None any. On loopback those of loopback, so that a page of another
    site that points its own name here (DNS rebinding) is turned away."""

    def knows(self, headers: Mapping[str, str], query: Mapping[str, str]) -> bool:
        """Whether the token is there and right; compared in constant time."""
        if self.token is None:
            return True
        given = query.get("token")
        if given is None:
            kind, _, given = headers.get("authorization", "").partition(" ")
            given = given.strip() if kind.lower() == "bearer" else ""
        return hmac.compare_digest(given.encode("utf-8", "replace"), self.token.encode())

    def welcomes(self, headers: Mapping[str, str]) -> bool:
        """Whether host and origin are the server's own; programs send no origin."""
        host = headers.get("host", "")
        if self.hosts is not None and _name(host) not in self.hosts:
            return False
        origin = headers.get("origin")
        return origin is None or urlsplit(origin).netloc.lower() == host.lower()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """A host header without its port."""
    try:
        return (urlsplit(f"//{host}").hostname or "").lower()
    except ValueError:
        return ""
