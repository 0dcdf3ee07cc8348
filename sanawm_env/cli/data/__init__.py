"""`sanawm data`, `sanawm collect`, `sanawm replay` and `sanawm review`."""
