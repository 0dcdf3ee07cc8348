"""`sanawm serve` and what else runs a session server."""
