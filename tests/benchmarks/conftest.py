"""The benchmarks are not installed with the package; find them in the repository."""
