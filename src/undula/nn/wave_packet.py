"""Tokens as wave packets: a fundamental set by how common the token is, its harmonics, and learned phases."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.ops.phase import wide_dtype, wrap_phase
from undula.shapes import Sequence, TokenIds
from undula.wave import Wave

BAND = 0.25
"""Cycles per position that the highest harmonic of the rarest token turns on the fastest clock: half of what positions
can carry (the Nyquist frequency, 0.5), so that the learned `pos_freq` has room too."""
SLOWEST_CLOCK = 1e-4
"""Time that passes per position on the slowest clock; on the fastest it is 1."""
SMALL = 0.02
"""Size that the entries start with, as those of tables do: what starts small learns fast."""


class WavePacketEmbedding(nn.Module):
    """A vector for each token at its position: samples of a wave packet over a carrier, projected and normalised.

    Masses and frequencies follow Zipf's law in the token's rank among the counts of a corpus, 0 being the commonest:

        mass = 1 / (rank + 1),  omega_0 = 1 / sqrt(mass),  omega_n = n omega_0,  n = 1 .. H.

    Each of W waves runs on a clock of its own, tau_w = c_w position:

        theta = tau_w (2 pi rate + nu_w) + phi_w,  rate = BAND / H omega_0 / max omega_0 (cycles),
        packet = [A_n sin(n theta) ; A_n cos(n theta)],  A_n = softplus(a_n), at the start 1 / n,
        out = ln(P ((1 - r) packet + carrier) + r table[token]),

    where the phases phi_w (radians) are learned for every token, nu_w (`pos_freq`, radians) and A_n for all of them.
    The carrier is the packet of no token, with phase and rate 0: it tells the position, to both branches.

    The rate is proportional to omega_0: common tokens turn slowly, rare ones fast, and even their highest harmonic
    stays below the Nyquist frequency, so that no two are aliases. The clocks c_w fall from 1 to SLOWEST_CLOCK, evenly
    by ratio: fast ones tell rates and positions apart, on slow ones a token looks the same wherever it stands. On one
    clock for all, rotation hides the token.

    O(B T W H D), none of it in V; the largest table beside `simple_embed` is (V, W). Turns are counted in float64 and
    reduced to one before a sine is taken; phases and sines are in float32 or wider, also under autocast.

    Args:
        vocab_size: number of tokens V. Without counts, the token's number is its rank.
        d_model: width.
        num_waves: waves W.
        num_harmonics: harmonics H of each.

    Raises:
        ValueError: when one of them is below 1.

    Source: reference document of Wave-Native GPT, "Key Physics Principles"; the clocks are rotary positions' spread of
    frequencies, Su et al., arXiv 2104.09864.
    """

    ranks: Int[Tensor, " V"]

    def __init__(self, vocab_size: int, d_model: int, num_waves: int = 16, num_harmonics: int = 4) -> None:
        super().__init__()
        sizes = {"vocab_size": vocab_size, "d_model": d_model, "num_waves": num_waves, "num_harmonics": num_harmonics}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}={size}; wanted 1 or more")
        # Ranks, not masses: whole numbers stay exact when the model is cast to a half type.
        self.register_buffer("ranks", torch.arange(vocab_size))
        self.phases = nn.Parameter(2 * math.pi * torch.rand(vocab_size, num_waves))
        self.pos_freq = nn.Parameter(0.1 * torch.randn(1, 1, num_waves))
        n = torch.arange(1, num_harmonics + 1, dtype=torch.float64)
        self.raw_amplitudes = nn.Parameter((1 / n).expm1().log().to(self.phases.dtype))
        self.wave_to_embed = nn.Linear(2 * num_waves * num_harmonics, d_model, bias=False)
        self.simple_embed: nn.Embedding | None = nn.Embedding(vocab_size, d_model)
        self.ln = nn.LayerNorm(d_model)
        nn.init.normal_(self.wave_to_embed.weight, std=SMALL)
        nn.init.normal_(self.simple_embed.weight, std=SMALL)
        nn.init.constant_(self.ln.weight, SMALL)

    @classmethod
    def from_counts(
        cls, counts: Int[Tensor, " V"], d_model: int, num_waves: int = 16, num_harmonics: int = 4
    ) -> "WavePacketEmbedding":
        """Return an embedding whose ranks are those of the counts; see `set_counts`."""
        embedding = cls(len(counts), d_model, num_waves, num_harmonics)
        embedding.set_counts(counts)
        return embedding

    def set_counts(self, counts: Int[Tensor, " count"]) -> None:
        """Rank the tokens by how often each was counted in a corpus; of equals, the lower number comes first.

        Raises:
            ValueError: when there is not one count for each token, or one is negative.
        """
        if len(counts) != len(self.ranks):
            raise ValueError(f"got {len(counts)} counts for {len(self.ranks)} tokens; give one for each, 0 if unseen")
        if (counts < 0).any():
            raise ValueError(f"got a count of {counts.min()}; counts are 0 or more")
        order = counts.to(self.ranks.device).argsort(descending=True, stable=True)
        self.ranks[order] = torch.arange(len(order), device=order.device)

    @property
    def masses(self) -> Float[Tensor, " V"]:
        """Mass of each token, 1 / (rank + 1)."""
        return 1 / (self.ranks + 1).float()

    @property
    def base_freqs(self) -> Float[Tensor, "V W"]:
        """omega_0 of each token, the same for its waves."""
        return (self.ranks + 1).float().sqrt()[:, None].expand_as(self.phases)

    @property
    def harmonic_mults(self) -> Float[Tensor, " H"]:
        """What each harmonic multiplies the fundamental by: 1 .. H."""
        return torch.arange(1, len(self.raw_amplitudes) + 1, device=self.ranks.device, dtype=torch.float32)

    @property
    def rates(self) -> Float[Tensor, " V"]:
        """Cycles per unit of time of each token's fundamental, in the widest type of the device."""
        return self._rates(self.ranks)

    def get_token_mass(self, token: int) -> Float[Tensor, ""]:
        """Return the mass of a token."""
        return self.masses[token]

    def get_base_frequency(self, token: int) -> Float[Tensor, ""]:
        """Return omega_0 of a token, 1 / sqrt(mass)."""
        return self.base_freqs[token, 0]

    def get_harmonic_frequencies(self, token: int) -> Float[Tensor, " H"]:
        """Return the frequencies n omega_0 of a token's harmonics."""
        return self.harmonic_mults * self.get_base_frequency(token)

    def get_harmonic_amplitudes(self) -> Float[Tensor, " H"]:
        """Return the amplitudes A_n, in float32 or wider; they learn."""
        return F.softplus(self.raw_amplitudes.to(torch.promote_types(self.raw_amplitudes.dtype, torch.float32)))

    def finalize_annealing(self) -> None:
        """Give the standard table free: from now on the ratio is 0."""
        self.simple_embed = None

    def forward(
        self,
        token_ids: TokenIds,
        standard_embed_ratio: float | Float[Tensor, ""] = 0.0,
        *,
        positions: Int[Tensor, "#B T"] | None = None,
    ) -> Sequence:
        """Return the vectors of the tokens, (B, T, D).

        Args:
            token_ids: tokens.
            standard_embed_ratio: share r of the standard table, 0 to 1. A number of 0 or 1 leaves one branch out; a
                tensor is not looked at, so that it may change without a new compilation, and both are computed.
            positions: of each token; None: 0, 1, ..

        Raises:
            ValueError: for a number outside 0 to 1, or any but 0 after `finalize_annealing`.
        """
        r = standard_embed_ratio
        known = not isinstance(r, Tensor)
        if known and not 0 <= r <= 1:
            raise ValueError(f"standard_embed_ratio={r}; wanted 0 (waves) to 1 (standard table)")
        if self.simple_embed is None and r != 0:
            raise ValueError(f"standard_embed_ratio={r}, but finalize_annealing gave the standard table free; pass 0.0")
        wide = wide_dtype(token_ids.device)
        if positions is None:
            positions = torch.arange(token_ids.shape[1], device=token_ids.device)[None]
        tau = positions.to(wide)[..., None] * self._clocks()
        speed = self.pos_freq.to(wide)
        state = self._packet(tau * speed)
        if not known or r < 1:
            speed = 2 * math.pi * self._rates(self.ranks[token_ids])[..., None] + speed
            state = state + (1 - r) * self._packet(tau * speed + F.embedding(token_ids, self.phases))
        x = self.wave_to_embed(state.to(self.wave_to_embed.weight.dtype))
        if self.simple_embed is not None and not (known and r == 0):
            x = x + r * self.simple_embed(token_ids)
        return self.ln(x)

    def waves(self, token_ids: TokenIds) -> Wave:
        """Return the packets as waves (B, T, W H), in the phase that each has at its position, carrier left out.

        Frequencies in cycles per position: n c_w (rate + nu_w / 2 pi). At time 0 the wave is at the token's position p,
        where the angle of harmonic n is n theta_w(p).
        """
        wide = wide_dtype(token_ids.device)
        positions = torch.arange(token_ids.shape[1], device=token_ids.device, dtype=wide)[:, None]
        clocks, n = self._clocks(), self.harmonic_mults.to(wide)
        turns = clocks * (self._rates(self.ranks[token_ids])[..., None] + self.pos_freq.to(wide) / (2 * math.pi))
        theta = 2 * math.pi * turns * positions + F.embedding(token_ids, self.phases)
        amplitudes = self.get_harmonic_amplitudes()
        parts = (turns[..., None] * n, amplitudes.expand(*theta.shape, -1), wrap_phase(theta[..., None] * n))
        return Wave(*(part.to(amplitudes.dtype).flatten(-2) for part in parts))

    def _clocks(self) -> Float[Tensor, " W"]:
        waves, device = self.phases.shape[1], self.phases.device
        down = torch.arange(waves, device=device, dtype=wide_dtype(device)) / max(waves - 1, 1)
        return SLOWEST_CLOCK**down

    def _rates(self, ranks: Int[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
        heard = BAND / len(self.raw_amplitudes)
        return heard * ((ranks + 1).to(wide_dtype(ranks.device)) / len(self.ranks)).sqrt()

    def _packet(self, theta: Float[Tensor, "#B T W"]) -> Float[Tensor, "#B T state"]:
        """Return the harmonics of angles (radians, wide), all divided by one number: together of length 1 at the start.

        Projection and table then start equally loud wherever their weights are drawn alike.
        """
        amplitudes = self.get_harmonic_amplitudes()
        n = self.harmonic_mults
        start = math.sqrt(theta.shape[-1] * sum(k**-2 for k in range(1, len(n) + 1)))
        turned = torch.remainder(theta, 2 * math.pi).to(amplitudes.dtype)[..., None] * n
        gain = amplitudes / start
        return torch.cat([(turned.sin() * gain).flatten(-2), (turned.cos() * gain).flatten(-2)], dim=-1)
