"""The documented ways of putting pyramids into a Wave Transformer: in the middle, and after every few layers."""

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.models.backbone import Backbone, States
from undula.models.config import BackboneConfig, PyramidConfig
from undula.models.init import initialise
from undula.models.wave_transformer import WaveTransformer
from undula.shapes import PaddingMask


class PyramidWaveTransformer(nn.Module):
    """Blocks, then pyramids, then blocks, from representation to representation: norm(final(pyramids(standard(x)))).

    As a language model: the wave family with `backbone.pyramid.after=[n, n]`, n the number of blocks before.

    Args:
        num_harmonics: harmonics H; everything is 3 H wide.
        num_standard_layers: blocks before the pyramids.
        num_pyramids: pyramids in the middle, each with parameters of its own.
        num_final_layers: blocks after them.
        n_heads: query heads.
        n_heads_kv: key-value heads.
        d_ff_multi: hidden width of the blocks' feed-forward, over 3 H.
        dropout: probability.
        rotary: turn the blocks' queries and keys by their position; pyramids do so always.
        pyramid: bands; its `after`, `shared` and `num_kv_heads` are set here.

    Raises:
        ValueError: when heads do not divide, or bands are as `MultiResolutionWavePyramid` refuses them.

    Attributes: standard_layers, pyramid_layers, final_layers, norm_f.

    Source: "Wave Transformer Enhancements", section 4, pattern 1.
    """

    def __init__(
        self,
        num_harmonics: int = 64,
        num_standard_layers: int = 2,
        num_pyramids: int = 2,
        num_final_layers: int = 2,
        n_heads: int = 8,
        n_heads_kv: int = 4,
        d_ff_multi: int = 4,
        dropout: float = 0.1,
        *,
        rotary: bool = True,
        pyramid: PyramidConfig | None = None,
    ) -> None:
        super().__init__()
        self.num_harmonics, self.num_standard_layers = num_harmonics, num_standard_layers
        after = (num_standard_layers,) * num_pyramids
        attention = {"num_kv_heads": n_heads_kv, "dropout": dropout, "rotary": rotary}
        config = BackboneConfig(
            d_model=3 * num_harmonics,
            num_layers=num_standard_layers + num_final_layers,
            num_heads=n_heads,
            mixer_options={"attention": attention},
            block="parallel",
            d_ff=3 * num_harmonics * d_ff_multi,
            dropout=dropout,
            pyramid=replace(pyramid or PyramidConfig(), after=after, shared=False, num_kv_heads=n_heads_kv),
        )
        self.backbone = Backbone(config)
        initialise(self, config.num_layers)

    @property
    def standard_layers(self) -> nn.ModuleList:
        """The blocks before the pyramids."""
        return self.backbone.layers[: self.num_standard_layers]

    @property
    def pyramid_layers(self) -> nn.ModuleList:
        """The pyramids."""
        return self.backbone.pyramids

    @property
    def final_layers(self) -> nn.ModuleList:
        """The blocks after the pyramids."""
        return self.backbone.layers[self.num_standard_layers :]

    @property
    def norm_f(self) -> nn.Module:
        """The normalisation at the end."""
        return self.backbone.norm_f

    def forward(
        self,
        x: Float[Tensor, "B T three_H"],
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
    ) -> Float[Tensor, "B T three_H"] | tuple[Float[Tensor, "B T three_H"], States]:
        """Return the new representation; with a state, also the new state. Arguments as of a mixer."""
        return self.backbone(x, causal, attention_mask, state=state)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return the state of every block and pyramid before the first position."""
        return self.backbone.init_state(batch_size, device=device, dtype=dtype)


class WaveTransformerWithPyramid(WaveTransformer):
    """A Wave Transformer that sends its waves through one and the same pyramid after every few layers.

    As a language model: the wave family with `backbone.pyramid.after=[3, 6]` and `backbone.pyramid.shared=true`.

    Args:
        wave_encoder, wave_decoder, num_harmonics, transformer_num_layers, transformer_num_heads, transformer_heads_kv,
            transformer_d_ff_multi, dropout, use_flash, rotary: as of `WaveTransformer`.
        pyramid_interval: layers between two passes through the pyramid.
        pyramid: its bands; its `after`, `shared` and `num_kv_heads` are set here.

    Raises:
        ValueError: for an interval that no layer completes, heads that do not divide, or bands as
            `MultiResolutionWavePyramid` refuses them.

    Attributes: pyramid, pyramid_interval, and those of `WaveTransformer`.

    Source: "Wave Transformer Enhancements", section 4, pattern 2.
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
        pyramid_interval: int = 3,
        rotary: bool = False,
        pyramid: PyramidConfig | None = None,
    ) -> None:
        if not 1 <= pyramid_interval <= transformer_num_layers:
            raise ValueError(
                f"pyramid_interval={pyramid_interval} of {transformer_num_layers} layers: the pyramid would never be "
                "reached; take a number from 1 to the number of layers"
            )
        after = tuple(range(pyramid_interval, transformer_num_layers + 1, pyramid_interval))
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
            pyramid=replace(pyramid or PyramidConfig(), after=after, shared=True, num_kv_heads=transformer_heads_kv),
        )
        self.pyramid_interval = pyramid_interval

    @property
    def pyramid(self) -> nn.Module:
        """The pyramid."""
        return self.backbone.pyramids[0]
