"""Attention whose scores also count how far the waves of two positions swing together."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.mixers.base import MIXERS, Mixer, State, Traits, silenced
from undula.names import unknown_name
from undula.nn.norms import RMSNorm
from undula.nn.phase_coherence import check_coherence, check_phases
from undula.ops.attention import joined_mask
from undula.ops.coherence import coherent_attention, is_complex, wave_vectors
from undula.ops.rotary import rotary_table, rotate
from undula.shapes import PaddingMask, Sequence
from undula.wave import parts_of


@dataclass
class PhaseCoherentState(State):
    """Keys, values and wave vectors so far, and which of them are real (None: all)."""

    keys: Float[Tensor, "B G S E"]
    values: Float[Tensor, "B G S E"]
    waves: Float[Tensor, "B S F"]
    real: Bool[Tensor, "B S"] | None


@MIXERS.register("phase_coherent")
class PhaseCoherentAttention(Mixer):
    """y = out_proj(softmax(alpha q k^T / sqrt(d_head) + beta C) v), C the phase coherence of query and key.

    The input is a wave [frequencies | amplitudes | phases]. "cosine": C = 1 / (tau H) sum_h cos(phi_q - phi_k), the
    same for all heads. "complex": C = 1 / (tau H) |sum_h A_q A_k e^(i (phi_q - phi_k))|. With "grouped" harmonics a
    head sees every n_heads_q-th one alone, and H is the number of those. `PhaseCoherentParallelBlock` gives it the true
    phases of the stream; other blocks, whose input is normalised, normalised ones.

    Time grows with T^2, memory with T, while no weights are dropped, which takes T^2 bytes for each head; see
    `undula.ops.coherence.coherent_attention`. Phases and tiles are float32 or wider.

    Args:
        d_model: width; 3 x num_harmonics.
        num_harmonics: harmonics H of a wave.
        n_heads_q: query heads; divides d_model.
        n_heads_kv: key-value heads; divides n_heads_q.
        dropout_p: probability of dropping an attention weight, in training.
        use_yarn: turn queries and keys by their position.
        max_seq_len: steps that the positions are made for; with yarn_scale > 1 the length that was trained on.
        use_flash: False computes without the fused kernel.
        phase_coherence_mode: "cosine" or "complex".
        phase_temp: tau; smaller weighs the coherence more.
        learnable_blend: whether alpha (1 at the start) and beta (0.5) are parameters; else buffers.
        harmonics: "shared" or "grouped".
        blend_per_head: an alpha and a beta for each head, not one for all.
        yarn_scale: how many times longer than max_seq_len sequences may be.
        rotary_base: slowest wavelength of the positions, over 2 pi, in steps.
        qk_norm: normalise the queries and keys of each head before they are turned.

    Raises:
        ValueError: when d_model is not 3 x num_harmonics, heads do not divide, or a name or number is none.

    Source: Wave Transformer, enhancements, section 3; Peng et al., "YaRN", arXiv 2309.00071.
    """

    traits = Traits(cost="T^2", width_multiple=3, source="Wave Transformer, enhancements: phase-coherent attention")
    alpha: Tensor
    beta: Tensor

    def __init__(
        self,
        d_model: int,
        num_harmonics: int,
        n_heads_q: int,
        n_heads_kv: int,
        dropout_p: float = 0.0,
        use_yarn: bool = True,
        max_seq_len: int = 512,
        use_flash: bool = True,
        phase_coherence_mode: str = "cosine",
        phase_temp: float = 1.0,
        learnable_blend: bool = True,
        *,
        harmonics: str = "shared",
        blend_per_head: bool = False,
        yarn_scale: float = 1.0,
        rotary_base: float = 10000.0,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        _check_sizes(d_model, num_harmonics, n_heads_q, n_heads_kv, use_yarn)
        check_coherence(num_harmonics, phase_temp)
        if harmonics not in ("shared", "grouped"):
            raise unknown_name("harmonics", harmonics, ("shared", "grouped"))
        if harmonics == "grouped" and num_harmonics < n_heads_q:
            raise ValueError(f"num_harmonics={num_harmonics} cannot be shared out to n_heads_q={n_heads_q}; use shared")
        if yarn_scale < 1 or max_seq_len < 1:
            raise ValueError(f"got yarn_scale={yarn_scale} and max_seq_len={max_seq_len}; wanted at least 1 each")
        self.modulus = is_complex(phase_coherence_mode)
        self.d_model, self.num_harmonics = d_model, num_harmonics
        self.n_heads_q, self.n_heads_kv, self.d_head = n_heads_q, n_heads_kv, d_model // n_heads_q
        self.dropout_p, self.use_yarn, self.use_flash = dropout_p, use_yarn, use_flash
        self.max_seq_len, self.yarn_scale, self.rotary_base = max_seq_len, yarn_scale, rotary_base
        self.phase_temp, self.grouped = phase_temp, harmonics == "grouped"
        self.q_proj = nn.Linear(d_model, d_model, bias=False)
        self.kv_proj = nn.Linear(d_model, 2 * n_heads_kv * self.d_head, bias=False)
        self.out_proj = nn.Linear(d_model, d_model)
        self.q_norm = RMSNorm(self.d_head) if qk_norm else None
        self.k_norm = RMSNorm(self.d_head) if qk_norm else None
        for name, start in (("alpha", 1.0), ("beta", 0.5)):
            value = torch.full((n_heads_q,) if blend_per_head else (), start)
            if learnable_blend:
                self.register_parameter(name, nn.Parameter(value))
            else:
                self.register_buffer(name, value)

    @classmethod
    def build(
        cls,
        d_model: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        dropout: float = 0.0,
        phase_coherence_mode: str = "cosine",
        harmonics: str = "shared",
        phase_temp: float = 1.0,
        use_yarn: bool = True,
        yarn_scale: float = 1.0,
        max_seq_len: int = 512,
        use_flash: bool = True,
        rotary_base: float = 10000.0,
        qk_norm: bool = False,
    ) -> "PhaseCoherentAttention":
        """Build the mixer with d_model / 3 harmonics, and an alpha and a beta for each head.

        Raises:
            ValueError: for a width that is no multiple of 3.
        """
        if d_model % 3:
            raise ValueError(f"d_model={d_model} is not a multiple of 3: frequencies, amplitudes, phases; change it")
        return cls(
            d_model,
            d_model // 3,
            num_heads,
            num_heads if num_kv_heads is None else num_kv_heads,
            dropout,
            use_yarn,
            max_seq_len,
            use_flash,
            phase_coherence_mode,
            phase_temp,
            harmonics=harmonics,
            blend_per_head=True,
            yarn_scale=yarn_scale,
            rotary_base=rotary_base,
            qk_norm=qk_norm,
        )

    def forward(
        self,
        x: Sequence,
        causal: bool = True,
        attention_mask: PaddingMask | None = None,
        *,
        state: State | None = None,
        phases: Float[Tensor, "B T H"] | None = None,
    ) -> Sequence | tuple[Sequence, State]:
        """Attend; see `Mixer.forward`.

        Args:
            x, causal, attention_mask, state: as there.
            phases: true phases in radians, where x is a normalised copy of the wave; the last third of x by default.
                Amplitudes, which the complex mode weights with, are those of x.

        Raises:
            ValueError: when x is not 3 H wide, or there are not H phases.
        """
        x, real = silenced(x, attention_mask)
        _, amplitudes, own_phases = parts_of(x, self.num_harmonics)
        phases = own_phases if phases is None else silenced(phases, attention_mask)[0]
        check_phases(phases, self.num_harmonics)
        waves = wave_vectors(phases, amplitudes if self.modulus else None)
        past = state if isinstance(state, PhaseCoherentState) else None
        q, k, v = self._project(x, 0 if past is None else past.keys.shape[2])
        if past is not None:
            real = joined_mask(past.real, real, past.keys.shape[2], x)
            k, v = torch.cat([past.keys, k], dim=2), torch.cat([past.values, v], dim=2)
            waves = torch.cat([past.waves, waves], dim=1)
            past = PhaseCoherentState(k, v, waves, real)
        out = coherent_attention(
            q,
            k,
            v,
            self._by_head(waves),
            self.d_head**-0.5 * self.alpha.view(-1),
            self._weight(),
            modulus=self.modulus,
            causal=causal,
            key_mask=real,
            dropout=self.dropout_p if self.training else 0.0,
            fused=self.use_flash,
        )
        y = self.out_proj(rearrange(out, "b n t e -> b t (n e)"))
        return y if past is None else (y, past)

    def _project(self, x: Tensor, first: int) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values by heads, turned by position."""
        q = rearrange(self.q_proj(x), "b t (n e) -> b n t e", e=self.d_head)
        k, v = rearrange(self.kv_proj(x), "b t (two g e) -> two b g t e", two=2, e=self.d_head)
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.use_yarn:
            table = rotary_table(
                first,
                x.shape[1],
                self.d_head,
                self.rotary_base,
                x.device,
                q.dtype,
                scale=self.yarn_scale,
                trained=self.max_seq_len,
            )
            q, k = rotate(q, *table), rotate(k, *table)
        return q, k, v

    def _by_head(self, waves: Tensor) -> Tensor:
        """Wave vectors (B, M, S, F), once for all heads, or every n-th harmonic for each of n heads."""
        if not self.grouped:
            return waves[:, None]
        # Where heads do not divide the harmonics, the last heads have a silent one more.
        missing = -self.num_harmonics % self.n_heads_q
        parts = F.pad(rearrange(waves, "b s (two h) -> b s two h", two=2), (0, missing))
        return rearrange(parts, "b s two (h n) -> b n s (two h)", n=self.n_heads_q)

    def _weight(self) -> Float[Tensor, " #N"]:
        """The factor on a sum over harmonics: beta over the temperature and their number; one where all are alike."""
        beta = self.beta.view(-1).to(torch.promote_types(self.beta.dtype, torch.float32))
        if not self.grouped:
            return beta / (self.phase_temp * self.num_harmonics)
        head = torch.arange(self.n_heads_q, device=beta.device)
        heard = (self.num_harmonics + self.n_heads_q - 1 - head) // self.n_heads_q
        return beta / (self.phase_temp * heard.to(beta.dtype))

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> PhaseCoherentState:
        """Return the state before the first position: no keys, no values, no waves. Waves are float32 or wider."""
        weight = self.q_proj.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        nothing = torch.zeros(batch_size, self.n_heads_kv, 0, self.d_head, device=device, dtype=dtype)
        wide = torch.promote_types(dtype, torch.float32)
        waves = torch.zeros(batch_size, 0, 2 * self.num_harmonics, device=device, dtype=wide)
        return PhaseCoherentState(nothing, nothing, waves, None)


def _check_sizes(d_model: int, num_harmonics: int, n_heads_q: int, n_heads_kv: int, use_yarn: bool) -> None:
    if d_model != 3 * num_harmonics:
        raise ValueError(
            f"d_model={d_model} is not 3 x num_harmonics={3 * num_harmonics}: frequencies, amplitudes, phases; "
            "make them agree"
        )
    if n_heads_q < 1 or d_model % n_heads_q:
        raise ValueError(f"d_model={d_model} is not a multiple of n_heads_q={n_heads_q}; change one of them")
    if n_heads_kv < 1 or n_heads_q % n_heads_kv:
        raise ValueError(f"n_heads_q={n_heads_q} is not a multiple of n_heads_kv={n_heads_kv}; change one of them")
    width = d_model // n_heads_q
    if use_yarn and width % 2:
        raise ValueError(f"rotary positions turn pairs of channels: head width {width} is odd; change n_heads_q")
