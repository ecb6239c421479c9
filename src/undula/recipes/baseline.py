"""What the baseline of every comparison is made with."""

TUNED = {"qk_norm": True, "rotary_base": 100.0}
"""Attention as strong as it gets at small sizes: normalised queries and keys, and rotary wavelengths of up to 628
tokens instead of 62,800. Each lowered the loss; both together by 3 % after 1000 steps on characters."""
