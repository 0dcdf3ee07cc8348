"""The published releases of SANA-WM: their files, layouts, names of weights and hashes."""
