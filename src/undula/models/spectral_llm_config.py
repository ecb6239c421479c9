"""SpectralLLM as documented: its configuration, flat or in sections, and the model that the flags ask for."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from undula import config as plain
from undula.models.config import BackboneConfig, EmbeddingConfig, ModelConfig, SignalConfig
from undula.optional import late_import

SECTIONS = ("model", "training", "data")
"""Parts of a nested configuration; a key may stand in any of them."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """A SpectralLLM, and how it is trained. The switches of mixers that are on take turns, layer by layer.

    Args:
        vocab_size: number of tokens.
        embed_dim: width.
        hidden_dim: hidden width of the gated feed-forward.
        num_heads: heads of each layer.
        num_layers: blocks.
        max_seq_length: longest sequence, in tokens.
        dropout: probability, on what each branch adds.
        harmonic_bases: sinusoids of each token.
        use_spectral_embedding: tokens are sums of sinusoids beside a table; without it and the next, a table.
        spectral_embedding_ratio: share of the sinusoids beside the table, at the start.
        use_signal_embed: tokens are sums of sinusoids alone.
        use_wavelet_attention: layers attend to windows of every level of a wavelet tree.
        use_fourier_convolution: layers convolve with long filters of damped waves, by FFT.
        use_frequency_domain_attention: layers weigh bands of long filters by what the text is. With no mixer on, all
            layers attend, as a transformer's.
        use_stochastic_transform: layers project the bands of a wavelet tree, of which training draws some.
        sampling_ratio: share of the bands that training draws.
        wavelet_type: the wavelet of all trees.
        wavelet_levels: their levels.
        use_adaptive_basis: mix its filter, learned for each level, with those of `wavelet_families`.
        wavelet_families: wavelets that are mixed.
        spectral_gap_analysis: measure the spectral gap of features at each score.
        enable_evolution: keep the wavelets as rotation angles, which evolution may turn in training.
        evolution_every, evolution_population, evolution_generations: steps between two evolutions, and their size.
        learning_rate, weight_decay, warmup_steps, batch_size: of training.
        use_mps: optimise for Apple silicon; the model computes the same.
        seq_length, stride, validate_sequences: of the windows that texts are cut into; stride None: seq_length.

    Raises:
        ValueError: for a number out of range, or a width that heads do not divide.

    Source: SpectralLLM enhancements, "Training Configuration".
    """

    vocab_size: int = 50257
    embed_dim: int = 768
    hidden_dim: int = 3072
    num_heads: int = 12
    num_layers: int = 12
    max_seq_length: int = 1024
    dropout: float = 0.1
    harmonic_bases: int = 64
    use_spectral_embedding: bool = True
    spectral_embedding_ratio: float = 0.5
    use_signal_embed: bool = False
    use_wavelet_attention: bool = True
    use_fourier_convolution: bool = True
    use_frequency_domain_attention: bool = True
    use_stochastic_transform: bool = False
    sampling_ratio: float = 0.5
    wavelet_type: str = "db4"
    wavelet_levels: int = 3
    use_adaptive_basis: bool = True
    wavelet_families: tuple[str, ...] = ("db4", "sym4")
    spectral_gap_analysis: bool = False
    enable_evolution: bool = False
    evolution_every: int = 500
    evolution_population: int = 20
    evolution_generations: int = 10
    learning_rate: float = 3e-4
    weight_decay: float = 0.01
    warmup_steps: int = 1000
    batch_size: int = 8
    use_mps: bool = False
    seq_length: int = 256
    stride: int | None = None
    validate_sequences: bool = True

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if type(value) is int and value < (0 if name == "warmup_steps" else 1):
                raise ValueError(f"{name}={value}; wanted at least {0 if name == 'warmup_steps' else 1}")
        if self.embed_dim % (2 * self.num_heads):
            raise ValueError(
                f"embed_dim={self.embed_dim} is not a multiple of 2 x num_heads={self.num_heads}; change one of them"
            )
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout}; wanted a probability from 0 to below 1")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Config":
        """Return the configuration that plain data describes, flat or in the sections model, training and data.

        Raises:
            ValueError: for an unknown key (names the nearest), one that is given twice, or a value of the wrong type.
        """
        flat: dict[str, Any] = {}
        for name, value in values.items():
            inside = name in SECTIONS and isinstance(value, Mapping)
            for key, setting in value.items() if inside else ((name, value),):
                if key in flat:
                    raise ValueError(f"{key} is given twice; wanted it in one section")
                flat[key] = setting
        return plain.from_dict(cls, flat)

    def to_dict(self) -> dict[str, Any]:
        """Return the configuration as flat plain data."""
        return plain.to_dict(self)

    def backbone(self) -> BackboneConfig:
        """Return the stack of blocks that the switches ask for."""
        tree = {"levels": self.wavelet_levels, "wavelets": self._wavelets()}
        described: dict[str, tuple[bool, dict[str, Any]]] = {
            "wavelet_attention": (self.use_wavelet_attention, tree),
            "fft_conv": (self.use_fourier_convolution, {}),
            "spectral_gate": (self.use_frequency_domain_attention, {}),
            "stochastic_wavelet": (self.use_stochastic_transform, {**tree, "sampling_ratio": self.sampling_ratio}),
        }
        on = {name: options for name, (wanted, options) in described.items() if wanted} or {"attention": {}}
        return BackboneConfig(
            d_model=self.embed_dim,
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            mixers=tuple(on),
            mixer_options={name: options for name, options in on.items() if options},
            d_ff=self.hidden_dim,
            dropout=self.dropout,
        )

    def model(self) -> ModelConfig:
        """Return the same model as the plain data that training, checkpoints and the command line go by."""
        signals = self.use_signal_embed or self.use_spectral_embedding
        return ModelConfig(
            family="spectral_llm",
            vocab_size=self.vocab_size,
            context_length=self.max_seq_length,
            backbone=self.backbone(),
            embedding=EmbeddingConfig(tied=True),
            signal=SignalConfig(
                harmonics=self.harmonic_bases if signals else 0,
                share=None if self.use_signal_embed else self.spectral_embedding_ratio,
                positions=self.max_seq_length,
            ),
        )

    def _wavelets(self) -> list[Any]:
        names = list(dict.fromkeys((self.wavelet_type, *(self.wavelet_families if self.use_adaptive_basis else ()))))
        if not self.enable_evolution:
            return names
        # Late: this file is read for `--help`, which torch would hold up.
        return late_import("undula.nn.wavelet_basis").angle_rows(names)
