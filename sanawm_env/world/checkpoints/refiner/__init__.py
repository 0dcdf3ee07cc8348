"""Weights of stage 2: the releases' folders, Lightricks' own files, and a LoRA merged into them."""
