"""The SANA-WM diffusion transformer, its state and its VAEs."""
