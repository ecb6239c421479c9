"""Tokens as signals: sums of sinusoids along the channels, whose frequencies are orthogonal to each other."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.ops.phase import wide_dtype
from undula.shapes import Logits, Sequence, TokenIds

SMALL = 0.02
"""Size that the sinusoids of positions start with, as entries of tables do."""


class SpectralEmbedding(nn.Module):
    """The vector of each token, e(n) = sum_h A_h sin(2 pi h n / E + phi_h) for channels n = 0 .. E - 1, h = 1 .. H.

    Sines and cosines of whole numbers of cycles are orthogonal, so that the vectors span 2 H dimensions. What is
    learned is the share of each in orthonormal form, (A cos phi, A sin phi) sqrt(E / 2): a table of 2 H entries for
    each token. Vectors are those entries times a constant (2 H, E) matrix, and scores of tokens, where the table is
    that of the head too, are x times its transpose, times the table's: two products each, O(B T H (E + V)).

    Args:
        vocab_size: number of tokens V.
        embed_dim: width E.
        harmonic_bases: frequencies H, fewer than E / 2.

    Raises:
        ValueError: for no token, or frequencies that a vector of this width cannot tell apart.

    Source: SpectralLLM, signal embedding.
    """

    def __init__(self, vocab_size: int, embed_dim: int, harmonic_bases: int = 16) -> None:
        super().__init__()
        if vocab_size < 1 or not 1 <= harmonic_bases <= (embed_dim - 1) // 2:
            raise ValueError(
                f"vocab_size={vocab_size}, harmonic_bases={harmonic_bases}; wanted at least 1 each, and at most "
                f"{(embed_dim - 1) // 2} frequencies for embed_dim={embed_dim}: beyond half the width they are aliases"
            )
        self.vocab_size, self.embed_dim, self.harmonic_bases = vocab_size, embed_dim, harmonic_bases
        self.coefficients = nn.Embedding(vocab_size, 2 * harmonic_bases)
        nn.init.normal_(self.coefficients.weight, std=SMALL)
        # Neither parameter nor buffer: a cast of the module would round it, and loading on the meta device lose it.
        self._fixed = _orthonormal(harmonic_bases, embed_dim)

    def basis(self, like: Tensor) -> Float[Tensor, "H2 E"]:
        """Return the sines, then the cosines, of norm 1, where a tensor is and of its type."""
        return self._fixed.to(like.device, like.dtype)

    def forward(self, input_ids: TokenIds) -> Sequence:
        """Return the vectors of tokens."""
        found = self.coefficients(input_ids)
        return found @ self.basis(found)

    def scores(self, x: Sequence) -> Logits:
        """Return the product of each position with the vector of every token."""
        return F.linear(F.linear(x, self.basis(x)), self.coefficients.weight)

    def amplitudes(self) -> Float[Tensor, "V H"]:
        """Return A_h of each token."""
        sines, cosines = self.coefficients.weight.chunk(2, dim=1)
        return torch.hypot(sines, cosines) * (2 / self.embed_dim) ** 0.5

    def phases(self) -> Float[Tensor, "V H"]:
        """Return phi_h of each token, in radians."""
        sines, cosines = self.coefficients.weight.chunk(2, dim=1)
        return torch.atan2(cosines, sines)

    @torch.no_grad()
    def get_spectral_stats(self, input_ids: TokenIds | None = None) -> dict[str, Tensor]:
        """Return power_spectrum (H), frequency_amplitudes and frequency_phases (V, H), token_usage (V), top_tokens.

        The spectrum is the mean of A_h^2 / 2 over the occurrences of tokens.

        Args:
            input_ids: the text whose occurrences count; None: each token once.
        """
        usage = self._usage(input_ids)
        amplitudes = self.amplitudes()
        power = (usage / usage.sum()).to(amplitudes.dtype) @ amplitudes.square() / 2
        return {
            "power_spectrum": power,
            "frequency_amplitudes": amplitudes,
            "frequency_phases": self.phases(),
            "token_usage": usage,
            "top_tokens": usage.topk(min(10, self.vocab_size)).indices,
        }

    def _usage(self, input_ids: TokenIds | None) -> Int[Tensor, " V"]:
        if input_ids is None:
            return torch.ones(self.vocab_size, dtype=torch.long, device=self.coefficients.weight.device)
        return torch.bincount(input_ids.flatten(), minlength=self.vocab_size)


class HybridEmbedding(nn.Module):
    """The vector of each token, (1 - alpha) table[id] + alpha signal[id] with a learned alpha.

    Args:
        vocab_size: number of tokens.
        embed_dim: width.
        harmonic_bases: frequencies of the signals (`SpectralEmbedding`).
        spectral_ratio: alpha at the start.

    Raises:
        ValueError: for a ratio that leaves one of the two without a gradient.

    Source: SpectralLLM, hybrid embedding.
    """

    def __init__(self, vocab_size: int, embed_dim: int, harmonic_bases: int = 16, spectral_ratio: float = 0.5) -> None:
        super().__init__()
        if not 0 < spectral_ratio < 1:
            raise ValueError(
                f"spectral_ratio={spectral_ratio}; wanted a share between 0 and 1: for all or nothing take "
                "SpectralEmbedding or a table alone"
            )
        self.standard = nn.Embedding(vocab_size, embed_dim)
        nn.init.normal_(self.standard.weight, std=SMALL)
        self.spectral = SpectralEmbedding(vocab_size, embed_dim, harmonic_bases)
        self.mixing_param = nn.Parameter(torch.tensor(math.log(spectral_ratio / (1 - spectral_ratio))))

    def forward(self, input_ids: TokenIds) -> Sequence:
        """Return the vectors of tokens."""
        alpha = self.mixing_param.sigmoid()
        return (1 - alpha) * self.standard(input_ids) + alpha * self.spectral(input_ids)

    def scores(self, x: Sequence) -> Logits:
        """Return the product of each position with the vector of every token."""
        alpha = self.mixing_param.sigmoid()
        return F.linear((1 - alpha) * x, self.standard.weight) + self.spectral.scores(alpha * x)

    def get_mixing_ratio(self) -> float:
        """Return alpha."""
        return self.mixing_param.sigmoid().item()


class SignalPositionalEncoding(nn.Module):
    """Adds to each position a sinusoid in every channel: x_d(t) + a_d sin((w_d + f_d / L) t + p_d).

    The rates w_d fall from 1 to 1 / L radians a position, in pairs of channels a quarter of a turn apart. Amplitudes
    a, shifts p (radians) and changes of the rates f (radians over L positions) are learned. Positions are numbers, and
    not rows of a table: any length will do.

    Args:
        max_seq_length: L, after which the slowest sinusoid has turned by one radian.
        embed_dim: width, even or odd.

    Raises:
        ValueError: when one of them is below 1.

    Source: SpectralLLM, signal positional encoding; Vaswani et al., arXiv 1706.03762, section 3.5.
    """

    def __init__(self, max_seq_length: int, embed_dim: int) -> None:
        super().__init__()
        if max_seq_length < 1 or embed_dim < 1:
            raise ValueError(f"max_seq_length={max_seq_length}, embed_dim={embed_dim}; wanted at least 1 each")
        self.max_seq_length, self.embed_dim = max_seq_length, embed_dim
        self.amplitude = nn.Parameter(torch.full((embed_dim,), SMALL))
        self.freq_mod = nn.Parameter(torch.zeros(embed_dim))
        self.phase_shift = nn.Parameter(math.pi / 2 * (torch.arange(embed_dim) % 2))

    def forward(self, x: Sequence, positions: Int[Tensor, "#B T"] | None = None) -> Sequence:
        """Return the sequence with the sinusoids of its positions added.

        Args:
            x: the sequence.
            positions: of each row and step; None: 0, 1, 2, ...
        """
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device)[None]
        wide = wide_dtype(x.device)
        place = torch.arange(self.embed_dim, device=x.device, dtype=wide) // 2 * 2 / max(self.embed_dim - 1, 1)
        t = positions[..., None].to(wide)
        # Reduced to one turn while it is exact.
        turned = torch.remainder(t * self.max_seq_length ** (-place), 2 * math.pi)
        learned = self.freq_mod.to(wide) * t / self.max_seq_length + self.phase_shift.to(wide)
        return x + self.amplitude.to(x.dtype) * (turned + learned).sin().to(x.dtype)


def _orthonormal(harmonics: int, width: int) -> Float[Tensor, "H2 E"]:
    """Sines, then cosines, of 1 .. harmonics cycles over the width, each of norm 1."""
    cycles = torch.arange(1, harmonics + 1, dtype=torch.float64, device="cpu")[:, None]
    angle = 2 * math.pi * torch.remainder(cycles * torch.arange(width, dtype=torch.float64, device="cpu") / width, 1)
    return torch.cat([angle.sin(), angle.cos()]) * (2 / width) ** 0.5
