"""Collecting datasets: what it costs, and what a kill loses."""
