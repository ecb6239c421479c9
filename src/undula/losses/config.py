"""What training makes small, as plain data (no torch here: `--help` reads this)."""

from dataclasses import dataclass
from typing import Literal, get_args

from undula.names import unknown_name

LossKind = Literal["cross_entropy", "wave_coherence"]


@dataclass(frozen=True, kw_only=True)
class LossConfig:
    """Cross entropy, alone or with terms that ask the residual stream for coherent waves.

    Args:
        kind: "cross_entropy", or "wave_coherence", which adds the three terms.
        lambda_phase: weight of the phase lock.
        lambda_energy: weight of the conservation of energy.
        lambda_harmonic: weight of the fidelity of harmonic amplitudes.
        window_size: positions over which phases should agree.

    Raises:
        ValueError: for an unknown kind or a value out of range.
    """

    kind: str = "cross_entropy"
    lambda_phase: float = 0.01
    lambda_energy: float = 0.01
    lambda_harmonic: float = 0.01
    window_size: int = 8

    def __post_init__(self) -> None:
        if self.kind not in get_args(LossKind):
            raise unknown_name("loss", str(self.kind), get_args(LossKind))
        for name in ("lambda_phase", "lambda_energy", "lambda_harmonic"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}; wanted 0 or more")
        if self.window_size < 2:
            raise ValueError(f"window_size={self.window_size}; wanted at least 2 positions, whose phases are compared")


@dataclass(frozen=True, kw_only=True)
class SoundLossConfig:
    """How far a reconstructed sound is from its original.

    Args:
        waveform: weight of minus the signal-to-noise ratio, in bels.
        spectral: weight of the distance of spectra at several resolutions.
        n_fft: lengths of their frames in samples.

    Raises:
        ValueError: for a negative weight, no weight at all, or no resolution.
    """

    waveform: float = 1.0
    spectral: float = 0.3
    n_fft: tuple[int, ...] = (128, 256, 512)

    def __post_init__(self) -> None:
        for name in ("waveform", "spectral"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}; wanted 0 or more")
        if self.waveform == self.spectral == 0:
            raise ValueError("waveform=0 and spectral=0; wanted one of them above 0, or nothing is learned")
        if not self.n_fft or min(self.n_fft) < 4:
            raise ValueError(f"n_fft={self.n_fft}; wanted at least one length, of 4 samples or more")
