"""Scores on held-out text."""
