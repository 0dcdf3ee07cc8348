"""Policies that act in `sanawm_env` environments; they import the package, never the other way round."""

from sanawm_env.policies.base import Policy
from sanawm_env.policies.registry import make_policy, policy_names

__all__ = ["Policy", "make_policy", "policy_names"]
