"""The documented sizes of spectral models."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType

import torch

from undula.models.spectral import SpectralLanguageModel
from undula.models.spectral_config import LayerType, SpectralConfig
from undula.names import unknown_name


def _size(
    embed_dim: int, hidden_dim: int, num_layers: int, num_heads: int, max_seq_len: int, chunk_size: int, sparsity: float
) -> SpectralConfig:
    return SpectralConfig(
        embed_dim=embed_dim,
        hidden_dim=hidden_dim,
        num_layers=num_layers,
        num_heads=num_heads,
        max_seq_len=max_seq_len,
        chunk_size=chunk_size,
        sparsity=sparsity,
    )


PRESETS: Mapping[str, SpectralConfig] = MappingProxyType(
    {
        "tiny": _size(256, 1024, 6, 4, 16_384, 4096, 0.15),
        "small": _size(512, 2048, 12, 8, 65_536, 8192, 0.15),
        "base": _size(768, 3072, 12, 12, 131_072, 8192, 0.15),
        "medium": _size(1024, 4096, 24, 16, 200_000, 8192, 0.15),
        "large": _size(1536, 6144, 32, 24, 200_000, 8192, 0.18),
        "xlarge": _size(2048, 8192, 40, 32, 200_000, 8192, 0.20),
    }
)
"""By name, smallest first. Nothing changes them: a model made from one has a copy."""


def list_available_models() -> list[str]:
    """Return the names of the documented sizes, smallest first."""
    return list(PRESETS)


def get_model_info(size: str) -> dict[str, int | float | str]:
    """Return the sizes of a preset, and how many parameters its model has: counted, not estimated.

    Args:
        size: name of the preset.

    Returns:
        size, embed_dim, hidden_dim, num_layers, num_heads, max_seq_len, vocab_size; params_estimate, the number of
        parameters; params_m and params_b, the same in millions and billions.

    Raises:
        ValueError: for an unknown size.
    """
    preset, parameters = _preset(size), _parameters(size)
    named = ("embed_dim", "hidden_dim", "num_layers", "num_heads", "max_seq_len", "vocab_size")
    return {
        "size": size,
        **{name: getattr(preset, name) for name in named},
        "params_estimate": parameters,
        "params_m": parameters / 1e6,
        "params_b": parameters / 1e9,
    }


def create_spectral_lm(
    size: str = "base",
    vocab_size: int | None = None,
    max_seq_len: int | None = None,
    *,
    embed_dim: int | None = None,
    hidden_dim: int | None = None,
    num_layers: int | None = None,
    layer_type: LayerType | str | None = None,
    sparsity: float | None = None,
    num_heads: int | None = None,
    dropout: float | None = None,
    use_rope: bool | None = None,
    use_gradient_checkpointing: bool | None = None,
    tie_word_embeddings: bool | None = None,
    use_hierarchical_fft: bool | None = None,
    use_adaptive_sparsity: bool | None = None,
    use_phase_aware: bool | None = None,
    use_cross_frequency: bool | None = None,
    chunk_size: int | None = None,
    use_moe: bool | None = None,
    num_experts: int | None = None,
    num_active_experts: int | None = None,
    attention_every: int | None = None,
) -> SpectralLanguageModel:
    """Return a new language model of a documented size, with other values where they are given.

    Args:
        size: name of the preset.
        vocab_size, max_seq_len, and all others: as in `SpectralConfig`; None: as the preset has it.

    Raises:
        ValueError: for an unknown size (names the nearest), or values that `SpectralConfig` refuses.
        TypeError: for an option that is not there.
    """
    given = {name: value for name, value in locals().items() if name != "size" and value is not None}
    return SpectralLanguageModel(replace(_preset(size), **given))


def _preset(size: str) -> SpectralConfig:
    if size not in PRESETS:
        raise unknown_name("size", size, PRESETS)
    return PRESETS[size]


@cache
def _parameters(size: str) -> int:
    with torch.device("meta"):
        return SpectralLanguageModel(PRESETS[size]).get_num_params(non_embedding=False)
