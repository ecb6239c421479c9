"""Wavelet transforms along time with the documented interface; filters that are learned reconstruct all the same."""

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from undula.names import unknown_name
from undula.ops.phase import wide_dtype
from undula.ops.wavelet import MODES, coefficient_count, wavedec, waverec
from undula.ops.wavelet_filters import (
    Filters,
    is_orthogonal,
    lattice_angles,
    lattice_filters,
    lift,
    named_filters,
    unlift,
)

T = TypeVar("T")

LIFTING_WEIGHTS = 3
"""Weights of a learned prediction, and of a learned update."""


class Details(list[Tensor]):
    """Details of every level, finest first: a list that knows how long the sequence was.

    Args:
        values: the details.
        length: steps of the sequence.
    """

    def __init__(self, values: Sequence[Tensor], length: int) -> None:
        super().__init__(values)
        self.length = length


class EnhancedWaveletTransform(nn.Module):
    """Takes (B, S, D) apart along S, into an approximation and details at every level, and puts it together again.

    Coefficients equal PyWavelets' (details finest first), with its lengths. Cost S L D. It is no causal transform: a
    coefficient sees L steps around it; `ops.wavelet_tree` is one.

    Learned filters are orthogonal ones made by rotations (`angles`), or, where no rotations make the wavelet or it has
    but one, lifted ones (`predict`, `update`); both start as the named wavelet and reconstruct whatever is learned.

    Args:
        wavelet_type: any orthogonal or biorthogonal wavelet of PyWavelets.
        levels: how often the approximation is taken apart.
        mode: what lies outside of the sequence: periodization, reflect, symmetric or zero.
        use_learned: whether the filters are parameters.

    Raises:
        ValueError: for an unknown wavelet or mode, or no level.

    Source: SpectralLLM enhancements, section 3.
    """

    portable = False
    """Go by plain operations on every device."""

    def __init__(
        self, wavelet_type: str = "db4", levels: int = 3, mode: str = "reflect", use_learned: bool = True
    ) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels={levels}; wanted at least 1")
        if mode not in MODES:
            raise unknown_name("wavelet mode", mode, MODES)
        self.wavelet_type, self.levels, self.mode, self.use_learned = wavelet_type, levels, mode, use_learned
        # As numbers: a tensor would follow the module to half precision, and a compiler cannot look them up.
        self._named_taps = [taps.tolist() for taps in _named(wavelet_type)]
        self.taps = len(self._named_taps[0][0])
        for name, start in _start_values(wavelet_type).items() if use_learned else ():
            self.register_parameter(name, nn.Parameter(start.to(torch.get_default_dtype())))
        self.total_calls, self.error_count = 0, 0

    @property
    def filters(self) -> Filters:
        """The filters as they are now; lifting comes after those of the named wavelet."""
        weights = dict(self.named_parameters())
        if "angles" not in weights:
            return Filters(*(torch.tensor(taps, dtype=torch.float64, device="cpu") for taps in self._named_taps))
        angles = weights["angles"]
        taps = lattice_filters(angles.to(wide_dtype(angles.device)))
        return Filters(taps, taps)

    def forward(self, x: Float[Tensor, "B S D"]) -> tuple[Float[Tensor, "B M D"], Details]:
        """Return the approximation of the last level, and the details of all.

        Raises:
            ValueError: for a sequence that comes, at some level, down to fewer steps than the wavelet has taps.
        """
        return self._counted(lambda: self._take_apart(x))

    def inverse(
        self,
        approx: Float[Tensor, "B M D"],
        details: Sequence[Float[Tensor, "B _ D"]],
        length: int | None = None,
    ) -> Float[Tensor, "B S D"]:
        """Return the sequence that has these coefficients.

        Args:
            approx: of the last level.
            details: finest first.
            length: steps of the sequence; None: what `details` from a call knows, for any other list the longer of the
                two lengths that have so many coefficients (as in PyWavelets, an even one).

        Raises:
            ValueError: for coefficients that no sequence has.
        """
        return self._counted(lambda: self._put_together(approx, details, length))

    def get_performance_stats(self) -> dict[str, float]:
        """Return how many calls there were, forward and inverse, how many failed, and the share of those that did not.

        The share is NaN before the first call.
        """
        calls = self.total_calls
        rate = 1 - self.error_count / calls if calls else math.nan
        return {"total_calls": calls, "error_count": self.error_count, "success_rate": rate}

    def extra_repr(self) -> str:
        """Return what is printed of the settings."""
        return f"{self.wavelet_type!r}, levels={self.levels}, mode={self.mode!r}, use_learned={self.use_learned}"

    def _take_apart(self, x: Tensor) -> tuple[Tensor, Details]:
        self._check(x)
        taps, weights = self.filters.analysis, dict(self.named_parameters())
        approx, details = x.transpose(1, 2), []
        at_once = 1 if "predict" in weights else self.levels
        while len(details) < self.levels:
            approx, found = wavedec(approx, taps, at_once, self.mode, portable=self.portable)
            if "predict" in weights:
                approx, found[0] = lift(approx, found[0], weights["predict"], weights["update"])
            details += found
        return approx.transpose(1, 2), Details([d.transpose(1, 2) for d in details], x.shape[1])

    def _put_together(self, approx: Tensor, details: Sequence[Tensor], length: int | None) -> Tensor:
        if len(details) != self.levels:
            raise ValueError(f"details of {len(details)} levels; this transform has {self.levels}")
        if length is None and isinstance(details, Details):
            length = details.length
        taps, weights = self.filters.synthesis, dict(self.named_parameters())
        x, rows = approx.transpose(1, 2), [d.transpose(1, 2) for d in details]
        if "predict" not in weights:
            return waverec(x, rows, taps, self.mode, length, portable=self.portable).transpose(1, 2)
        for level in reversed(range(self.levels)):
            if x.shape != rows[level].shape:
                raise ValueError(
                    f"{tuple(x.shape[::2])} approximations and {tuple(rows[level].shape[::2])} details of level "
                    f"{level + 1}, in batch and steps; wanted equal numbers"
                )
            pair = unlift(x, rows[level], weights["predict"], weights["update"])
            before = rows[level - 1].shape[-1] if level else length
            x = waverec(pair[0], [pair[1]], taps, self.mode, before, portable=self.portable)
        return x.transpose(1, 2)

    def _check(self, x: Tensor) -> None:
        steps, taps = x.shape[1], self.taps
        for level in range(self.levels):
            if steps < taps:
                raise ValueError(
                    f"a sequence of {x.shape[1]} steps comes down to {steps} at level {level + 1}, less than the {taps}"
                    f" taps of {self.wavelet_type}; wanted levels={level} at most, more steps or a shorter wavelet"
                )
            steps = coefficient_count(steps, taps, self.mode)

    def _counted(self, compute: Callable[[], T]) -> T:
        """Compute, and count the call and whether it failed; a compiled graph has no counters."""
        if torch.compiler.is_compiling():
            return compute()
        self.total_calls += 1
        self.error_count += 1
        result = compute()
        self.error_count -= 1
        return result


class WaveletTransform(EnhancedWaveletTransform):
    """The same transform with the filters of the named wavelet, which are not learned.

    Args:
        wavelet_type: any orthogonal or biorthogonal wavelet of PyWavelets.
        levels: how often the approximation is taken apart.
        mode: what lies outside of the sequence: periodization, reflect, symmetric or zero.

    Source: SpectralLLM enhancements, migration guide.
    """

    def __init__(self, wavelet_type: str = "db4", levels: int = 3, mode: str = "reflect") -> None:
        super().__init__(wavelet_type, levels, mode, use_learned=False)


@cache
def _named(name: str) -> Filters:
    return named_filters(name)


@cache
def _start_values(name: str) -> dict[str, Tensor]:
    """The parameters whose filters are those of a wavelet."""
    filters = _named(name)
    if is_orthogonal(filters) and filters.synthesis.shape[1] > 2:
        try:
            return {"angles": lattice_angles(filters.synthesis)}
        except ValueError:
            pass  # nearly orthogonal, or too long for double precision: lifting starts from any filters
    zeros = torch.zeros(LIFTING_WEIGHTS, dtype=torch.float64, device="cpu")
    return {"predict": zeros, "update": zeros}
