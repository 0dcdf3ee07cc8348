"""Policies of fixed rules and of random numbers: none of them learns or looks ahead."""
