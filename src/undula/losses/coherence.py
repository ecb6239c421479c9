"""Cross-entropy with three terms that ask a wave model for order: in phase, in energy, in its harmonics."""

import warnings
from collections.abc import Sequence as Listed

import torch
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from undula.ops.fft import rfft
from undula.ops.metrics import IGNORED, mean_nats
from undula.shapes import Logits, Sequence

FLOOR = 1e-8
"""Mean square of features below which a position counts as silent: bounds every gradient there."""


def phase_disorder(
    x: Sequence,
    kept: Bool[Tensor, "B T"],
    window: int,
    threshold: float = 0.01,
    max_bins: int | None = None,
) -> Float[Tensor, ""]:
    """Return how far the phases of the features' spectrum scatter within windows of positions.

    X = rfft(x / rms(x)) / sqrt(D) along the features, u = X / sqrt(|X|^2 + threshold^2), and the unbiased variance of
    u, sum |u - mean u|^2 / sum (n - 1), over windows of n positions and all bins; 0 is locked, 1 is random. For |u| = 1
    that is the mean of 1 - cos(difference of phases) over the pairs of a window: there is no seam at pi, a window cut
    short by padding or by the end expects the same as a whole one, and one of a single position says nothing. The
    constant and the Nyquist bin are left out: they are real and have no phase. O(B T D log D), in float32 or wider.

    The spectrum is one along features as the model orders them. Where this term trains the model, that order gets its
    meaning from it; of a model trained without it, the figure holds for one order of features among many.

    Args:
        x: what a layer puts out.
        kept: positions that count; windows are laid over all positions, from the first.
        window: positions in a window.
        threshold: size under which a bin counts as silent, over the root mean square of all bins.
        max_bins: use the lowest this many bins; None: all.

    Raises:
        ValueError: for fewer than 3 features, which have no bin with a phase.

    Source: Vinck et al., "The pairwise phase consistency", NeuroImage 51 (2010).
    """
    width = x.shape[-1]
    if width < 3:
        raise ValueError(f"x has {width} features; the phase of a spectrum needs 3 or more")
    wide = torch.where(kept[..., None], x.to(torch.promote_types(x.dtype, torch.float32)), 0)
    spectrum = rfft(F.rms_norm(wide, (width,), eps=FLOOR))[..., 1 : (width + 1) // 2][..., :max_bins]
    bins = torch.view_as_real(spectrum) * width**-0.5
    phasors = bins * torch.rsqrt(bins.square().sum(-1, keepdim=True) + threshold**2)
    gap = -x.shape[1] % window
    phasors = rearrange(F.pad(phasors, (0, 0, 0, 0, 0, gap)), "b (n w) f c -> b n w (f c)", w=window)
    real = rearrange(F.pad(kept, (0, gap)), "b (n w) -> b n w 1", w=window)
    count = real.sum(2, keepdim=True)
    mean = torch.where(real, phasors, 0).sum(2, keepdim=True) / count.clamp_min(1)
    scatter = torch.where(real, phasors - mean, 0).square().sum()
    return scatter / ((count - 1).clamp_min(0).sum() * spectrum.shape[-1]).clamp_min(1)


def energy_drift(layers: Listed[Sequence], kept: Bool[Tensor, "B T"]) -> Float[Tensor, ""]:
    """Return the mean of (log |h_l| - log |h_(l-1)|)^2 over positions that count and pairs of consecutive layers.

    Relative, so neither width nor scale matters, and smooth. 0 for fewer than two layers. In float32 or wider.
    """
    wide = [x.to(kept.device, torch.promote_types(x.dtype, torch.float32)) for x in layers]
    if len(wide) < 2:
        return wide[0].new_zeros(())
    levels = [(torch.where(kept[..., None], x, 0).square().mean(-1) + FLOOR).log() / 2 for x in wide]
    drift = sum((b - a).square().sum() for a, b in zip(levels, levels[1:], strict=False))
    return drift / (kept.sum() * (len(levels) - 1)).clamp_min(1)


def harmonic_drift(amplitudes: Float[Tensor, "*waves H"]) -> Float[Tensor, ""]:
    """Return the mean over waves of KL(a / sum a || q / sum q), q_n = 1 / n: 0 for amplitudes that fall as 1 / n.

    Free of scale; amplitudes count by their size. In float32 or wider.
    """
    sizes = amplitudes.to(torch.promote_types(amplitudes.dtype, torch.float32)).abs()
    sizes = sizes.clamp_min(torch.finfo(sizes.dtype).tiny)
    wanted = 1 / torch.arange(1, sizes.shape[-1] + 1, device=sizes.device, dtype=sizes.dtype)
    share = sizes / sizes.sum(-1, keepdim=True)
    return (share * (share.log() - (wanted / wanted.sum()).log())).sum(-1).mean()


class WaveCoherenceLoss(nn.Module):
    """Cross-entropy + lambda_phase phase + lambda_energy energy + lambda_harmonic harmonic.

    `phase` is the mean of `phase_disorder` over layers, `energy` is `energy_drift`, `harmonic` is `harmonic_drift`. A
    term whose weight is 0, or whose input is not given, is not computed and is 0. Positions whose target is -100 count
    in none.

    Args:
        lambda_phase, lambda_energy, lambda_harmonic: weights.
        window_size: positions whose phases are held against each other.
        amplitude_threshold: size under which a bin of the spectrum counts as silent, over the root mean square.
        max_bins: number of bins looked at, lowest first; None: all.

    Raises:
        ValueError: for a negative weight, a window below 2, a threshold or number of bins that is not positive.

    Source: reference document of Wave-Native GPT, "WaveCoherenceLoss".
    """

    def __init__(
        self,
        lambda_phase: float = 0.01,
        lambda_energy: float = 0.01,
        lambda_harmonic: float = 0.01,
        window_size: int = 8,
        *,
        amplitude_threshold: float = 0.01,
        max_bins: int | None = None,
    ) -> None:
        super().__init__()
        self.weights = {"phase": lambda_phase, "energy": lambda_energy, "harmonic": lambda_harmonic}
        for name, weight in self.weights.items():
            if not weight >= 0:
                raise ValueError(f"lambda_{name}={weight}; wanted 0 or more")
        if window_size < 2:
            raise ValueError(f"window_size={window_size}; wanted 2 or more, one position has no difference of phase")
        if not amplitude_threshold > 0:
            raise ValueError(f"amplitude_threshold={amplitude_threshold}; wanted a positive number, such as 0.01")
        if max_bins is not None and max_bins < 1:
            raise ValueError(f"{max_bins} bins; wanted 1 or more, or None for all")
        self.window_size = window_size
        self.amplitude_threshold = amplitude_threshold
        self.max_bins = max_bins

    def forward(
        self,
        logits: Logits,
        targets: Int[Tensor, "B T"],
        layer_outputs: Listed[Sequence] | None = None,
        harmonic_amplitudes: Float[Tensor, "*waves H"] | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Return total = ce + coherence, ce, coherence (weighted), and phase, energy and harmonic (not weighted).

        Args:
            logits: scores; position t is held against target t.
            targets: the next tokens, shifted already; -100 at positions that do not count.
            layer_outputs: the residual stream after each layer, in order.
            harmonic_amplitudes: amplitudes of the harmonics, the same for all waves or (W, H).
        """
        ce = mean_nats(logits, targets)
        terms = {name: ce.new_zeros(()) for name in self.weights}
        if layer_outputs and self.weights["phase"]:
            terms["phase"] = torch.stack([self._disorder(x, targets).to(ce.device) for x in layer_outputs]).mean()
        if layer_outputs and self.weights["energy"]:
            terms["energy"] = energy_drift(layer_outputs, targets != IGNORED).to(ce.device)
        if harmonic_amplitudes is not None and self.weights["harmonic"]:
            terms["harmonic"] = harmonic_drift(harmonic_amplitudes).to(ce.device)
        coherence = sum((self.weights[name] * term for name, term in terms.items()), ce.new_zeros(()))
        return {"total": ce + coherence, "ce": ce, "coherence": coherence, **terms}

    def _disorder(self, x: Sequence, targets: Int[Tensor, "B T"]) -> Float[Tensor, ""]:
        kept = (targets != IGNORED).to(x.device)
        return phase_disorder(x, kept, self.window_size, self.amplitude_threshold, self.max_bins)


def create_physics_loss(
    use_qfe: bool = True,
    lambda_coherence: float = 0.05,
    amplitude_threshold: float = 0.01,
    projection_dim: int = 256,
) -> WaveCoherenceLoss:
    """Return a `WaveCoherenceLoss` from the arguments of the older interface.

    Args:
        use_qfe: False sets all weights to 0, which leaves the cross-entropy.
        lambda_coherence: weight of coherence as a whole, a third of it for each term.
        amplitude_threshold: as in `WaveCoherenceLoss`.
        projection_dim: its `max_bins`.
    """
    share = lambda_coherence / 3 if use_qfe else 0.0
    return WaveCoherenceLoss(share, share, share, amplitude_threshold=amplitude_threshold, max_bins=projection_dim)


class QuantumFieldEntanglementLoss(WaveCoherenceLoss):
    """A `WaveCoherenceLoss` by its deprecated name, with the arguments of `create_physics_loss`; warns when built."""

    def __init__(
        self, lambda_coherence: float = 0.05, amplitude_threshold: float = 0.01, projection_dim: int = 256
    ) -> None:
        warnings.warn(
            "QuantumFieldEntanglementLoss is deprecated; use WaveCoherenceLoss or create_physics_loss",
            DeprecationWarning,
            stacklevel=2,
        )
        share = lambda_coherence / 3
        super().__init__(share, share, share, amplitude_threshold=amplitude_threshold, max_bins=projection_dim)
