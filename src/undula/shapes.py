"""The glossary: letters of array axes, used in every signature.

B batch, T time (target positions), S source time, D model width, H harmonics, W waves, F frequency bins, K kept,
V vocabulary, N heads, G key-value heads, E width of one head, C channels, L taps of a filter, M modes of a filter.
"""

from jaxtyping import Bool, Float, Int
from torch import Tensor

Sequence = Float[Tensor, "B T D"]
TokenIds = Int[Tensor, "B T"]
Logits = Float[Tensor, "B T V"]
PaddingMask = Int[Tensor, "B T"] | Bool[Tensor, "B T"] | Float[Tensor, "B T"]
"""1 (or True) at real tokens, 0 at padding, on either side."""
SourceIds = Int[Tensor, "sources S"]
"""Tokens that a decoder reads. That there are as many sources as targets is checked by who takes both."""
