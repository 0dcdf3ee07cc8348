"""HTTP and WebSocket around the sessions."""
