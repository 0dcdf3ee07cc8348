"""Stages of `gpu_hour.py`: each yields parts, small pieces of work whose results are kept as they come."""
