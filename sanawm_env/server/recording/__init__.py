"""Walks as episodes of a dataset, written by what `sanawm collect` writes with."""
