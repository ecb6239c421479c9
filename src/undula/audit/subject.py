"""What audits see of a model: a copy of it in float64, with random parameters, called in one way whatever it is."""

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LENGTH = 37
"""Steps of an audited sequence: prime, so that no chunk or transform length divides it."""


@dataclass(frozen=True, kw_only=True)
class Claims:
    """What the audited thing says of itself."""

    causal: bool
    bidirectional: bool
    streaming: bool
    bounded_state: bool
    padding: bool


class Subject(ABC):
    """Rows of inputs in, one output for each position out.

    Args:
        module: the copy that is audited, in evaluation mode; None for a plain function.
        claims: what it says of itself.
        rounding: relative error that rounding alone may bring.
        longest: steps that it accepts at most.
    """

    def __init__(self, module: nn.Module | None, claims: Claims, rounding: float, longest: float = math.inf) -> None:
        self.module, self.claims, self.rounding, self.longest = module, claims, rounding, longest
        self.dtype = torch.float64
        self.generator = torch.Generator().manual_seed(0)

    @abstractmethod
    def inputs(self, rows: int, steps: int) -> Tensor:
        """Return random inputs, (rows, steps, ...)."""

    @abstractmethod
    def others(self, x: Tensor) -> Tensor:
        """Return random inputs that differ from `x` at every position."""

    @abstractmethod
    def padded(self, x: Tensor, real: Tensor, poison: bool) -> Tensor:
        """Return inputs with something meaningless where `real` is 0; the worst there is when `poison`."""

    @abstractmethod
    def run(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the outputs, (rows, steps, width)."""

    @abstractmethod
    def run_from_leaves(self, x: Tensor, silent: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Return the outputs and the (rows, steps, width) tensors they are differentiable in; zeros when `silent`.

        The list is empty when the model hides where its inputs enter.
        """

    @abstractmethod
    def pieces(self, x: Tensor, sizes: list[int], mask: Tensor | None = None) -> tuple[Tensor, list[int]]:
        """Return the outputs of a sequence given in pieces, and the bytes of the state after each piece."""

    @abstractmethod
    def continued_twice(self, x: Tensor, cut: int) -> tuple[Tensor, Tensor] | None:
        """Return the outputs from `cut` on, twice from one and the same state; None where states are used up."""

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """Return the trained parameters by name."""
        named = [] if self.module is None else self.module.named_parameters()
        return [(name, p) for name, p in named if p.requires_grad]

    def steps(self, wanted: int) -> int:
        """Return `wanted`, or what the model accepts at most."""
        return int(min(wanted, self.longest))

    def converted(self, dtype: torch.dtype) -> "Subject":
        """Return a copy that computes in another precision."""
        other = copy.copy(self)
        other.module = None if self.module is None else copy.deepcopy(self.module).to(dtype)
        other.dtype = dtype
        return other

    @contextmanager
    def training(self) -> Iterator[None]:
        """Switch to training mode for a while."""
        if self.module is not None:
            self.module.train()
        yield
        if self.module is not None:
            self.module.eval()


def audited_copy(module: nn.Module) -> nn.Module:
    """Return a copy in float64 and evaluation mode whose parameters are moved by noise half their own size.

    At its start a model can hide a leak: two ways may cancel, a gate may stand at zero.
    """
    generator = torch.Generator().manual_seed(1)
    twin = plain_copy(module, torch.float64)
    with torch.no_grad():
        for parameter in twin.parameters():
            if parameter.is_floating_point():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.add_(_spread(parameter) * noise)
    return twin


def plain_copy(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Return a copy on the processor, in evaluation mode, of a model compiled or not."""
    original = getattr(module, "_orig_mod", module)
    return copy.deepcopy(original).to("cpu", dtype).eval()


def _spread(parameter: nn.Parameter) -> float:
    """Half the parameter's own size, but enough that a matrix of zeros passes signals on."""
    fan_in = parameter.shape[-1] if parameter.ndim > 1 else 25
    size = parameter.square().mean().sqrt().item() if parameter.numel() else 0.0
    return 0.5 * max(size, fan_in**-0.5)


def difference(got: Tensor, want: Tensor, scale: Tensor | None = None) -> float:
    """Return the largest difference over the root mean square of `scale` (of `want` by default); inf if not finite."""
    if got.shape != want.shape or not (got.isfinite().all() and want.isfinite().all()):
        return math.inf
    worst = (got - want).abs().max().item() if got.numel() else 0.0
    if worst == 0:
        return 0.0
    size = (want if scale is None else scale).square().mean().sqrt().item()
    return worst / size if size > 0 else math.inf
