"""What the contract is tried on: every registered mixer, and language models made of them."""

import torch

from tests.reference import (
    cosine,
    hierarchical,
    interference,
    phase_coherent,
    pure_wave,
    spectral_frames,
    stochastic_wavelet,
    wavelet_attention,
)
from tests.reference.attention import attention_mixer
from tests.reference.convolution import fft_conv_mixer, short_conv_mixer
from tests.reference.spectral import spectral_filter_mixer, spectral_gate_mixer
from undula.mixers.base import MIXERS, build_mixer
from undula.models.config import BackboneConfig, CodecConfig, ModelConfig
from undula.models.language_model import FAMILIES, build_language_model
from undula.nn.wavelet_basis import WaveletBasis
from undula.recipes.changes import changed

WIDTH, HEADS, VOCAB = 24, 4, 19

OPTIONS = {
    "attention": [
        {},
        {"rotary": False, "use_flash": False},
        {"num_kv_heads": 2, "dropout": 0.2, "rotary_base": 100.0},
        {"num_kv_heads": 1, "qk_norm": True, "short_conv": 3},
        {"d_inner": 32},
    ],
    "cosine": [{}, {"num_waves": 5, "dropout": 0.2, "rotary": False}, {"num_waves": 8, "rotary_base": 100.0}],
    "fft_conv": [{}, {"num_modes": 1, "short_conv": 1}, {"d_inner": 32}, {"memory": 100.0}],
    "hierarchical_fft": [
        {"chunk_size": 5, "num_modes": 6},
        {"chunk_size": 4, "num_modes": 8, "sparsity": 0.4, "num_freq_bands": 2},
        {"chunk_size": 3, "num_modes": 9, "adaptive": True, "short_conv": 1},
        {"chunk_size": 4, "num_modes": 8, "sparsity": 0.4, "phase_aware": False, "cross_frequency": False},
    ],
    "interference": [
        {"num_waves": 5},
        {"normalisation": "sum", "contrast": 3.0, "dropout": 0.2},
        {"formulation": "evolved", "normalisation": "sum", "contrast": 1.5},
    ],
    "interference_linear": [{"num_waves": 5}],
    "phase_coherent": [
        {},
        {"harmonics": "grouped", "num_kv_heads": 2, "dropout": 0.2, "yarn_scale": 4.0, "max_seq_len": 4},
        {"phase_coherence_mode": "complex", "phase_temp": 0.5, "num_kv_heads": 1, "use_yarn": False},
        {"phase_coherence_mode": "complex", "harmonics": "grouped", "use_flash": False},
        {"qk_norm": True, "rotary_base": 100.0, "num_kv_heads": 2},
    ],
    "pure_wave": [{}, {"kernel": "sigmoid", "num_waves": 5, "dropout": 0.2}, {"kernel": "exp", "num_waves": 8}],
    "pure_wave_linear": [{}, {"kernel": "sigmoid", "num_waves": 5}, {"kernel": "exp", "num_waves": 8}],
    "short_conv": [{}, {"taps": 2, "short_conv": 1}, {"d_inner": 32}],
    "spectral_frames": [
        {"chunk_size": 16, "sparsity": 0.3, "short_conv": 1},
        {
            "chunk_size": 9,
            "overlap_ratio": 0.3,
            "sparsity": 0.4,
            "adaptive": False,
            "num_freq_bands": 3,
            "dropout": 0.2,
        },
        {"chunk_size": 6, "sparsity": None, "phase_aware": False, "num_freq_bands": 2},
        {"sparsity": None, "dropout": 0.2, "chunk_size": 12, "learned_fades": True},
    ],
    "spectral_filter": [
        {"num_filters": 4, "filter_length": 40},
        {"num_filters": 2, "filter_length": 5, "short_conv": 1, "d_inner": 32},
    ],
    "spectral_gate": [{}, {"num_bands": 2, "num_modes": 1, "short_conv": 1}, {"num_modes": 3, "phase_aware": False}],
    "stochastic_wavelet": [
        {},
        {"levels": 2, "wavelets": ("db1", "sym4"), "sampling_ratio": 1.0},
        {"levels": 2, "wavelets": ((0.4, -0.3),), "sampling_ratio": 1.0},
    ],
    "wavelet_attention": [
        {"window": 3, "levels": 2, "rotary_base": 10.0},
        {"window": 1, "levels": 1, "wavelets": ("db1",), "short_conv": 3, "dropout": 0.2},
        {"window": 2, "levels": 3, "wavelets": ("db1", "sym4")},
        {"window": 2, "levels": 2, "wavelets": ("db2", (0.4, -0.3))},
        {},
    ],
}
"""Options worth trying, by mixer; a mixer that is not here is tried with its defaults."""

ALTERNATIVES = {
    "hierarchical_fft": ({"chunk_size": 5, "sparsity": 0.3}, {"chunk_size": 4, "sparsity": 0.4}),
    "phase_coherent": (
        {"harmonics": "shared", "phase_coherence_mode": "complex", "yarn_scale": 2.0},
        {"harmonics": "grouped", "yarn_scale": 4.0},
    ),
    "spectral_frames": ({"sparsity": 0.3, "overlap_ratio": 0.3}, {"chunk_size": 8}),
    "spectral_gate": ({"num_bands": 2}, {}),
    "stochastic_wavelet": ({"wavelets": ("db1",)}, {}),
    "wavelet_attention": ({"wavelets": ("db1",)}, {"window": 3, "levels": 2}),
}
"""Where an option's effect hangs on others or no other value can be guessed: other values, and what stays set."""

MIXER_CASES = [(name, options) for name in MIXERS for options in OPTIONS.get(name, [{}])]


def case_id(case):
    """Return the name of a case in the list of tests."""
    name, options = case
    return "-".join([name, *(f"{key}={value}" for key, value in options.items())])


def made(case, dtype=torch.float64, width=WIDTH, heads=HEADS):
    """Return a mixer in evaluation mode, moved off its starting point, where biases and gates are zero."""
    name, options = case
    return moved(build_mixer(name, width, heads, **options).eval()).to(dtype)


def chooses(case):
    """Return whether a mixer makes a hard choice: selectors alone have noise that training draws from."""
    return any(hasattr(module, "noise") for module in build_mixer(case[0], WIDTH, HEADS, **case[1]).modules())


def moved(module):
    """Move a module off its starting point, where biases and gates are zero and residual outputs small."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return module


def low_passes(p, wavelets=("db2",), levels=4, **options):
    """Return the filters of a wavelet tree, whose own tests are elsewhere."""
    basis = WaveletBasis(wavelets, levels).double()
    if basis.mix is not None:
        basis.mix.data = torch.from_numpy(p["basis.mix"])
    return basis(torch.device("cpu")).detach().numpy()


REFERENCES = {
    "attention": lambda x, p, options, causal, mask: attention_mixer(
        x,
        p,
        HEADS,
        options.get("num_kv_heads", HEADS),
        causal,
        mask,
        options.get("rotary_base", 10000.0) if options.get("rotary", True) else None,
        options.get("qk_norm", False),
    ),
    "cosine": lambda x, p, options, causal, mask: cosine.mixer(
        x, p, HEADS, causal, mask, options.get("rotary_base", 10000.0) if options.get("rotary", True) else None
    ),
    "fft_conv": lambda x, p, options, causal, mask: fft_conv_mixer(x, p, causal, mask, options.get("memory", 0.0)),
    "hierarchical_fft": lambda x, p, options, causal, mask: hierarchical.mixer(x, p, options, mask),
    "interference": lambda x, p, options, causal, mask: interference.mixer(
        x,
        p,
        HEADS,
        causal,
        mask,
        options.get("normalisation", "none") == "sum",
        options.get("contrast", 1.0),
    ),
    "interference_linear": lambda x, p, options, causal, mask: interference.linear_mixer(x, p, HEADS, causal, mask),
    "phase_coherent": lambda x, p, options, causal, mask: phase_coherent.mixer(
        x, p, HEADS, options.get("num_kv_heads", HEADS), causal, mask, **options
    ),
    "pure_wave": lambda x, p, options, causal, mask: pure_wave.mixer(
        x, p, options.get("kernel", "elu_plus_one"), causal, mask
    ),
    "pure_wave_linear": lambda x, p, options, causal, mask: pure_wave.mixer(
        x, p, options.get("kernel", "elu_plus_one"), causal, mask, linear=True
    ),
    "short_conv": lambda x, p, options, causal, mask: short_conv_mixer(x, p, causal, mask),
    "spectral_filter": lambda x, p, options, causal, mask: spectral_filter_mixer(
        x, p, options["filter_length"], causal, mask
    ),
    "spectral_gate": lambda x, p, options, causal, mask: spectral_gate_mixer(
        x, p, HEADS, options.get("num_bands", 4), causal, mask
    ),
    "spectral_frames": lambda x, p, options, causal, mask: spectral_frames.mixer(x, p, HEADS, mask, **options),
    "stochastic_wavelet": lambda x, p, options, causal, mask: stochastic_wavelet.mixer(
        x, p, low_passes(p, **{"levels": 3, **options}), mask
    ),
    "wavelet_attention": lambda x, p, options, causal, mask: wavelet_attention.mixer(
        x, p, HEADS, low_passes(p, **options), options.get("window", 16), options.get("rotary_base", 100.0), mask
    ),
}
"""Float64 definitions that mixers are held against."""

CAUSAL = [name for name in MIXERS if MIXERS[name].traits.causal]
PATTERNS = [*((name,) for name in CAUSAL), ("fft_conv", "attention")]

PYRAMIDS = {"after": (0, 1), "band_boundaries": (0.5,), "band_num_layers": (1, 2), "num_kv_heads": 1}
SLOW_PYRAMID = {
    "after": (1, 2),
    "shared": True,
    "band_boundaries": (0.25, 0.5),
    "band_num_layers": (1, 1, 1),
    "band_strides": (3, 2, 1),
    "mixer": "fft_conv",
    "mixer_options": {"num_modes": 2},
}
VARIANTS = {
    "whole": {},
    "pyramids": {"backbone": {"pyramid": PYRAMIDS}},
    "slow pyramid": {"backbone": {"pyramid": SLOW_PYRAMID}},
    "sparse": {"sparsity": {"k_ratio": 0.5, "min_k": 1, "dynamic_k": True}},
    "gathered": {"sparsity": {"k_ratio": 0.5, "min_k": 1, "gather": True}},
    "settled": {"sparsity": {"k_ratio": 0.5, "min_k": 1, "settles": True}},
    "masked": {"freq_limit": "mask"},
    "sliced": {"freq_limit": "slice", "codec": {"ordered": True}},
    "experts": {"backbone": {"mixture": {"experts": 4}}},
    "narrow table": {"embedding": {"width": 6, "tied": False}},
    "signals alone": {"signal": {"share": None, "harmonics": 5, "positions": 0}},
    "plain table": {"signal": {"harmonics": 0}, "embedding": {"tied": False}},
}
"""What a language model may have beside its mixers, as changes of its configuration."""

MODEL_CASES = [(family, pattern, "pre_norm") for family in FAMILIES for pattern in PATTERNS] + [
    ("plain", ("attention", "fft_conv"), "parallel"),
    ("plain", ("fft_conv", "attention"), "deepnorm"),
    ("wave", ("phase_coherent",), "phase_parallel"),
    ("wave", ("fft_conv",), "parallel", "pyramids"),
    ("wave", ("attention",), "parallel", "sparse"),
    ("wave", ("fft_conv",), "parallel", "gathered"),
    ("wave", ("fft_conv",), "parallel", "settled"),
    ("wave", ("fft_conv",), "pre_norm", "masked"),
    ("wave", ("attention",), "deepnorm", "sliced"),
    ("wave", ("fft_conv",), "pre_norm", "sliced"),
    ("wave", ("short_conv",), "parallel", "slow pyramid"),
    ("plain", ("fft_conv",), "pre_norm", "experts"),
    ("wave", ("attention",), "parallel", "experts"),
    ("wave", ("phase_coherent",), "phase_parallel", "experts"),
    ("spectral", ("fft_conv", "attention"), "deepnorm", "experts"),
    ("spectral", ("fft_conv",), "pre_norm", "narrow table"),
    ("spectral_llm", ("wavelet_attention", "stochastic_wavelet"), "pre_norm", "signals alone"),
    ("spectral_llm", ("wavelet_attention",), "parallel", "plain table"),
]


def model(family, pattern, block="pre_norm", variant="whole", dropout=0.1):
    """Return a small language model; with a curriculum it hears half of its frequencies; one that settles has."""
    backbone = BackboneConfig(
        d_model=12, num_layers=2, num_heads=2, mixers=pattern, block=block, d_ff=16, dropout=dropout
    )
    codec = CodecConfig(d_model=12, num_heads=2, mixer=pattern[0], dropout=dropout)
    config = ModelConfig(family=family, vocab_size=VOCAB, backbone=backbone, codec=codec)
    config = changed(config, VARIANTS[variant])
    built = build_language_model(config)
    if config.freq_limit != "none":
        built.set_freq_limit(0.5)
    if config.sparsity.settles:
        built.settle()
    return built
