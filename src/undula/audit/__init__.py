"""Measured properties: what a mixer or a causal language model claims, tried out on a copy of it."""
