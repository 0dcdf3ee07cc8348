"""Video VAEs: the built-in one and the wrapped LTX-2 VAE of the release."""
