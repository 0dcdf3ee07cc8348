"""Lets the tests of this folder import `policy_worlds`, which lies beside them."""
