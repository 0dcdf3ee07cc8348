"""The session server: many rollouts of one world behind HTTP and a WebSocket (docs/reference/server-protocol.md)."""
