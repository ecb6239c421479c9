"""The low-pass filters of a wavelet tree: those of one wavelet, or a mixture of several that is learned."""

from collections.abc import Iterable

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.ops.phase import wide_dtype
from undula.ops.wavelet_filters import lattice_angles, lattice_filters, named_filters


class WaveletBasis(nn.Module):
    """One low-pass filter for each level, the tap of the present first.

    One wavelet: its own filter. Several: their lattice angles are mixed, with weights that each level learns, so that
    every mixture is the filter of an orthogonal wavelet, too. All weights are equal at the start.

    Args:
        wavelets: names of PyWavelets; several have to be orthogonal ones.
        levels: number of filters.

    Raises:
        ValueError: for no wavelet, an unknown name, no level, or a mixture with a wavelet that has no lattice angles.

    Source: SpectralLLM, adaptive basis selection; Vaidyanathan and Hoang, IEEE ASSP 36 (1988) 81 (the lattice).
    """

    mix: nn.Parameter | None

    def __init__(self, wavelets: Iterable[str], levels: int) -> None:
        super().__init__()
        self.wavelets = (wavelets,) if isinstance(wavelets, str) else tuple(wavelets)
        if not self.wavelets or levels < 1:
            raise ValueError(f"wavelets={self.wavelets} with levels={levels}; wanted at least one of each")
        self.levels = levels
        found = [named_filters(name).synthesis for name in self.wavelets]
        self.taps = max(taps.shape[1] for taps in found)
        # As numbers: a tensor would follow the module to half precision.
        if len(found) == 1:
            self._numbers = found[0][:1].tolist()
            self.register_parameter("mix", None)
        else:
            angles = [lattice_angles(taps) for taps in found]
            longest = max(map(len, angles))
            # A rotation by nothing delays the high pass alone.
            self._numbers = [F.pad(a, (0, longest - len(a))).tolist() for a in angles]
            self.mix = nn.Parameter(torch.zeros(levels, len(found)))

    def weights(self) -> Float[Tensor, "J n"]:
        """Return the weight of each wavelet at each level."""
        return torch.ones(self.levels, 1) if self.mix is None else self.mix.softmax(-1)

    def forward(self, device: torch.device) -> Float[Tensor, "J L"]:
        """Return the filters, in float64 (the widest that the device has)."""
        wide = wide_dtype(device)
        numbers = torch.tensor(self._numbers, dtype=wide, device=device)
        if self.mix is None:
            return numbers.expand(self.levels, -1)
        angles = self.mix.to(wide).softmax(-1) @ numbers
        return torch.stack([lattice_filters(row)[0] for row in angles])
