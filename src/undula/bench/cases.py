"""What is measured, as data: add a case here, not another harness (no torch here: `--help` reads this)."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from undula.models.config import BAND_NUM_LAYERS, BackboneConfig, ModelConfig


@dataclass(frozen=True, kw_only=True)
class TrainCase:
    """Train steps of models of one size.

    Args:
        models: ours by name; the peers are built at the size of the first.
        peers: names in `undula.bench.peers.TRAIN_PEERS`; ratios are against the first.
        batch_size: sequences in a step.
        block_size: tokens in a sequence.
    """

    models: Mapping[str, ModelConfig]
    peers: tuple[str, ...] = ("x-transformers",)
    batch_size: int = 16
    block_size: int = 256


@dataclass(frozen=True, kw_only=True)
class MixerChoice:
    """A mixer of the registry.

    Args:
        name: in the registry.
        options: other than the defaults.
    """

    name: str
    options: Mapping[str, str | bool | float | None]


@dataclass(frozen=True, kw_only=True)
class MixerCase:
    """Mixers alone, forward and backward, at several lengths.

    Args:
        d_model: width.
        num_heads: heads, where a mixer has any.
        lengths: steps of the sequence.
        batch_size: sequences.
        causal: whether all look back only, the peers as well; else both ways.
        mixers: what is measured, by the name in the records; by default every registered mixer that has such a width
            and looks that way.
        peers: names in `undula.bench.peers.MIXER_PEERS`; ratios in tables are against the first.
    """

    d_model: int = 256
    num_heads: int = 8
    lengths: tuple[int, ...] = (1024, 4096, 16384)
    batch_size: int = 1
    causal: bool = True
    mixers: Mapping[str, MixerChoice] | None = None
    peers: tuple[str, ...] = ("torch SDPA", "FFT convolution")


@dataclass(frozen=True, kw_only=True)
class DecodeCase:
    """Cached generation, one token at a time, behind contexts of several lengths.

    Args:
        models: ours by name; the peers are built at the size of the first.
        peers: names in `undula.bench.peers.DECODE_PEERS`; ratios are against the first, if there is one.
        contexts: tokens that the cache holds before the clock starts.
        new_tokens: tokens that are timed.
    """

    models: Mapping[str, ModelConfig]
    peers: tuple[str, ...] = ("transformers Llama",)
    contexts: tuple[int, ...] = (128, 512, 2048)
    new_tokens: int = 32


@dataclass(frozen=True, kw_only=True)
class OptimizerCase:
    """Steps of optimizers of one model.

    Args:
        model: whose parameters are moved.
    """

    model: ModelConfig


@dataclass(frozen=True, kw_only=True)
class PyramidCase:
    """A pyramid, forward and backward, beside a stack of blocks that have the whole width.

    Args:
        num_harmonics: H; everything is 3 H wide.
        band_num_layers: blocks of each of the three documented bands, lowest first.
        strides: positions of a step of each band, one pyramid for each.
        num_layers: blocks of the stack.
        num_heads: query heads of both.
        num_kv_heads: key-value heads of both.
        d_ff_multi: hidden width of the feed-forwards, over the width of their block.
        shapes: sequences in a batch, and steps of each.
    """

    num_harmonics: int = 64
    band_num_layers: tuple[int, int, int] = BAND_NUM_LAYERS
    strides: tuple[tuple[int, int, int], ...] = ((1, 1, 1), (4, 2, 1))
    num_layers: int = 6
    num_heads: int = 8
    num_kv_heads: int = 4
    d_ff_multi: int = 4
    shapes: tuple[tuple[int, int], ...] = ((16, 64), (8, 256))


@dataclass(frozen=True, kw_only=True)
class SparsityCase:
    """Blocks on part of the harmonics, forward and backward, beside blocks on all of them.

    Args:
        num_harmonics: H; the blocks on all of them are 3 H wide.
        ratios: shares of the harmonics.
        mixer: of all blocks.
        num_layers: blocks of each stack.
        num_heads: heads of all blocks.
        d_ff_multi: hidden width of the feed-forwards, over 3 H.
        hidden_ratio, inner_ratio: of blocks that gather or settle; see `SparsityConfig`.
        narrow_options: options of the mixers of blocks that gather or settle.
        shapes: sequences in a batch, and steps of each.
    """

    num_harmonics: int = 64
    ratios: tuple[float, ...] = (0.5, 0.3)
    mixer: str = "attention"
    num_layers: int = 6
    num_heads: int = 8
    d_ff_multi: int = 4
    hidden_ratio: float | None = None
    inner_ratio: float = 1.0
    narrow_options: Mapping[str, Any] = field(default_factory=dict)
    shapes: tuple[tuple[int, int], ...] = ((12, 64), (6, 256))


@dataclass(frozen=True, kw_only=True)
class WaveletCase:
    """A wavelet transform and its inverse, forward, and with the gradient of the input.

    Args:
        batch_size, channels, length: of the signals.
        wavelet: PyWavelets' name.
        levels: how often the approximation is taken apart.
        mode: what lies outside of a signal, by PyWavelets' name.
    """

    batch_size: int = 32
    channels: int = 256
    length: int = 4096
    wavelet: str = "db4"
    levels: int = 3
    mode: str = "zero"


@dataclass(frozen=True, kw_only=True)
class LeaksCase:
    """Training and held-out text in which passages are planted, one of each length.

    Args:
        train_tokens, held_out_tokens: ids of 16 bits.
        vocab_size: how many different ones.
        shortest, longest: tokens of the passages.
    """

    train_tokens: int = 90_000_000
    held_out_tokens: int = 10_000_000
    vocab_size: int = 50_000
    shortest: int = 32
    longest: int = 512


@dataclass(frozen=True, kw_only=True)
class PiecesCase:
    """Loss and gradients of language models on one long sequence that they read in pieces.

    Args:
        models: by name; every state is bounded.
        lengths: tokens of the sequence.
        piece: tokens of a piece.
    """

    models: Mapping[str, ModelConfig]
    lengths: tuple[int, ...] = (16384, 65536, 200_000)
    piece: int = 4096


@dataclass(frozen=True, kw_only=True)
class TransformsCase:
    """A real Fourier transform and its inverse, of as many signals as make up equal numbers of samples.

    Args:
        points: samples of a signal.
        samples: of all signals together.
    """

    points: tuple[int, ...] = (256, 1024, 4096, 16384, 65536)
    samples: int = 2**22


def plain(mixer: str, *, d_model: int, num_layers: int, num_heads: int, d_ff: int, vocab_size: int = 65) -> ModelConfig:
    """Return a plain language model with one mixer in all its layers."""
    backbone = BackboneConfig(
        d_model=d_model,
        num_layers=num_layers,
        num_heads=num_heads,
        d_ff=d_ff,
        mixers=(mixer,),
    )
    return ModelConfig(vocab_size=vocab_size, backbone=backbone)


_TEN_MILLION = {"d_model": 384, "num_layers": 6, "num_heads": 6}
_TINY = {"d_model": 32, "num_layers": 2, "num_heads": 2}

# Feed-forward widths make the models of a case equal in parameters.
_MODELS_10M = {
    "attention": plain("attention", **_TEN_MILLION, d_ff=1024),
    "fft_conv": plain("fft_conv", **_TEN_MILLION, d_ff=1011),
}
_MODELS_TINY = {"attention": plain("attention", **_TINY, d_ff=96), "fft_conv": plain("fft_conv", **_TINY, d_ff=84)}


def _interfering(num_heads: int, num_waves: int, attention_d_ff: int, d_ff: int) -> Mapping[str, ModelConfig]:
    """Plain attention, and interference in its forms, all of one size."""
    size = {"d_model": 384, "num_layers": 6, "num_heads": num_heads}

    def waves(mixer: str, **options: str | int) -> ModelConfig:
        config = plain(mixer, **size, d_ff=d_ff)
        described = {mixer: {"num_waves": num_waves, **options}}
        return replace(config, backbone=replace(config.backbone, mixer_options=described))

    return {
        "attention": plain("attention", **size, d_ff=attention_d_ff),
        "interference, literal": waves("interference"),
        "interference, evolved": waves("interference", formulation="evolved", normalisation="sum"),
        "interference_linear": waves("interference_linear"),
    }


TRAIN_CASES: Mapping[str, TrainCase] = {
    "10m": TrainCase(models=_MODELS_10M),
    # The documented default of 16 waves; and the heads and waves of the documented small Wave-Native GPT.
    "interference": TrainCase(models=_interfering(6, 16, attention_d_ff=872, d_ff=1032)),
    "interference_48": TrainCase(models=_interfering(8, 48, attention_d_ff=1024, d_ff=896)),
    "tiny": TrainCase(models=_MODELS_TINY, batch_size=2, block_size=32),
}
_FRAMES = {
    f"spectral_frames, {label}": MixerChoice(name="spectral_frames", options=options)
    for label, options in {
        "adaptive": {},
        "0.15": {"sparsity": 0.15, "adaptive": False},
        "0.45": {"sparsity": 0.45, "adaptive": False},
        "all bins": {"sparsity": None},
    }.items()
}
_GRIDS = {
    "grid_attention": MixerChoice(name="grid_attention", options={}),
    **{f"grid_filter, {n} modes": MixerChoice(name="grid_filter", options={"modes": n}) for n in (8, 16, 32)},
}
_ATTENTION = ("torch SDPA",)
_SIX_LAYERS = {"d_model": 256, "num_layers": 6, "num_heads": 8, "d_ff": 688, "vocab_size": 256}
_LONG = ("fft_conv", "spectral_gate", "hierarchical_fft")
MIXER_CASES: Mapping[str, MixerCase] = {
    "d256": MixerCase(),
    "encoder": MixerCase(lengths=(512, 1024, 2048, 4096, 8192), causal=False, mixers=_FRAMES, peers=_ATTENTION),
    "images": MixerCase(
        lengths=tuple(side**2 for side in (16, 32, 64, 96)), causal=False, mixers=_GRIDS, peers=_ATTENTION
    ),
    "tiny": MixerCase(d_model=32, num_heads=4, lengths=(64, 128)),
}
# Without positions, which the peer has not either.
_COHERENT = {
    f"{mode} {harmonics}": MixerChoice(
        name="phase_coherent",
        options={"phase_coherence_mode": mode, "harmonics": harmonics, "use_yarn": False},
    )
    for mode in ("cosine", "complex")
    for harmonics in ("shared", "grouped")
}
PHASE_CASES: Mapping[str, MixerCase] = {
    "narrow": MixerCase(d_model=192, num_heads=8, lengths=(1024, 4096), mixers=_COHERENT, peers=_ATTENTION),
    "wide": MixerCase(d_model=192, num_heads=3, lengths=(1024, 4096), mixers=_COHERENT, peers=_ATTENTION),
    "tiny": MixerCase(d_model=24, num_heads=4, lengths=(16, 32), mixers=_COHERENT, peers=_ATTENTION),
}
DECODE_CASES: Mapping[str, DecodeCase] = {
    "10m": DecodeCase(models={**_MODELS_10M, "short_conv": plain("short_conv", **_TEN_MILLION, d_ff=1018)}),
    # Without a peer: keys and values of 200,000 tokens take 2.5 GB, and over an hour to be read.
    "200k": DecodeCase(
        models={mixer: plain(mixer, **_SIX_LAYERS) for mixer in (*_LONG, "short_conv", "pure_wave_linear")},
        peers=(),
        contexts=(1024, 200_000),
        new_tokens=128,
    ),
    "tiny": DecodeCase(models=_MODELS_TINY, contexts=(8, 16), new_tokens=4),
}
OPTIMIZER_CASES: Mapping[str, OptimizerCase] = {
    "10m": OptimizerCase(model=_MODELS_10M["attention"]),
    "tiny": OptimizerCase(model=_MODELS_TINY["attention"]),
}
SPARSITY_CASES: Mapping[str, SparsityCase] = {
    "h64": SparsityCase(),
    "h64_fft_conv": SparsityCase(
        mixer="fft_conv", hidden_ratio=1 / 4, inner_ratio=3 / 2, narrow_options={"num_modes": 4}
    ),
    "tiny": SparsityCase(num_harmonics=16, ratios=(0.5,), num_layers=1, num_heads=2, shapes=((2, 8),)),
}
PIECES_CASES: Mapping[str, PiecesCase] = {
    "d256": PiecesCase(models={mixer: plain(mixer, **_SIX_LAYERS) for mixer in _LONG}),
    "tiny": PiecesCase(models={"fft_conv": plain("fft_conv", **_TINY, d_ff=84)}, lengths=(48, 96), piece=16),
}
TRANSFORMS_CASES: Mapping[str, TransformsCase] = {
    "4m": TransformsCase(),
    "tiny": TransformsCase(points=(16, 60), samples=960),
}
WAVELET_CASES: Mapping[str, WaveletCase] = {
    "db4": WaveletCase(),
    "db4_periodic": WaveletCase(mode="periodization"),
    "tiny": WaveletCase(batch_size=2, channels=3, length=64, levels=2),
}
LEAKS_CASES: Mapping[str, LeaksCase] = {
    "100m": LeaksCase(),
    "tiny": LeaksCase(train_tokens=20_000, held_out_tokens=10_000, vocab_size=1000, longest=48),
}
PYRAMID_CASES: Mapping[str, PyramidCase] = {
    "h64": PyramidCase(),
    "tiny": PyramidCase(
        num_harmonics=8, band_num_layers=(1, 1, 1), num_layers=1, num_heads=2, num_kv_heads=1, shapes=((2, 8), (1, 16))
    ),
}
