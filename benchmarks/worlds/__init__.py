"""Measurements of worlds themselves: the release at its true size, precision, memory, depth, and README's picture."""
