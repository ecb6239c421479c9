"""Time and parameters of stacks of blocks, one beside the other, forward and backward."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from undula.bench.environment import Config
from undula.bench.harness import Contestant, interleaved, precision, speedup
from undula.bench.setting import BenchSetting


def timed_stacks(
    models: Mapping[str, nn.Module], peer: str, width: int, shape: tuple[int, int], setting: BenchSetting
) -> list[tuple[Config, Config]]:
    """Return, for each stack, what it was and what was measured: the time of a pass forward and backward.

    Args:
        models: by name, each maps (B, T, width) to as much.
        peer: whose time ratios are against.
        width: of the sequences.
        shape: sequences in a batch, and steps of each.
        setting: how to measure.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(*shape, width, generator=generator).to(setting.device).requires_grad_()

    def both(model: nn.Module) -> Callable[[], None]:
        def run() -> None:
            x.grad = None
            model.zero_grad()
            with precision(setting):
                y = model(x)
            y.float().square().mean().backward()

        return run

    times = interleaved({label: Contestant(both(model)) for label, model in models.items()}, setting)
    return [
        (
            {"model": label, "peer": peer, "batch": shape[0], "length": shape[1]},
            {
                **times[label].figures(),
                "ratio": speedup(times[label], times[peer]),
                "parameters": sum(p.numel() for p in model.parameters()),
            },
        )
        for label, model in models.items()
    ]
