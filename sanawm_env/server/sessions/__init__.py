"""Sessions over one model, without any web: what they remember, how they step together, how they outlive a process."""
