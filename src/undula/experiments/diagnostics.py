"""Does a trained model behave like waves? Three measurements that can say no."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn

from undula.audit.model_subject import vocabulary_of
from undula.audit.subject import plain_copy
from undula.experiments.mixing import TOKENS_AT_ONCE, first_input, layers_of, mixing_weights
from undula.ops.surrogates import (
    LEVEL,
    HarmonicSeries,
    fringes,
    harmonic_series,
    is_causal,
    row_autocorrelation,
)
from undula.viz.diagnostics import harmonic_spectrum, interference_fringes, trajectory
from undula.viz.style import png

PROMPT = 64
"""Tokens of the prompt that is made up where none is given."""
STABLE = 1.0
"""Largest exponent that is called stable, in nats per layer: untrained models have up to 0.6, chaotic ones several."""
BOUNDED = 100.0
"""Largest ratio of the sizes of the residual stream in two layers that is called bounded."""

Metrics = dict[str, Any]


@dataclass(frozen=True)
class Growth:
    """What happens to a perturbation on its way through the layers."""

    rates: Tensor
    """(L,), mean of log(|delta_(l+1)| / |delta_l|)."""
    norms: Tensor
    """(L + 1,), root mean square of the residual stream before each layer and after the last."""


class WaveDiagnostics:
    """Measures harmonics, fringes and stability of a language model whose layers hold mixers.

    Every call looks at a copy of the model as it is then, on the processor and in evaluation mode: the model itself,
    its mode, precision and gradients are left alone. Trajectories run in float64, all else in float32. Random
    numbers come from a generator of its own, so results are the same at every call. Without arguments, what is measured
    comes from the model and a prompt of random tokens.

    Args:
        model: WaveGPT, or any other language model built of the blocks of this package.

    Raises:
        ValueError: when no layers with mixers are found.

    Source: Wave-Native GPT documentation, "WaveDiagnostics".
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        layers_of(model)

    def analyze_spectrum(
        self, embeddings: Tensor | None = None, harmonic_tolerance: float = 0.1
    ) -> tuple[bool, Metrics]:
        """Return whether the mean power spectrum along the features holds a series f, 2 f, 3 f beyond chance.

        A table whose features could stand in any order is called harmonic in at most one case of a hundred; see
        `undula.ops.surrogates.harmonic_series`.

        Args:
            embeddings: (rows, D); by default what enters the first layer for each token of the vocabulary alone.
            harmonic_tolerance: how far the peaks may be from 2 f and 3 f, as a share of f.

        Returns:
            The verdict and num_peaks (bins that stand out), peak_indices and peak_magnitudes (the ten most powerful, in
            cycles per row and power), harmonic_ratios (of the series to f; empty without one), spectrum_mean,
            spectrum_std, p_value.

        Raises:
            ValueError: for a table that is not (rows, D), has fewer than 16 features, or holds infinite numbers.
        """
        series = self._series(embeddings, harmonic_tolerance)
        peaks = (series.prominence > series.limit).nonzero().flatten()
        peaks = peaks[series.power[peaks].argsort(descending=True)]
        found = series.p_value <= LEVEL
        return found, {
            "num_peaks": len(peaks),
            "peak_indices": peaks[:10].tolist(),
            "peak_magnitudes": series.power[peaks[:10]].tolist(),
            "harmonic_ratios": [b / series.bins[0] for b in series.bins[1:]] if found else [],
            "spectrum_mean": series.power.mean().item(),
            "spectrum_std": series.power.std().item(),
            "p_value": series.p_value,
        }

    def visualize_interference(
        self, attention_weights: Tensor | None = None, fringe_threshold: float = 0.1
    ) -> tuple[bool, Metrics]:
        """Return whether weights are modulated periodically with the lag, beyond chance and to a visible depth.

        At most one table in a hundred without order along its rows is called fringed; see
        `undula.ops.surrogates.fringes`.

        Args:
            attention_weights: (B, heads, T, T), masked above the diagonal or not; by default those of all layers for a
                prompt. Mixers without weights of their own have |d out_t / d in_s|, estimated from random directions.
            fringe_threshold: least amplitude of the modulation, as a share of the mean weight.

        Returns:
            The verdict and num_autocorr_peaks, peak_lags (local maxima of the mean row autocorrelation beyond two
            standard errors), fringe_period in steps (nan without fringes), autocorr_mean, autocorr_max (lags from 1
            on), depth, p_value.

        Raises:
            ValueError: for weights that are not (B, heads, T, T) with T of at least 22, or not finite.
        """
        weights = self._weights(attention_weights)
        found = fringes(weights)
        correlation = row_autocorrelation(weights)
        lags = _correlation_peaks(correlation, weights)
        verdict = found.p_value <= LEVEL and found.depth >= fringe_threshold
        return verdict, {
            "num_autocorr_peaks": len(lags),
            "peak_lags": lags,
            "fringe_period": found.period if verdict else math.nan,
            "autocorr_mean": correlation[1:].mean().item(),
            "autocorr_max": correlation[1:].max().item(),
            "depth": found.depth,
            "p_value": found.p_value,
        }

    def analyze_trajectories(
        self, input_sequence: Tensor | None = None, num_steps: int = 100, perturbation_scale: float = 1e-6
    ) -> tuple[bool, Metrics]:
        """Return whether a small perturbation of the embeddings stays small on its way through the layers.

        The finite-time Lyapunov exponent lambda = (1/L) sum_l mean log(|delta_(l+1)| / |delta_l|), with delta shrunk to
        its first relative size before every layer, so that it stays in the linear range. Stable means lambda <= 1.

        Args:
            input_sequence: (B, T) token ids; by default a prompt of random tokens.
            num_steps: random directions over which the logarithm is averaged.
            perturbation_scale: size of the perturbation relative to the residual stream.

        Returns:
            The verdict and lyapunov_exponent (nats per layer), max_norm, min_norm, mean_norm (root mean square of the
            residual stream, over layers), norm_ratio (greatest over least), is_bounded (norm_ratio is at most 100).

        Raises:
            ValueError: for ids that are not (B, T), no directions, or a scale outside [1e-9, 1e-2].
        """
        growth = self._growth(input_sequence, num_steps, perturbation_scale)
        norms, exponent = growth.norms, growth.rates.mean().item()
        ratio = (norms.max() / norms.min()).item()
        return exponent <= STABLE, {
            "lyapunov_exponent": exponent,
            "max_norm": norms.max().item(),
            "min_norm": norms.min().item(),
            "mean_norm": norms.mean().item(),
            "norm_ratio": ratio,
            "is_bounded": ratio <= BOUNDED,
        }

    def generate_visualizations(
        self,
        embeddings: Tensor | None = None,
        attention_weights: Tensor | None = None,
        input_sequence: Tensor | None = None,
        save_path: str | Path | None = None,
    ) -> dict[str, Figure]:
        """Return pictures of the three measurements: spectrum, interference, trajectory.

        Args:
            embeddings, attention_weights, input_sequence: as in the three measurements.
            save_path: start of the names of files, {save_path}_{picture}.png; None writes none.
        """
        series = self._series(embeddings, 0.1)
        weights = self._weights(attention_weights)
        correlation = row_autocorrelation(weights)
        growth = self._growth(input_sequence, 100, 1e-6)
        peaks = (series.prominence > series.limit).nonzero().flatten()
        pictures = {
            "spectrum": harmonic_spectrum(series.power, peaks, series.bins if series.p_value <= LEVEL else ()),
            "interference": interference_fringes(
                weights.mean((0, 1)), correlation, _correlation_peaks(correlation, weights)
            ),
            "trajectory": trajectory(growth.norms, growth.rates, STABLE),
        }
        for name, picture in pictures.items() if save_path is not None else ():
            path = Path(f"{save_path}_{name}.png")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(picture))
        return pictures

    def _series(self, embeddings: Tensor | None, tolerance: float) -> HarmonicSeries:
        if embeddings is None:
            ids = torch.arange(vocabulary_of(self.model))[:, None]
            model = plain_copy(self.model, torch.float32)
            embeddings = torch.cat([first_input(model, piece)[:, 0] for piece in ids.split(TOKENS_AT_ONCE)])
        if embeddings.ndim != 2 or not embeddings.is_floating_point():
            raise ValueError(
                f"got embeddings of shape {tuple(embeddings.shape)}, {embeddings.dtype}; wanted floats (rows, D)"
            )
        return harmonic_series(embeddings, tolerance)

    def _weights(self, weights: Tensor | None) -> Tensor:
        if weights is None:
            weights = torch.cat(mixing_weights(plain_copy(self.model, torch.float32), self._prompt()), dim=1)
        if weights.ndim != 4 or weights.shape[2] != weights.shape[3] or not weights.is_floating_point():
            raise ValueError(
                f"got weights of shape {tuple(weights.shape)}, {weights.dtype}; wanted floats (B, heads, T, T)"
            )
        weights = weights.detach().to("cpu", torch.float64)
        if not weights.isfinite().all():
            raise ValueError("got weights that are not finite; give finite ones")
        return weights

    def _growth(self, ids: Tensor | None, directions: int, scale: float) -> Growth:
        ids = self._prompt() if ids is None else ids.cpu()
        if ids.ndim != 2 or not ids.numel() or ids.is_floating_point():
            raise ValueError(f"got input_sequence of shape {tuple(ids.shape)}, {ids.dtype}; wanted token ids (B, T)")
        if directions < 1 or not 1e-9 <= scale <= 1e-2:
            raise ValueError(
                f"got num_steps={directions}, perturbation_scale={scale}; wanted 1 or more and a scale in [1e-9, 1e-2]"
            )
        model = plain_copy(self.model, torch.float64)
        with torch.no_grad():
            return _growth(layers_of(model), first_input(model, ids), directions, scale)

    def _prompt(self) -> Tensor:
        config = getattr(self.model, "config", None)
        told = [getattr(config, name, None) for name in ("block_size", "context_length", "max_position_embeddings")]
        steps = min([PROMPT, *(limit for limit in told if isinstance(limit, int))])
        tokens = vocabulary_of(self.model)
        return torch.randint(tokens, (1, steps), generator=torch.Generator().manual_seed(0))


def _growth(layers: nn.ModuleList, x: Tensor, directions: int, scale: float) -> Growth:
    """Finite differences of each layer along `directions` random perturbations, renormalised before each."""
    generator = torch.Generator().manual_seed(0)
    at_once = max(1, TOKENS_AT_ONCE // (x.shape[0] * x.shape[1]))
    norms, rates = [x.square().mean().sqrt()], []
    delta = torch.randn(directions, *x.shape, generator=generator, dtype=x.dtype)
    for layer in layers:
        size = _length(x)
        delta = delta * (scale * torch.where(size > 0, size, 1.0) / _length(delta))
        y = layer(x)
        moved = [_perturbed(layer, x, piece) - y for piece in delta.split(at_once)]
        after = torch.cat(moved)
        rates.append((_length(after) / _length(delta)).log().mean())
        # A direction that a layer wipes out goes on as it was: the rate is -inf already.
        x, delta = y, torch.where(_length(after) > 0, after, delta)
        norms.append(x.square().mean().sqrt())
    return Growth(torch.stack(rates), torch.stack(norms))


def _perturbed(layer: nn.Module, x: Tensor, delta: Tensor) -> Tensor:
    moved = layer((x + delta).flatten(0, 1))
    return moved.unflatten(0, delta.shape[:2])


def _length(x: Tensor) -> Tensor:
    """Length of each sequence, (..., B, 1, 1)."""
    return torch.linalg.vector_norm(x, dim=(-2, -1), keepdim=True)


def _correlation_peaks(correlation: Tensor, weights: Tensor) -> list[int]:
    """Lags of the local maxima that independent weights would reach in one case of forty each."""
    steps, tables = weights.shape[-1], weights.shape[0] * weights.shape[1]
    lags = torch.arange(len(correlation))
    rows = torch.arange(1, steps + 1) if is_causal(weights) else torch.full((steps,), steps)
    pairs = tables * (rows[:, None] - lags).clamp_min(0).sum(0)
    high = correlation > 2 / pairs.sqrt()
    inner = high[1:-1] & (correlation[1:-1] > correlation[:-2]) & (correlation[1:-1] >= correlation[2:])
    return (inner.nonzero().flatten() + 1).tolist()
