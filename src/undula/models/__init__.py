"""Models: one backbone, and what it is composed with."""
