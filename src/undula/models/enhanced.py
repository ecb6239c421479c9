"""All enhancements of the Wave Transformer in one stack: a curriculum's mask, a selector, a pyramid."""

from collections.abc import Sequence as Listed

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.models.config import BAND_BOUNDARIES
from undula.models.pyramid import MultiResolutionWavePyramid, PyramidState
from undula.nn.frequency_mask import FrequencyMask
from undula.nn.harmonic_selector import AdaptiveHarmonicSelector, Stats
from undula.shapes import PaddingMask, Sequence


class EnhancedWaveTransformer(nn.Module):
    """A wave representation (B, T, 3 H) to another one, through mask, selector and pyramid.

    In training, amplitudes above the curriculum's limit fade; then each position keeps its most important harmonics;
    then the bands are processed at their own depths. Phase-coherent attention goes into blocks
    (`PhaseCoherentParallelBlock`); the recipe `wave_enhanced` has all four.

    Args:
        num_harmonics: harmonics H.
        k_ratio: share of the harmonics that is kept.
        min_k: harmonics that are kept at least, whatever the share.
        band_boundaries: shares of the harmonics at which bands meet.
        band_num_layers: blocks of each band, lowest first.
        n_heads_q: query heads of a layer of the whole width.
        n_heads_kv: its key-value heads.
        dropout: probability.

    Raises:
        ValueError: as its parts do.

    Attributes: selector, freq_mask, pyramid.

    Source: Wave Transformer enhancements, "Combined Usage".
    """

    def __init__(
        self,
        num_harmonics: int = 64,
        *,
        k_ratio: float = 0.5,
        min_k: int = 8,
        band_boundaries: Listed[float] = BAND_BOUNDARIES,
        band_num_layers: Listed[int] = (6, 4, 3),
        n_heads_q: int = 8,
        n_heads_kv: int = 4,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.num_harmonics, self.d_model = num_harmonics, 3 * num_harmonics
        self.selector = AdaptiveHarmonicSelector(num_harmonics, self.d_model, k_ratio=k_ratio, min_k=min_k)
        self.freq_mask = FrequencyMask(num_harmonics)
        self.pyramid = MultiResolutionWavePyramid(
            num_harmonics, band_boundaries, band_num_layers, n_heads_q, n_heads_kv, dropout=dropout
        )

    def forward(
        self,
        wave_repr: Sequence,
        freq_limit: float | Float[Tensor, ""] = 1.0,
        use_sparsification: bool = True,
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        state: PyramidState | None = None,
    ) -> tuple[Sequence | tuple[Sequence, PyramidState], Stats | None]:
        """Return the processed representation and the selector's statistics, None without sparsification.

        Args:
            wave_repr: frequencies, amplitudes, phases.
            freq_limit: share of the frequencies that passes; counts in training alone.
            use_sparsification: whether the selector takes part.
            causal: whether later positions are hidden from earlier ones.
            attention_mask: (B, T), 1 = real position.
            state: from `init_state` or an earlier call, to continue a sequence; then the first of the pair is the
                representation and the new state.
        """
        stats = None
        if self.training:
            wave_repr = self.freq_mask(wave_repr, freq_limit)
        if use_sparsification:
            wave_repr, stats = self.selector(wave_repr, attention_mask=attention_mask)
        return self.pyramid(wave_repr, causal, attention_mask, state=state), stats

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> PyramidState:
        """Return the state before the first position: that of the pyramid, as the other parts see one position."""
        return self.pyramid.init_state(batch_size, device=device, dtype=dtype)
