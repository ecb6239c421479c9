"""Convolution in chunks with filters of damped harmonics, which the chunks before set."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from undula.mixers.base import MIXERS, Mixer, State, Traits, in_pieces, is_long
from undula.nn.chunk_memory import ChunkMemory, Memory
from undula.nn.gate import GatedProduct
from undula.shapes import PaddingMask, Sequence


@dataclass
class HierarchicalFFTState(State):
    """The chunk memory and the short convolution's last inputs; the size does not depend on the past's length."""

    modes: Float[Tensor, "B N 2 M E"]
    position: Int[Tensor, " B"]
    sums: Float[Tensor, "B N R R1"]
    plan: Float[Tensor, "B N P"]
    recent: Float[Tensor, "B D L"]


@MIXERS.register("hierarchical_fft")
class HierarchicalFFTMixer(Mixer):
    """y = out_proj(norm(q) * memory(norm(k) * v)) with q, k, v projections of a short convolution of the input.

    The memory (`nn.chunk_memory`) filters with damped harmonics whose gains and phases each chunk takes from a linear
    attention over the chunks before it. Cost T (log chunk_size + num_modes); streaming costs a constant per step and
    2 num_modes d_model numbers of state, beside sums of a fixed size. Padding is skipped: a row's chunks are counted
    from its first real position. The filters run in float32 or wider.

    Args:
        d_model: width.
        num_heads: heads with poles of their own; divides d_model.
        chunk_size: steps for which the gains hold.
        num_modes: damped harmonics of each head.
        num_freq_bands: bands of frequency in which chunks are summed up.
        sparsity: share of its harmonics that each head keeps in each chunk, in (0, 1]; None: all.
        adaptive: heads learn that share, between 0.12 and 0.45.
        short_conv: taps of the short convolution.
        phase_aware: the chunks before set the phases of gains too, not their sizes alone.
        cross_frequency: which harmonics are kept depends on the bands of all; False: on the power of each alone.

    Raises:
        ValueError: when heads do not divide the width, or a number is out of range.

    Source: Spectral Neural Networks, hierarchical FFT, in a causal form; Gu et al., arXiv 2206.11893 (the filters);
    Katharopoulos et al., arXiv 2006.16236 (the attention over chunks).
    """

    traits = Traits(
        bidirectional=False, bounded_state=True, cost="T", source="Spectral Neural Networks, hierarchical FFT"
    )

    def __init__(
        self,
        d_model: int,
        num_heads: int,
        *,
        chunk_size: int = 32,
        num_modes: int = 16,
        num_freq_bands: int = 4,
        sparsity: float | None = None,
        adaptive: bool = False,
        short_conv: int = 4,
        phase_aware: bool = True,
        cross_frequency: bool = True,
    ) -> None:
        super().__init__()
        self.d_model = d_model
        self.gate = GatedProduct(d_model, short_conv)
        sizes = d_model, num_heads, num_modes, chunk_size, num_freq_bands
        self.memory = ChunkMemory(*sizes, sparsity, adaptive, phase_aware, cross_frequency)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(
        self, x: Sequence, causal: bool = True, attention_mask: PaddingMask | None = None, *, state: State | None = None
    ) -> Sequence | tuple[Sequence, State]:
        """Convolve and gate; see `Mixer.forward`.

        Raises:
            ValueError: for causal=False.
        """
        if not causal:
            raise ValueError("hierarchical_fft looks back only; use spectral_frames or attention where causal=False")
        real = None if attention_mask is None else attention_mask.bool()
        if isinstance(state, HierarchicalFFTState):
            return in_pieces(self._resume, x, real, state)
        if is_long(x):
            return in_pieces(self._resume, x, real, self.init_state(len(x), device=x.device, dtype=x.dtype))[0]
        gate, u, _ = self.gate(x, real, None)
        y = self.memory(u, None if real is None else _leading(real))
        return gate.closed(y, self.out_proj)

    def kept(self, x: Sequence, attention_mask: PaddingMask | None = None) -> Bool[Tensor, "B C N M"]:
        """Return which harmonics each head computes with in each chunk: all of them where none are selected."""
        real = None if attention_mask is None else attention_mask.bool()
        return self.memory.kept(self.gate(x, real, None)[1], None if real is None else _leading(real))

    def _resume(
        self, x: Sequence, real: Bool[Tensor, "B T"] | None, state: HierarchicalFFTState
    ) -> tuple[Sequence, HierarchicalFFTState]:
        memory = Memory(state.modes, state.position, state.sums, state.plan)
        gate, u, recent = self.gate(x, real, state.recent)
        if x.shape[1] == 1:
            y, memory = self.memory.step(u[..., 0], None if real is None else real[:, 0], memory)
            y = y[..., None]
        else:
            y, memory = self.memory.extend(u, None if real is None else _leading(real), memory)
        return gate.closed(y, self.out_proj), HierarchicalFFTState(*memory, recent)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> HierarchicalFFTState:
        """Return the state before the first position: silence. The memory is float32 or wider."""
        weight = self.out_proj.weight
        device, dtype = device or weight.device, dtype or weight.dtype
        memory = self.memory.no_past(batch_size, device=device, dtype=torch.promote_types(dtype, torch.float32))
        return HierarchicalFFTState(*memory, self.gate.short.no_past(batch_size, device, dtype))


def _leading(real: Bool[Tensor, "B T"]) -> Int[Tensor, " B"]:
    """Steps of padding before the first real one."""
    return (real.cumsum(1) == 0).sum(1)
