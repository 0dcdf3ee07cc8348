"""Policies that act in `sanawm_env` environments; they import the package, never the other way round."""

from policies.base import Policy
from policies.registry import make_policy, policy_names

__all__ = ["Policy", "make_policy", "policy_names"]
