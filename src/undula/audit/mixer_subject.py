"""A mixer under audit."""

import torch
from torch import Tensor

from undula.audit.subject import Claims, Subject, audited_copy
from undula.mixers.base import Mixer, State, state_bytes


class MixerSubject(Subject):
    """A mixer as audits call it.

    Args:
        mixer: stays as it is; a copy is audited.
        causal: the flag that it is called with.
    """

    module: Mixer

    def __init__(self, mixer: Mixer, causal: bool) -> None:
        traits = mixer.traits
        claims = Claims(
            causal=traits.causal and causal,
            bidirectional=traits.bidirectional and not causal,
            streaming=traits.streaming and causal,
            bounded_state=traits.bounded_state,
            padding=True,
        )
        super().__init__(audited_copy(mixer), claims, rounding=1e-10)
        self.causal = causal

    def inputs(self, rows: int, steps: int) -> Tensor:
        """Return normally distributed inputs."""
        x = torch.randn(rows, steps, self.module.d_model, generator=self.generator, dtype=torch.float64)
        return x.to(self.dtype)

    def others(self, x: Tensor) -> Tensor:
        """Return other normally distributed inputs."""
        return self.inputs(*x.shape[:2])

    def padded(self, x: Tensor, real: Tensor, poison: bool) -> Tensor:
        """Return inputs with NaN or large values at padding."""
        return torch.where(real[..., None].bool(), x, torch.nan if poison else 1e3 * self.inputs(*x.shape[:2]))

    def run(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the mixed sequence."""
        return _alone(self.module(x, self.causal, mask))

    def run_from_leaves(self, x: Tensor, silent: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Return the mixed sequence and its input."""
        leaf = (torch.zeros_like(x) if silent else x.clone()).requires_grad_()
        return self.run(leaf), [leaf]

    def pieces(self, x: Tensor, sizes: list[int], mask: Tensor | None = None) -> tuple[Tensor, list[int]]:
        """Return what streaming gives."""
        state = self._start(len(x))
        outputs, sizes_of_state = [], []
        masks = [None] * len(sizes) if mask is None else mask.split(sizes, dim=1)
        for piece, real in zip(x.split(sizes, dim=1), masks, strict=True):
            y, state = self._step(piece, state, real)
            outputs.append(y)
            sizes_of_state.append(state_bytes(state))
        return torch.cat(outputs, dim=1), sizes_of_state

    def continued_twice(self, x: Tensor, cut: int) -> tuple[Tensor, Tensor]:
        """Return the rest of the sequence, twice from the state at `cut`."""
        _, state = self._step(x[:, :cut], self._start(len(x)), None)
        first, _ = self._step(x[:, cut:], state, None)
        second, _ = self._step(x[:, cut:], state, None)
        return first, second

    def _start(self, rows: int) -> State:
        return self.module.init_state(rows, dtype=self.dtype)

    def _step(self, x: Tensor, state: State, mask: Tensor | None) -> tuple[Tensor, State]:
        result = self.module(x, self.causal, mask, state=state)
        if not (isinstance(result, tuple) and len(result) == 2):
            raise ValueError(f"{type(self.module).__name__} was given a state and did not return (output, new state)")
        return result


def _alone(result: Tensor | tuple) -> Tensor:
    if not isinstance(result, Tensor):
        raise ValueError(f"a mixer called without a state returned {type(result).__name__}; wanted the output alone")
    return result
