"""The Python client of the session server: NumPy, Gymnasium and websockets, no torch."""
