"""Training of the VAE and of the world model."""
