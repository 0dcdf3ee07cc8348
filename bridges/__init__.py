"""Bridges to other ecosystems; they import the package, never the other way round."""
