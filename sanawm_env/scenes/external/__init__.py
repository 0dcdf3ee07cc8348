"""Textured worlds that other packages draw, as clips of known truth."""
