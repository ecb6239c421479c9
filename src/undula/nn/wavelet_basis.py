"""The low-pass filters of a wavelet tree: those of one wavelet, or a mixture of several that is learned."""

from collections.abc import Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.ops.phase import wide_dtype
from undula.ops.wavelet_filters import lattice_angles, lattice_filters, named_filters

Wavelet = str | Sequence[float]
"""A name of PyWavelets, or the rotation angles (radians) of an orthogonal wavelet."""


class WaveletBasis(nn.Module):
    """One low-pass filter for each level, the tap of the present first.

    One wavelet: its own filter. Several: their lattice angles are mixed, with weights that each level learns, so that
    every mixture is the filter of an orthogonal wavelet, too. All weights are equal at the start. Wavelets that are
    given by their angles keep them in a buffer, `angles`, which evolution turns and no gradient does.

    Args:
        wavelets: names of PyWavelets, of which several have to be orthogonal ones; or rows of rotation angles.
        levels: number of filters.

    Raises:
        ValueError: for no wavelet, an unknown name, no level, rows without an angle, or a mixture with a wavelet that
            has no lattice angles.

    Attributes: angles (n, K), None where all wavelets are named; mix (levels, n), None for one wavelet.

    Source: SpectralLLM, adaptive basis selection; Vaidyanathan and Hoang, IEEE ASSP 36 (1988) 81 (the lattice).
    """

    mix: nn.Parameter | None
    angles: Tensor | None

    def __init__(self, wavelets: Iterable[Wavelet], levels: int) -> None:
        super().__init__()
        given = (wavelets,) if isinstance(wavelets, str) else tuple(wavelets)
        self.wavelets = tuple(wavelet if isinstance(wavelet, str) else tuple(wavelet) for wavelet in given)
        if not self.wavelets or levels < 1:
            raise ValueError(f"wavelets={self.wavelets} with levels={levels}; wanted at least one of each")
        self.levels = levels
        several = len(self.wavelets) > 1
        turned = not all(isinstance(wavelet, str) for wavelet in self.wavelets)
        # As numbers: a tensor would follow the module to half precision.
        if several or turned:
            self._numbers = angle_rows(self.wavelets)
            self.taps = 2 * len(self._numbers[0]) + 2
        else:
            low = named_filters(str(self.wavelets[0])).synthesis[:1]
            self._numbers, self.taps = low.tolist(), low.shape[1]
        if turned and self.taps < 4:
            raise ValueError(f"wavelets={self.wavelets} have no angle to turn; give at least one, or their names")
        # These belong to a checkpoint; rounded to half precision they are those of another orthogonal wavelet.
        rows = torch.tensor(self._numbers, dtype=torch.get_default_dtype()) if turned else None
        self.register_buffer("angles", rows)
        self.register_parameter("mix", nn.Parameter(torch.zeros(levels, len(self.wavelets))) if several else None)

    def weights(self) -> Float[Tensor, "J n"]:
        """Return the weight of each wavelet at each level."""
        return torch.ones(self.levels, 1) if self.mix is None else self.mix.softmax(-1)

    def forward(self, device: torch.device) -> Float[Tensor, "J L"]:
        """Return the filters, in float64 (the widest that the device has)."""
        wide = wide_dtype(device)
        kept = self.angles
        rows = torch.tensor(self._numbers, dtype=wide, device=device) if kept is None else kept.to(wide)
        if self.mix is not None:
            angles = self.mix.to(wide).softmax(-1) @ rows
            return torch.stack([lattice_filters(row)[0] for row in angles])
        return (rows if kept is None else lattice_filters(rows[0])[:1]).expand(self.levels, -1)


def angle_rows(wavelets: Iterable[Wavelet]) -> list[list[float]]:
    """Return the rotation angles of each wavelet, in rows of equal length: a last rotation by 0 changes no low pass.

    Raises:
        ValueError: for an unknown name, or a wavelet that is not orthogonal and so has no angles.
    """
    rows = [_angles(wavelet) for wavelet in wavelets]
    longest = max(map(len, rows), default=0)
    return [F.pad(row, (0, longest - len(row))).tolist() for row in rows]


def _angles(wavelet: Wavelet) -> Float[Tensor, " K"]:
    if isinstance(wavelet, str):
        return lattice_angles(named_filters(wavelet).synthesis)
    return torch.tensor([float(angle) for angle in wavelet], dtype=torch.float64, device="cpu")
