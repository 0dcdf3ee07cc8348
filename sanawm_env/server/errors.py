"""`ServerError`: what a client is told, with a code that programs can act on."""

from __future__ import annotations

__all__ = ["CODES", "ServerError"]

CODES = {
    "malformed": 400,
    "unknown-type": 400,
    "invalid": 422,
    "unknown-session": 404,
    "unknown-snapshot": 404,
    "unknown-image": 404,
    "not-attached": 409,
    "controlled": 409,
    "not-begun": 409,
    "playing": 409,
    "gap": 409,
    "old": 409,
    "conflict": 409,
    "full": 507,
    "too-large": 413,
    "too-fast": 429,
    "failed": 500,
    "unavailable": 503,
}
"""Each code with its HTTP status."""


class ServerError(ValueError):
    """A request that is refused; nothing has changed."""

    def __init__(self, code: str, message: str) -> None:
        """Remember the code.

        Args:
            code: Of `CODES`.
            message: One sentence that names the fix.
        """
        super().__init__(message)
        self.code = code

    @property
    def status(self) -> int:
        """Of the HTTP answer."""
        return CODES[self.code]
