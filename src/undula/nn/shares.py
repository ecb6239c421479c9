"""The share of frequencies that a head may learn to keep (no torch here: configurations are checked by it)."""

LEAST, MOST = 0.12, 0.45
"""Range of the share that an adaptive head keeps."""
