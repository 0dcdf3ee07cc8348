"""Training data: rendered clips and walks, encoded to latents."""
