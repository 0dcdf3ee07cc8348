"""The stages of training, one file each: VAE, world, depth, decoder, distillation."""
