"""`sanawm review`: look at episodes in a browser, and keep or drop them."""

from sanawm_env.data.review.decisions import Decision, Decisions, decisions_file, read_decisions

__all__ = ["Decision", "Decisions", "decisions_file", "read_decisions"]
