"""Losses beside the plain cross-entropy."""
