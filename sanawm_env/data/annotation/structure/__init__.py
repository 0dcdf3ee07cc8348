"""Poses from pictures alone: tracks, two mappers that must agree, and limits."""
