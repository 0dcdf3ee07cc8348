"""Policies in another process or machine, by the WebSocket protocol of openpi: a client, and a server of ours."""
