"""How much each position counts at each other one, in every layer of a language model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from undula.mixers.base import Mixer

PROBES = 4
"""Random output directions from which the weights of a mixer without weights of its own are estimated."""
TOKENS_AT_ONCE = 2**13
"""Tokens that go through a layer at a time."""


class _ReachedError(Exception):
    """Ends a pass: the first layer has its input, and nothing after it is needed."""


def layers_of(model: nn.Module) -> nn.ModuleList:
    """Return the stack of blocks, each of which holds its mixer as `attn`.

    Raises:
        ValueError: when the model has none.
    """
    for part in model.modules():
        if isinstance(part, nn.ModuleList) and len(part) and all(isinstance(_mixer(layer), Mixer) for layer in part):
            return part
    raise ValueError(
        f"{type(model).__name__} has no list of layers that hold a mixer; give a WaveGPT or a language model of undula"
    )


def _mixer(layer: nn.Module) -> Any:
    return getattr(layer, "attn", None)


@contextmanager
def _seen_by(parts: list[nn.Module], stop: bool) -> Iterator[list[Tensor]]:
    """Collect the first argument of each part's call; with `stop` the first call ends the pass."""
    inputs: list[Tensor] = []

    def look(part: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        inputs.append((args[0] if args else named["x"]).detach())
        if stop:
            raise _ReachedError

    hooks = [part.register_forward_pre_hook(look, with_kwargs=True) for part in parts]
    try:
        with torch.no_grad():
            yield inputs
    except _ReachedError:
        pass
    finally:
        for hook in hooks:
            hook.remove()


def first_input(model: nn.Module, ids: Tensor) -> Tensor:
    """Return what the first layer gets, (B, T, D)."""
    with _seen_by([layers_of(model)[0]], stop=True) as inputs:
        model(ids)
    return inputs[0]


def mixing_weights(model: nn.Module, ids: Tensor) -> list[Tensor]:
    """Return how much position s counts at position t in each layer, (B, heads, T, T), all from one pass.

    A mixer's own weights where it has any, |d out_t / d in_s| where it has none.
    """
    mixers = [_mixer(layer) for layer in layers_of(model)]
    with _seen_by(mixers, stop=False) as inputs:
        model(ids)
    return [_weights(mixer, x) for mixer, x in zip(mixers, inputs, strict=True)]


def _weights(mixer: Mixer, x: Tensor) -> Tensor:
    own = getattr(mixer, "get_interference_weights", None)
    if own is not None:
        with torch.no_grad():
            return own(x)
    steps = x.shape[1]
    direction = torch.randn(PROBES, x.shape[2], generator=torch.Generator().manual_seed(0)).to(x)
    # Every query has a copy of the sequence of its own, so that one backward pass answers for many.
    sizes = []
    for row in x:
        pieces = torch.arange(steps).split(max(1, TOKENS_AT_ONCE // steps))
        sizes.append(torch.cat([_influence(mixer, row, queries, direction) for queries in pieces]))
    return torch.stack(sizes)[:, None]


def _influence(mixer: Mixer, row: Tensor, queries: Tensor, directions: Tensor) -> Tensor:
    """Root mean square over directions u of |u . d out_t / d in_s| for some queries t, (queries, T)."""
    copies = row.expand(len(queries), -1, -1).clone().requires_grad_()
    with torch.enable_grad():
        out = mixer(copies)[torch.arange(len(queries)), queries]
        squares = [
            torch.autograd.grad((out @ u).sum(), copies, retain_graph=True)[0].square().sum(-1) for u in directions
        ]
    return torch.stack(squares).mean(0).sqrt()
