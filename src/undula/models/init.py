"""Start values: the one place that decides them for projections and embeddings.

Filters and other parameters with a meaning of their own start in the module that owns them.
"""

import torch
from torch import nn

RESIDUAL_OUTPUTS = ("out_proj", "w2", "linear2")
"""Names of the projections that write into the residual stream."""

FEED_FORWARD = ("w1", "w3", "linear1")
"""Names of the projections into the hidden layer of a feed-forward."""

CODEC = {"expand", "linears", "from_wave", "to_wave", "from_patch", "from_place", "from_sense"}
"""Names of the projections between tokens and waves, and from what senses give: nothing normalises their input, so
they must keep its size."""


def initialise(model: nn.Module, num_layers: int, std: float = 0.02) -> None:
    """Fill linear and embedding weights from a normal distribution, biases with zero.

    Projections that write into the residual stream start smaller, by 1 / sqrt(2 num_layers), so that its variance does
    not grow with depth. Projections into a feed-forward start with 1 / (2 sqrt(width)): near 0.02 at the widths of
    GPT-2, larger in narrow models, where attention otherwise learns slowly. Projections between tokens and waves start
    with 1 / sqrt(width).

    Source: Radford et al., "Language Models are Unsupervised Multitask Learners" (GPT-2), section 2.3.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=_spread(name, module, num_layers, std))
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


@torch.no_grad()
def quieten(model: nn.Module, share: float) -> None:
    """Leave that share of what projections write into the residual stream, so that a new stack is near the identity."""
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear) and name.split(".")[-1] in RESIDUAL_OUTPUTS:
            module.weight.mul_(share)


def _spread(name: str, module: nn.Linear | nn.Embedding, num_layers: int, std: float) -> float:
    path = name.split(".")
    if path[-1] in RESIDUAL_OUTPUTS:
        # A stack of pyramids alone has no block.
        return std / (2 * max(num_layers, 1)) ** 0.5
    if path[-1] in FEED_FORWARD:
        return 0.5 * module.weight.shape[1] ** -0.5
    if CODEC.intersection(path):
        return module.weight.shape[1] ** -0.5
    return std
