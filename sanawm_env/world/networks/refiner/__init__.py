"""Stage 2: the LTX-2 video transformer that repaints latents block by block, as pure functions of a state."""
