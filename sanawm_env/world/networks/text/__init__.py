"""Prompts: the Gemma-2 encoder and its cache on disk."""
