"""Device, precision and speed: what changes how a world is computed, not what it computes."""
