"""Measures of single videos: fidelity, camera error, revisits, drift, flow."""
