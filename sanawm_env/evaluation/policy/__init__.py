"""Trials of policies on tasks, their cost, and the table of results."""
