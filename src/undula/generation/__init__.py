"""Decoding that transformers' `generate` lacks: groups of beams that differ, coverage of the source, exact bounds."""
