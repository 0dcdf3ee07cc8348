"""Lets the tests of this folder import `servers`, which lies beside them."""
