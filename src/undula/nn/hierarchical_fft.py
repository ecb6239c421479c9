"""A long sequence as spectra of overlapping chunks that hear of each other, and back without a loss."""

import math

import torch
from einops import rearrange
from jaxtyping import Bool, Complex, Float
from torch import Tensor, nn

from undula.nn.norms import RMSNorm
from undula.ops.fft import irfft, rfft
from undula.ops.kernel_attention import elu_plus_one
from undula.ops.overlap import frame_count, framed, mixed_window, power_fades, tight, unframed
from undula.ops.scan import causal_linear_attention, linear_attention
from undula.ops.spectral_bands import bin_frequencies, log_bands
from undula.shapes import PaddingMask, Sequence

LIMIT = 2.0
"""Most that the logarithm of a gain can be: gains lie between e^-2 and e^2."""

FADE_STEPS = 8
"""Numbers that form half of a learned fade."""

ChunkSpectra = Complex[Tensor, "B C F D"]
LogGains = Float[Tensor, "B C bands D"]
RealChunks = Bool[Tensor, "B C"]


class HierarchicalFFT(nn.Module):
    """Spectra of overlapping chunks, scaled in bands of frequency and by what the other chunks hold; and the way back.

    Chunks overlap by floor(chunk_size overlap_ratio) samples. The window before the transform and after its inverse is
    a learned mix of Hann, Hamming and rectangle made tight on the lattice of hops (`ops.overlap.tight`), so what is not
    changed comes back exactly and what is added keeps its power, whatever the mix. Transforms are orthonormal.
    Between them X is multiplied by exp(bounded(sum_b B_b(f) (scale_b + fusion_cb))) with bands B_b on physical
    frequency (`ops.spectral_bands`), so the scales are one filter for every length and chunk size.

    A chunk has `chunk_size` samples also where the sequence is shorter. Within a chunk, and from a chunk to the ones it
    overlaps, later samples reach earlier ones: it serves encoders; the mixer "hierarchical_fft" is causal. Cost
    T log chunk_size, all chunks in one transform, and C dim^2 for the fusion of C chunks. In float32 or wider.

    Args:
        dim: channels.
        max_seq_len: longest sequence that is accepted.
        chunk_size: samples of a chunk.
        overlap_ratio: share of a chunk that the next one begins with, above 0 and up to 1/2.
        num_freq_bands: bands of frequency, two octaves apart.
        learned_fades: instead of the mix of windows, a flat one whose slopes are learned and power-complementary.
        past_only: a chunk hears of itself and of chunks before it alone.

    Raises:
        ValueError: for sizes that are not positive, an overlap out of range, or chunks too small to overlap.

    Source: Spectral Neural Networks, hierarchical FFT; Princen and Bradley (1986) for fades of complementary power.
    """

    def __init__(
        self,
        dim: int,
        max_seq_len: int = 200000,
        chunk_size: int = 8192,
        overlap_ratio: float = 0.125,
        num_freq_bands: int = 4,
        *,
        learned_fades: bool = False,
        past_only: bool = False,
    ) -> None:
        super().__init__()
        self.overlap = _overlap(dim, max_seq_len, chunk_size, overlap_ratio, num_freq_bands)
        self.dim, self.max_seq_len, self.chunk_size, self.num_bands = dim, max_seq_len, chunk_size, num_freq_bands
        self.hop_length = chunk_size - self.overlap
        if learned_fades:
            self.fade_steps = nn.Parameter(torch.zeros(FADE_STEPS))
        else:
            self.window_logits = nn.Parameter(torch.tensor([0.54, 0.46, 0.0]))
        self.learned_fades = learned_fades
        self.band_scales = nn.Parameter(torch.zeros(num_freq_bands, dim))
        self.chunk_fusion = ChunkFusion(dim, past_only)

    def window(self) -> Float[Tensor, " L"]:
        """Return the window of a chunk in the widest float; the squares of its shifts by the hop sum to 1."""
        if self.learned_fades:
            return power_fades(self.fade_steps, self.overlap, self.chunk_size)
        return tight(mixed_window(self.window_logits, self.chunk_size), self.hop_length)

    def analysis(self, x: Sequence) -> ChunkSpectra:
        """Return the spectra of C chunks, F = chunk_size // 2 + 1 bins each; `synthesis` is the inverse.

        Raises:
            ValueError: for no sample, more than max_seq_len, or another number of channels.
        """
        if x.shape[2] != self.dim:
            raise ValueError(f"x has {x.shape[2]} channels; wanted dim={self.dim}: (batch, time, dim)")
        self._checked(x.shape[1])
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        window = (self.window() / math.sqrt(self.chunk_size)).to(x.dtype)
        frames = framed(x.transpose(1, 2), self.chunk_size, self.hop_length) * window
        return rearrange(rfft(frames), "b d c f -> b c f d")

    def synthesis(self, spectrum: ChunkSpectra, length: int) -> Sequence:
        """Return the `length` samples whose chunks have these spectra; what changed is faded into its neighbours.

        Raises:
            ValueError: when so many chunks or channels are not what `analysis` gives of such a length.
        """
        if spectrum.shape[-1] != self.dim:
            raise ValueError(f"a spectrum of {spectrum.shape[-1]} channels; wanted dim={self.dim}")
        wanted = frame_count(self._checked(length), self.chunk_size, self.hop_length), self.chunk_size // 2 + 1
        if spectrum.shape[1:3] != wanted:
            raise ValueError(
                f"a spectrum of {tuple(spectrum.shape[1:3])} chunks and bins does not belong to length={length}, which "
                f"gives {wanted}; pass the length that was analysed"
            )
        window = (self.window() * math.sqrt(self.chunk_size)).to(spectrum.real.dtype)
        # A transform along an axis that is not the last in memory takes three times as long as the copy and itself.
        rows = rearrange(spectrum, "b c f d -> b d c f").contiguous()
        frames = irfft(rows, self.chunk_size) * window
        return unframed(frames, self.hop_length, length).transpose(1, 2)

    def forward(
        self, x: Sequence | Complex[Tensor, "B CF D"], inverse: bool = False, *, length: int | None = None
    ) -> Sequence | Complex[Tensor, "B CF D"]:
        """Return the processed spectra of a sequence, chunks one after the other; inverse=True gives a sequence.

        The inverse of complex spectra is their `synthesis`. Of real samples it is the whole round trip, `process`.

        Args:
            x: samples (B, T, D), or with inverse=True also spectra (B, chunks x bins, D) as this method gives them.
            inverse: whether to return samples.
            length: of the inverse of spectra; None: all the samples that so many chunks can hold.

        Raises:
            ValueError: for spectra without inverse=True, or rows that are no whole chunks.
        """
        if not x.is_complex():
            return self.process(x) if inverse else self.modulated(self.analysis(x)).flatten(1, 2)
        bins = self.chunk_size // 2 + 1
        if not inverse or x.shape[1] % bins:
            raise ValueError(
                f"got complex x of {x.shape[1]} rows with inverse={inverse}; spectra go back with inverse=True, in "
                f"whole chunks of {bins} bins"
            )
        spectrum = x.unflatten(1, (-1, bins))
        return self.synthesis(
            spectrum, spectrum.shape[1] * self.hop_length - self.overlap if length is None else length
        )

    def process(self, x: Sequence, attention_mask: PaddingMask | None = None) -> Sequence:
        """Return the sequence after analysis, scales, fusion and synthesis, in the type of x.

        Args:
            x: samples.
            attention_mask: 1 at real samples; what stands elsewhere counts as silence, and chunks without a real sample
                take no part in the fusion.
        """
        real = None if attention_mask is None else attention_mask.bool()
        heard = x if real is None else torch.where(real[..., None], x, 0.0)
        spectrum = self.modulated(self.analysis(heard), None if real is None else self.real_chunks(real))
        return self.synthesis(spectrum, x.shape[1]).to(x.dtype)

    def modulated(self, spectrum: ChunkSpectra, real: RealChunks | None = None) -> ChunkSpectra:
        """Return the spectra scaled in bands, by the learned scales and by what other chunks hold."""
        return self.scaled(spectrum, self.band_scales + self.fusion(spectrum, real))

    def scaled(self, spectrum: ChunkSpectra, log_gains: Float[Tensor, "*#chunks bands D"]) -> ChunkSpectra:
        """Return X exp(sum_b B_b(f) l_b), with the logarithms l of the gains bounded by `LIMIT`."""
        bounded = LIMIT * torch.tanh(log_gains.to(spectrum.real.dtype) / LIMIT)
        gains = torch.einsum("nf,...nd->...fd", self._bands(spectrum.real), bounded).exp()
        return torch.view_as_complex(torch.view_as_real(spectrum) * gains[..., None])

    def fusion(self, spectrum: ChunkSpectra, real: RealChunks | None = None) -> LogGains:
        """Return logarithms of gains for each chunk and band, from the powers in the bands of all real chunks."""
        bands = self._bands(spectrum.real)
        shares = bands / bands.sum(-1, keepdim=True).clamp_min(1e-9)
        power = spectrum.real.square() + spectrum.imag.square()
        return self.chunk_fusion(torch.einsum("nf,bcfd->bcnd", shares, power).log1p(), real)

    def real_chunks(self, real: Bool[Tensor, "B T"]) -> RealChunks:
        """Return which chunks hold a real sample."""
        return (framed(real.float(), self.chunk_size, self.hop_length) > 0).any(-1)

    def _bands(self, like: Tensor) -> Float[Tensor, "bands F"]:
        return log_bands(bin_frequencies(self.chunk_size, device=like.device, dtype=like.dtype), self.num_bands)

    def _checked(self, length: int) -> int:
        if not 1 <= length <= self.max_seq_len:
            raise ValueError(
                f"length={length}; wanted 1 to max_seq_len={self.max_seq_len}: cut the sequence or raise max_seq_len"
            )
        return length


class ChunkFusion(nn.Module):
    """Lets chunks hear of each other: out(q_c sum_j phi(k_j) v_j^T / q_c sum_j phi(k_j)), band by band.

    q, k, v project the chunks' summaries; no softmax and no table of pairs of chunks, a sum of outer products instead.

    Args:
        dim: channels.
        past_only: j up to c alone.
    """

    def __init__(self, dim: int, past_only: bool) -> None:
        super().__init__()
        self.attend = causal_linear_attention if past_only else linear_attention
        self.norm = RMSNorm(dim)
        self.in_proj = nn.Linear(dim, 3 * dim, bias=False)
        self.out_proj = nn.Linear(dim, dim, bias=False)

    def forward(self, summaries: LogGains, real: RealChunks | None = None) -> LogGains:
        """Return a vector for each chunk and band.

        Args:
            summaries: of each chunk and band.
            real: chunks that count; None: all.
        """
        rows = rearrange(self.norm(summaries), "b c n d -> b n c d").to(self.in_proj.weight.dtype)
        q, k, v = self.in_proj(rows).chunk(3, dim=-1)
        q, k = elu_plus_one(q), elu_plus_one(k)
        k = k if real is None else torch.where(real[:, None, :, None], k, 0.0)
        counted, _ = self.attend(q, k, nn.functional.pad(v, (0, 1), value=1.0))
        total = counted[..., -1:]
        # Where nothing is heard, 0 / 1: dividing by something tiny would make gradients infinite.
        heard = counted[..., :-1] / total.masked_fill(total <= 0, 1.0)
        return rearrange(self.out_proj(heard), "b n c d -> b c n d")


def _overlap(dim: int, max_seq_len: int, chunk_size: int, overlap_ratio: float, num_freq_bands: int) -> int:
    """Samples that neighbours share."""
    sizes = {"dim": dim, "max_seq_len": max_seq_len, "chunk_size": chunk_size, "num_freq_bands": num_freq_bands}
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name}={size}; wanted at least 1")
    if not 0 < overlap_ratio <= 0.5:
        raise ValueError(f"overlap_ratio={overlap_ratio}; wanted above 0 and up to 0.5: neighbours alone may overlap")
    # A share such as 0.29 of 100 is 28.999...: it means 29.
    overlap = math.floor(chunk_size * overlap_ratio + 1e-9)
    if overlap < 1:
        raise ValueError(
            f"chunk_size={chunk_size} is too small for overlap_ratio={overlap_ratio}: chunks would not overlap; take "
            f"at least {math.ceil(1 / overlap_ratio)} samples"
        )
    return overlap
