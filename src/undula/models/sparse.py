"""A Wave Transformer that keeps the harmonics that matter at each position."""

from typing import Any

from torch import nn

from undula.models.backbone import LayerHook, States
from undula.models.reduction import HarmonicReduction
from undula.models.wave_transformer import WaveTransformer
from undula.nn.harmonic_selector import AdaptiveHarmonicSelector, Stats
from undula.shapes import PaddingMask


class SparseWaveTransformer(WaveTransformer):
    """A `WaveTransformer` whose blocks see the chosen harmonics alone; returns what was chosen beside its output.

    Args:
        wave_encoder, wave_decoder, num_harmonics, transformer_num_layers, transformer_num_heads, transformer_heads_kv,
            transformer_d_ff_multi, dropout, use_flash, rotary: as in `WaveTransformer`.
        sparsity_ratio: share of the harmonics that is kept.
        min_k: harmonics that are kept at least, whatever the share.
        gather: build the blocks 3 k wide, and let them compute on the k kept harmonics alone; k is then the same at
            each position. Otherwise it is chosen for each, and the blocks see zeros for what is dropped.

    Raises:
        ValueError: as `WaveTransformer` and `AdaptiveHarmonicSelector` do.

    Source: Wave Transformer enhancements, "Integration with WaveTransformer".
    """

    def __init__(
        self,
        wave_encoder: nn.Module,
        wave_decoder: nn.Module,
        num_harmonics: int = 64,
        transformer_num_layers: int = 6,
        transformer_num_heads: int = 8,
        transformer_heads_kv: int = 4,
        transformer_d_ff_multi: int = 4,
        dropout: float = 0.1,
        use_flash: bool = True,
        *,
        rotary: bool = False,
        sparsity_ratio: float = 0.5,
        min_k: int = 8,
        gather: bool = False,
    ) -> None:
        selector = AdaptiveHarmonicSelector(
            num_harmonics, 3 * num_harmonics, k_ratio=sparsity_ratio, min_k=min_k, use_dynamic_k=not gather
        )
        reduction = HarmonicReduction(num_harmonics, selector=selector, gather=gather)
        reduction.keeps_statistics = True
        super().__init__(
            wave_encoder,
            wave_decoder,
            num_harmonics,
            transformer_num_layers,
            transformer_num_heads,
            transformer_heads_kv,
            transformer_d_ff_multi,
            dropout,
            use_flash,
            rotary=rotary,
            reduction=reduction,
        )

    @property
    def selector(self) -> AdaptiveHarmonicSelector | None:
        """What chooses; None when the reduction was taken away."""
        return None if self.reduction is None else self.reduction.selector

    def forward(
        self,
        encoder_input: dict[str, Any],
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        return_encoder_outputs: bool = False,
        plot_waves: bool = False,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> tuple[Any, Stats]:
        """Return what `WaveTransformer.forward` does, and the statistics that `HarmonicSparsificationLoss` takes.

        Arguments as there; the first of the pair is a tuple where that method gives one, as with a state.
        """
        output = super().forward(
            encoder_input, causal, return_encoder_outputs, attention_mask, plot_waves, state=state, on_layer=on_layer
        )
        reduction = self.reduction
        if reduction is None or reduction.selection is None:
            raise ValueError("reduction was taken away; a sparse model needs its selector")
        return output, reduction.selection
