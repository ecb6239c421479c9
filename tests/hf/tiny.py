"""Small models of every kind, with parameters at random so that no gate or filter is silent."""

from dataclasses import replace

import torch

from undula.hf.configuration import UndulaConfig
from undula.hf.modeling import UndulaForCausalLM
from undula.mixers.base import MIXERS
from undula.models.config import (
    BackboneConfig,
    CodecConfig,
    EmbeddingConfig,
    MixtureConfig,
    ModelConfig,
    PyramidConfig,
)

VOCABULARY = 41


def plain(*mixers, **more):
    backbone = BackboneConfig(d_model=24, num_layers=len(mixers), num_heads=4, d_ff=32, mixers=mixers)
    return ModelConfig(vocab_size=VOCABULARY, backbone=backbone, **more)


HYBRID = BackboneConfig(
    d_model=24,
    num_layers=2,
    num_heads=4,
    d_ff=32,
    mixers=("fft_conv", "attention"),
    mixer_options={"attention": {"short_conv": 4, "num_kv_heads": 2, "qk_norm": True}},
    block="deepnorm",
)
WAVE = BackboneConfig(d_model=24, num_layers=1, num_heads=4, d_ff=32, mixers=("fft_conv",), block="parallel")
PYRAMID = PyramidConfig(
    after=(1, 1), shared=True, band_boundaries=(0.5,), band_num_layers=(1, 1), band_strides=(2, 1), num_kv_heads=2
)

CONFIGS = {
    **{name: plain(name) for name in MIXERS if MIXERS[name].traits.causal},
    "hybrid": ModelConfig(vocab_size=VOCABULARY, backbone=HYBRID),
    "wave": ModelConfig(
        family="wave", vocab_size=VOCABULARY, backbone=WAVE, codec=CodecConfig(d_model=16, num_heads=2)
    ),
    "pyramid": ModelConfig(
        family="wave",
        vocab_size=VOCABULARY,
        backbone=replace(WAVE, pyramid=PYRAMID),
        codec=CodecConfig(d_model=16, num_heads=2),
    ),
    "spectral": ModelConfig(
        family="spectral",
        vocab_size=VOCABULARY,
        backbone=replace(HYBRID, mixture=MixtureConfig(experts=3)),
        embedding=EmbeddingConfig(width=16),
    ),
}
"""Every registered mixer alone, a hybrid, the wave family with attention in its codec, and with a pyramid; the spectral
family with a narrow table, whose scores are products with it, and with experts."""


def tiny(config, dtype=torch.float64):
    """Return the model of a `ModelConfig`, or of a name in CONFIGS."""
    config = CONFIGS[config] if isinstance(config, str) else config
    torch.manual_seed(0)
    model = UndulaForCausalLM(UndulaConfig(model=config)).eval().to(dtype)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter += (0.3 * noise).to(dtype)
    return model


def tokens(*shape, seed=0):
    return torch.randint(1, VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def left_padded(prompts):
    """Return prompts of unequal length as one batch, and its mask."""
    longest = max(len(prompt) for prompt in prompts)
    rows = [torch.nn.functional.pad(prompt, (longest - len(prompt), 0)) for prompt in prompts]
    masks = [torch.arange(longest) >= longest - len(prompt) for prompt in prompts]
    return torch.stack(rows), torch.stack(masks).long()
