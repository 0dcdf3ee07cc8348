"""Commands that score worlds and policies."""
