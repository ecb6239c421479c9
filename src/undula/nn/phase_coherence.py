"""Phase coherence of all pairs of positions, as a module."""

from jaxtyping import Float
from torch import Tensor, nn

from undula.ops.coherence import is_complex, phase_coherence, wave_vectors
from undula.ops.phase import full_precision


class PhaseCoherenceComputer(nn.Module):
    """How far the waves of each query and key swing together, (B, h, Sq, Sk).

    "cosine": 1 / (tau H) sum_h cos(phi_q - phi_k), from 1 / tau where all phases agree to -1 / tau where all oppose.
    "complex": 1 / (tau H) |sum_h e^(i (phi_q - phi_k))|, which a turn of all phases by one angle leaves alone.
    Amplitudes, where given, multiply their terms. Sq Sk H operations, no tensor of Sq x Sk x H; float32 or wider.

    Args:
        num_harmonics: harmonics H.
        coherence_mode: "cosine" or "complex".
        temperature: tau.

    Raises:
        ValueError: for an unknown mode, or a number that is not positive.

    Source: Wave Transformer, enhancements, section 3.
    """

    def __init__(self, num_harmonics: int, coherence_mode: str = "cosine", temperature: float = 1.0) -> None:
        super().__init__()
        check_coherence(num_harmonics, temperature)
        self.num_harmonics, self.coherence_mode, self.temperature = num_harmonics, coherence_mode, temperature
        self.modulus = is_complex(coherence_mode)

    def forward(
        self,
        phases_q: Float[Tensor, "B h Sq H"],
        phases_k: Float[Tensor, "B h Sk _"],
        amps_q: Float[Tensor, "B h Sq H"] | None = None,
        amps_k: Float[Tensor, "B h Sk H"] | None = None,
    ) -> Float[Tensor, "B h Sq Sk"]:
        """Return the coherence.

        Args:
            phases_q: phases of queries, in radians.
            phases_k: phases of keys, in radians.
            amps_q: amplitudes of queries; 1 by default.
            amps_k: amplitudes of keys; 1 by default.

        Raises:
            ValueError: when there are not num_harmonics phases.
        """
        for phases in (phases_q, phases_k):
            check_phases(phases, self.num_harmonics)
        q, k = wave_vectors(phases_q, amps_q), wave_vectors(phases_k, amps_k)
        with full_precision(q):
            return phase_coherence(q, k, self.modulus) / (self.temperature * self.num_harmonics)


def check_phases(phases: Tensor, num_harmonics: int) -> None:
    """Refuse phases of another number of harmonics.

    Raises:
        ValueError: when there are not num_harmonics phases.
    """
    if phases.shape[-1] != num_harmonics:
        raise ValueError(f"got {phases.shape[-1]} phases, wanted num_harmonics={num_harmonics} of them")


def check_coherence(num_harmonics: int, temperature: float) -> None:
    """Refuse sizes that cannot be.

    Raises:
        ValueError: for no harmonics, or a temperature that is not positive.
    """
    if num_harmonics < 1:
        raise ValueError(f"num_harmonics={num_harmonics} is not positive; a wave has at least one harmonic")
    if temperature <= 0:
        raise ValueError(
            f"temperature={temperature} is not positive; 1 leaves the coherence as it is, less sharpens it"
        )
