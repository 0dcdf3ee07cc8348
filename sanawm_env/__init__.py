"""Act inside a video world model: SANA-WM as a Gymnasium environment."""
