"""Measurements of the built-in world; each script prints one JSON line as its last line."""
