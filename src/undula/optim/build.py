"""The optimizer and the learning rate of each step."""

import math
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from undula.config import to_dict
from undula.optim.config import OptimConfig, WaveNativeConfig
from undula.optim.wave_native import WaveNativeOptimizer

FUSED = ("cpu", "cuda", "mps")
"""Devices with a fused AdamW; on a CPU it takes a fifth of the time of the plain one (35 tensors, 0.8 M numbers)."""


def decay_groups(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Return the parameters that decay and those that do not; each once, however often it is shared.

    Matrices decay: the `weight` of every `nn.Linear` and `nn.Embedding`. All else keeps its size: biases and gains of
    norms, and what describes a filter or a wave (decays, frequencies, amplitudes, taps), for which zero is not
    "nothing" but a certain memory or pitch, whatever the shape it is stored in.
    """
    matrices = {m.weight for m in model.modules() if isinstance(m, nn.Linear | nn.Embedding)}
    trained = [p for p in model.parameters() if p.requires_grad]
    return [p for p in trained if p in matrices], [p for p in trained if p not in matrices]


def build_optimizer(model: nn.Module, config: OptimConfig) -> AdamW | WaveNativeOptimizer:
    """Return the optimizer of `config.kind` over the parameters that are trained, in groups by what is done to them."""
    if config.kind == "wave_native":
        return build_wave_native(
            model, config.wave_native, lr=config.learning_rate, weight_decay=config.weight_decay, beta2=config.betas[1]
        )
    return build_adamw(model, lr=config.learning_rate, weight_decay=config.weight_decay, betas=config.betas)


def build_adamw(model: nn.Module, *, lr: float, weight_decay: float, betas: tuple[float, float]) -> AdamW:
    """Return AdamW over the parameters that are trained, in two groups: decaying, not decaying.

    Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", arXiv 1711.05101.
    """
    decaying, others = decay_groups(model)
    fused = all(p.device.type in FUSED and torch.is_floating_point(p) for p in decaying + others)
    groups = _groups((decaying, {"weight_decay": weight_decay}), (others, {"weight_decay": 0.0}))
    return AdamW(groups, lr=lr, betas=betas, fused=fused)


def build_wave_native(
    model: nn.Module, config: WaveNativeConfig, *, lr: float, weight_decay: float, beta2: float
) -> WaveNativeOptimizer:
    """Return a WaveNativeOptimizer over the parameters that are trained.

    In three groups: the weights of `nn.Linear`, whose gradients are projected; embeddings, which only decay, since a
    projection would mix the rows of different tokens (a matrix that is both is an embedding); and all else, which
    neither is projected nor decays.
    """
    decaying, others = decay_groups(model)
    tables = {m.weight for m in model.modules() if isinstance(m, nn.Embedding)}
    groups = _groups(
        ([p for p in decaying if p not in tables], {"coherent": True}),
        ([p for p in decaying if p in tables], {"coherent": False}),
        (others, {"coherent": False, "weight_decay": 0.0}),
    )
    return WaveNativeOptimizer(groups, lr=lr, weight_decay=weight_decay, beta2=beta2, **to_dict(config))


def _groups(*groups: tuple[list[nn.Parameter], dict[str, Any]]) -> list[dict[str, Any]]:
    """Groups that hold anything."""
    return [{"params": parameters, **options} for parameters, options in groups if parameters]


def learning_rate(step: int, steps: int, config: OptimConfig) -> float:
    """Return the learning rate of a step, the first being 0.

    Warm-up: top (step + 1) / w for step < w; then least + (top - least) (1 + cos(pi (step - w) / (steps - w))) / 2,
    and least from `steps` on.
    """
    top, least, warm = config.learning_rate, config.min_learning_rate, config.warmup_steps
    if step < warm:
        return top * (step + 1) / warm
    done = min(1.0, (step - warm) / max(1, steps - warm))
    return least + 0.5 * (1 + math.cos(math.pi * done)) * (top - least)


def build_schedule(optimizer: torch.optim.Optimizer, config: OptimConfig, steps: int) -> LambdaLR:
    """Return the schedule that sets `learning_rate(step, steps, config)` before each step."""
    return LambdaLR(optimizer, lambda step: learning_rate(step, steps, config) / config.learning_rate)
