"""The Wave Transformer: encode to waves, transform their representation, decode."""

import inspect
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from undula.mixers.base import State
from undula.models.audio_encoder import AudioWaveEncoder
from undula.models.backbone import Backbone, LayerHook, States
from undula.models.config import BackboneConfig, PyramidConfig
from undula.models.init import initialise, quieten
from undula.models.reduction import HarmonicReduction
from undula.optional import late_import
from undula.shapes import PaddingMask
from undula.wave import Wave

Units = tuple[float, float, float]
"""Of frequencies, amplitudes and phases."""

NEXT_TO_NOTHING = 1e-3
"""Share of their usual size that outputs of blocks among waves of sound start with: about 1 Hz, and 60 dB down."""


class WaveTransformer(nn.Module):
    """A sequence of waves through a stack of blocks, between an encoder and a decoder of any kind.

    wave = wave_encoder(...); x = [frequencies | amplitudes | phases]; x = blocks(x); output = wave_decoder(norm_f(x)).

    A codec's half with an attribute `units` (of frequencies, amplitudes and phases) makes or plays waves of sound:
    thousands of hertz beside amplitudes of hundredths, of which a normalised block would hear the frequencies alone. An
    encoder's waves are divided by its units before the blocks, a decoder's multiplied by its own after them. From sound
    to sound they are not normalised: what blocks add moves them from where they are, at first by next to nothing.

    Args:
        wave_encoder: called with the entries of `encoder_input` and `attention_mask`, and with `causal` and `state` if
            it takes them; returns a Wave of shape (B, T, H).
        wave_decoder: called with the normalised representation (B, T, 3 H) and the same extras.
        num_harmonics: harmonics H of each wave; the blocks are 3 H wide.
        transformer_num_layers: number of blocks.
        transformer_num_heads: query heads.
        transformer_heads_kv: key-value heads.
        transformer_d_ff_multi: hidden width of the feed-forward, over 3 H.
        dropout: probability.
        use_flash: False computes attention with the unfused reference kernel.
        rotary: turn queries and keys by their position; every language model needs it, since the blocks have no other
            sense of order.
        backbone: replaces the blocks that the arguments above describe.
        reduction: lets the blocks compute on part of the harmonics; it decides how wide they are.
        pyramid: pyramids among the blocks, in place of those of `backbone`.

    Raises:
        ValueError: when heads do not divide 3 H.

    Attributes: num_harmonics, input_dim (3 H), wave_encoder, layers, norm_f, wave_decoder.
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
        backbone: BackboneConfig | None = None,
        reduction: HarmonicReduction | None = None,
        pyramid: PyramidConfig | None = None,
    ) -> None:
        super().__init__()
        self.num_harmonics, self.input_dim = num_harmonics, 3 * num_harmonics
        attention = {
            "num_kv_heads": transformer_heads_kv,
            "dropout": dropout,
            "rotary": rotary,
            "use_flash": use_flash,
        }
        config = backbone or BackboneConfig(
            d_model=self.input_dim,
            num_layers=transformer_num_layers,
            num_heads=transformer_num_heads,
            mixer_options={"attention": attention},
            block="parallel",
            d_ff=self.input_dim * transformer_d_ff_multi,
            dropout=dropout,
        )
        config = config if pyramid is None else replace(config, pyramid=pyramid)
        if config.d_model != self.input_dim:
            raise ValueError(
                f"backbone.d_model={config.d_model} is not 3 x num_harmonics={self.input_dim}; make them agree"
            )
        self.wave_encoder = wave_encoder
        self.reduction = reduction
        self.backbone = Backbone(config if reduction is None else reduction.blocks(config))
        if reduction is not None:
            reduction.check(self.backbone)
        self.wave_decoder = wave_decoder
        self.units_in: Units | None = getattr(wave_encoder, "units", None)
        self.units_out: Units | None = getattr(wave_decoder, "units", None)
        # The codecs are the caller's, perhaps trained already: what makes them gives them their start values.
        initialise(self.backbone, config.num_layers)
        if self.units_in is not None and self.units_out is not None:
            self.backbone.norm_f = nn.Identity()
            quieten(self.backbone, NEXT_TO_NOTHING)

    @property
    def layers(self) -> nn.ModuleList:
        """The blocks."""
        return self.backbone.layers

    @property
    def norm_f(self) -> nn.Module:
        """The normalisation before the decoder; of sound, none."""
        return self.backbone.norm_f

    def forward(
        self,
        encoder_input: dict[str, Any],
        causal: bool = True,
        return_encoder_outputs: bool = False,
        attention_mask: PaddingMask | None = None,
        plot_waves: bool = False,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Any:
        """Return the decoder's output.

        Args:
            encoder_input: arguments of the encoder by name, such as {"input_ids": ids} or {"audio": samples}. With
                "lengths" of sounds, blocks and decoder do not hear what comes after them either.
            causal: whether later positions are hidden from earlier ones, in encoder, blocks and decoder.
            return_encoder_outputs: also return the encoder's Wave.
            attention_mask: (B, T), 1 = real position.
            plot_waves: save a picture of the first wave before the blocks and after each, as wave_layer_0_input.png,
                wave_layer_1.png, ... in the working directory.
            state: from `init_state` or an earlier call; the input then continues that sequence.
            on_layer: called with each layer's index and residual stream; takes the place of `plot_waves`.

        Returns:
            The output; (output, wave) with `return_encoder_outputs`; with a state, the new state comes last.
        """
        given, rest = (None, None) if state is None else (state[0], state[1:])
        real = attention_mask
        if encoder_input.get("lengths") is not None and isinstance(self.wave_encoder, AudioWaveEncoder):
            real = self.wave_encoder.real_frames(encoder_input["audio"], encoder_input["lengths"])
        encoded = self.wave_encoder(
            attention_mask=attention_mask, **encoder_input, **_accepted(self.wave_encoder, causal, given)
        )
        wave, first = encoded if isinstance(encoded, tuple) else (encoded, given)
        watch = on_layer or (partial(_save_picture, self.units_in) if plot_waves else None)
        out = self.forward_from_wave(wave, causal, real, state=rest, on_layer=watch)
        new: tuple[State, ...] = ()
        if rest is not None and first is not None:
            out, later = out
            new = (first, *later)
        outputs = (out, *([wave] if return_encoder_outputs else []), *([new] if state is not None else []))
        return outputs if len(outputs) > 1 else out

    def forward_from_wave(
        self,
        wave: Wave | Tensor,
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Any:
        """Return the decoder's output for a wave that is encoded already.

        Args:
            wave: a Wave (B, T, H) or its representation (B, T, 3 H).
            causal, attention_mask: as in `forward`.
            state: of the blocks and the decoder; the new state is then returned too.
            on_layer: called with each layer's index and residual stream.

        Raises:
            ValueError: for waves of another number of harmonics.
        """
        x = wave.to_representation() if isinstance(wave, Wave) else wave
        if x.shape[-1] != self.input_dim:
            raise ValueError(
                f"got waves of {x.shape[-1] / 3:g} harmonics, {x.shape[-1]} channels; wanted {self.input_dim // 3}, "
                f"{self.input_dim}: give encoder and transformer the same num_harmonics"
            )
        x = x if self.units_in is None else x / _by_channel(self.units_in, x)
        inner, last = (None, None) if state is None else (state[:-1], state[-1])
        blocks = self.backbone if self.reduction is None else partial(self.reduction, self.backbone)
        new: tuple[State, ...] = ()
        if inner is None:
            x = blocks(x, causal, attention_mask, on_layer=on_layer)
        elif x.shape[1]:
            x, new = blocks(x, causal, attention_mask, state=inner, on_layer=on_layer)
        else:  # a stream of sound has had no whole frame yet
            new = inner
        x = x if self.units_out is None else x * _by_channel(self.units_out, x)
        decoded = self.wave_decoder(x, attention_mask=attention_mask, **_accepted(self.wave_decoder, causal, last))
        if last is None:
            return decoded
        out, after = decoded if isinstance(decoded, tuple) else (decoded, last)
        return out, (*new, after)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return the state of encoder, blocks and decoder before the first position."""
        begin = (
            self.backbone.init_state if self.reduction is None else partial(self.reduction.init_state, self.backbone)
        )
        inner = begin(batch_size, device=device, dtype=dtype)
        ends = [_end_state(codec, batch_size, device, dtype) for codec in (self.wave_encoder, self.wave_decoder)]
        return (ends[0], *inner, ends[1])


def _accepted(codec: nn.Module, causal: bool, state: State | None) -> dict[str, Any]:
    """Of the extras, those that a codec's forward takes: a user's own needs neither."""
    takes = inspect.signature(codec.forward).parameters
    extras = {"causal": causal, "state": state}
    return {name: value for name, value in extras.items() if name in takes and value is not None}


def _end_state(codec: nn.Module, batch_size: int, device: torch.device | None, dtype: torch.dtype | None) -> State:
    make = getattr(codec, "init_state", None)
    return State() if make is None else make(batch_size, device=device, dtype=dtype)


def _by_channel(units: Units, x: Tensor) -> Tensor:
    """What each channel of a representation is measured in."""
    return x.new_tensor(units).repeat_interleave(x.shape[-1] // 3)


def _save_picture(units: Units | None, layer: int, x: Tensor) -> None:
    x = x.detach() if units is None else x.detach() * _by_channel(units, x)
    wave = Wave.from_representation(x.float())
    figure, _ = wave.plot_summary(duration=32.0, sample_rate=32)
    figure.savefig(Path(f"wave_layer_{layer}.png" if layer else "wave_layer_0_input.png"))
    late_import("matplotlib.pyplot").close(figure)
