"""Softmax attention, the strong baseline: grouped heads, rotary positions, normalised queries, a short convolution."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, silenced
from undula.nn.norms import RMSNorm
from undula.nn.short_conv import CausalConv
from undula.ops.attention import joined_mask, sdpa
from undula.ops.rotary import rotary_table, rotate
from undula.shapes import PaddingMask, Sequence


@dataclass
class AttentionState(State):
    """Keys and values so far, which of them are real (None: all), and the short convolution's last inputs."""

    keys: Float[Tensor, "B G S E"]
    values: Float[Tensor, "B G S E"]
    real: Bool[Tensor, "B S"] | None
    recent: Float[Tensor, "B C L"] | None


@MIXERS.register("attention")
class FlashAttention(Mixer):
    """Multi-head softmax attention through the fused kernels of PyTorch: softmax(q k^T / sqrt(d_head)) v.

    Masks, grouped heads, dropout and cached decoding all take the fused path; memory grows with T, not T^2.

    Args:
        d_model: width.
        n_heads: query heads; divides d_model.
        dropout: probability of dropping an attention weight, in training.
        use_flash: False computes with the unfused reference kernel.
        n_heads_kv: key-value heads, shared by groups of query heads; n_heads by default.
        rotary: turn queries and keys by their position.
        rotary_base: slowest wavelength of the rotary positions, over 2 pi, in steps.
        qk_norm: normalise queries and keys per head (Henry et al., arXiv 2010.04245).
        short_conv: taps of a causal convolution on queries, keys and values; 0 for none.
        d_inner: width of all heads together; d_model by default.

    Raises:
        ValueError: when heads do not divide the width, or key-value heads the heads.

    Source: Vaswani et al., arXiv 1706.03762; Dao et al. (fused), arXiv 2205.14135; Ainslie et al. (grouped heads),
    arXiv 2305.13245.
    """

    traits = Traits(cost="T^2", source="Vaswani et al., Attention Is All You Need, arXiv 1706.03762")

    residual_axes = {"qkv.weight": 1, "out_proj.weight": 0, "out_proj.bias": 0}

    def __init__(
        self,
        d_model: int,
        n_heads: int,
        dropout: float = 0.1,
        use_flash: bool = True,
        *,
        n_heads_kv: int | None = None,
        rotary: bool = False,
        rotary_base: float = 10000.0,
        qk_norm: bool = False,
        short_conv: int = 0,
        d_inner: int | None = None,
    ) -> None:
        super().__init__()
        n_heads_kv = n_heads if n_heads_kv is None else n_heads_kv
        self.d_model, self.d_inner = d_model, d_model if d_inner is None else d_inner
        _check_heads("d_model" if d_inner is None else "d_inner", self.d_inner, n_heads, n_heads_kv, rotary)
        self.n_heads, self.n_heads_kv = n_heads, n_heads_kv
        self.d_head = self.d_inner // n_heads
        self.scale = self.d_head**-0.5
        self.dropout_p, self.use_flash = dropout, use_flash
        self.rotary_base = rotary_base if rotary else None
        self.qkv = nn.Linear(d_model, self.d_inner + 2 * n_heads_kv * self.d_head, bias=False)
        self.out_proj = nn.Linear(self.d_inner, d_model)
        self.q_norm = RMSNorm(self.d_head) if qk_norm else None
        self.k_norm = RMSNorm(self.d_head) if qk_norm else None
        self.short = CausalConv(self.qkv.out_features, short_conv) if short_conv else None

    @classmethod
    def build(
        cls,
        d_model: int,
        num_heads: int,
        *,
        num_kv_heads: int | None = None,
        dropout: float = 0.0,
        rotary: bool = True,
        rotary_base: float = 10000.0,
        qk_norm: bool = False,
        short_conv: int = 0,
        d_inner: int | None = None,
        use_flash: bool = True,
    ) -> "FlashAttention":
        """Build the mixer as language models use it: rotary positions on."""
        return cls(
            d_model,
            num_heads,
            dropout,
            use_flash,
            n_heads_kv=num_kv_heads,
            rotary=rotary,
            rotary_base=rotary_base,
            qk_norm=qk_norm,
            short_conv=short_conv,
            d_inner=d_inner,
        )

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Attend; see `Mixer.forward`."""
        x, real = silenced(x, attention_mask)
        past = state if isinstance(state, AttentionState) else None
        q, k, v, recent = self._project(x, real, past)
        if past is not None:
            real = joined_mask(past.real, real, past.keys.shape[2], x)
            k, v = torch.cat([past.keys, k], dim=2), torch.cat([past.values, v], dim=2)
            past = AttentionState(k, v, real, recent)
        out = sdpa(
            q,
            k,
            v,
            causal=causal,
            key_mask=real,
            dropout=self.dropout_p if self.training else 0.0,
            scale=self.scale,
            fused=self.use_flash,
        )
        y = self.out_proj(rearrange(out, "b n t e -> b t (n e)"))
        return y if past is None else (y, past)

    def _project(
        self, x: Tensor, real: Tensor | None, past: AttentionState | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """Queries, keys and values by heads, turned by position, and the inputs that the short convolution keeps."""
        z, recent = self.qkv(x), None
        if self.short is not None:
            z = z.transpose(1, 2) if real is None else torch.where(real[:, None], z.transpose(1, 2), 0.0)
            if past is None or past.recent is None:
                z = self.short(z)
            else:
                z, recent = self.short.stream(z, past.recent)
            z = z.transpose(1, 2)
        shared = self.n_heads_kv * self.d_head
        q, k, v = (
            rearrange(part, "b t (n e) -> b n t e", e=self.d_head)
            for part in z.split([self.d_inner, shared, shared], dim=-1)
        )
        if self.q_norm is not None and self.k_norm is not None:
            q, k = self.q_norm(q), self.k_norm(k)
        if self.rotary_base is not None:
            first = 0 if past is None else past.keys.shape[2]
            table = rotary_table(first, x.shape[1], self.d_head, self.rotary_base, x.device, q.dtype)
            q, k = rotate(q, *table), rotate(k, *table)
        return q, k, v, recent

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> AttentionState:
        """Return the state before the first position: no keys, no values."""
        weight = self.qkv.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        nothing = torch.zeros(batch_size, self.n_heads_kv, 0, self.d_head, device=device, dtype=dtype)
        recent = None if self.short is None else self.short.no_past(batch_size, device, dtype)
        return AttentionState(nothing, nothing, None, recent)


def _check_heads(name: str, inner: int, n_heads: int, n_heads_kv: int, rotary: bool) -> None:
    if n_heads < 1 or inner % n_heads:
        raise ValueError(f"{name}={inner} is not a multiple of n_heads={n_heads}; change one of them")
    if n_heads_kv < 1 or n_heads % n_heads_kv:
        raise ValueError(f"n_heads={n_heads} is not a multiple of n_heads_kv={n_heads_kv}; change one of them")
    width = inner // n_heads
    if rotary and width % 2:
        raise ValueError(f"rotary positions turn pairs of channels: head width {width} is odd; change n_heads")
