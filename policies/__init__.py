"""Policies that act in `sanawm_env` environments; they import the package, never the other way round."""
