"""The SANA-WM diffusion transformer, its state, its VAEs and its text encoder."""
