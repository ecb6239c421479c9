"""Names and functions of earlier code, for those who move to `WaveNativeOptimizer`."""

import warnings
from typing import Any

from torch import nn
from torch.optim import AdamW, Optimizer
from torch.optim.optimizer import ParamsT

from undula.optim.build import build_adamw, build_wave_native
from undula.optim.config import OptimConfig, WaveNativeConfig
from undula.optim.wave_native import WaveNativeOptimizer


class ResonantGradientDescent(WaveNativeOptimizer):
    """The former name of `WaveNativeOptimizer`; warns when it is constructed.

    Args:
        params, lr, damping, coherence_weight, weight_decay: as there.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float = 1e-3,
        damping: float = 0.1,
        coherence_weight: float = 0.7,
        weight_decay: float = 0.01,
    ) -> None:
        warnings.warn(
            "ResonantGradientDescent is deprecated; use WaveNativeOptimizer", DeprecationWarning, stacklevel=2
        )
        super().__init__(params, lr, damping, coherence_weight, weight_decay)


def create_physics_optimizer(
    model: nn.Module,
    lr: float = 3e-4,
    use_resonance: bool = True,
    resonance_strength: float = 0.3,
    warmup_steps: int = 500,
    weight_decay: float = 0.01,
) -> WaveNativeOptimizer | AdamW:
    """Return the optimizer that earlier code asks for, which warms up by itself.

    In step t = 1 .. warmup_steps the learning rate is lr t / warmup_steps, whatever a schedule has set; then it is left
    alone. The steps are counted in the optimizer's state, so that a resumed run goes on where it was.

    Args:
        model: what is trained; groups of parameters as in `build_optimizer`.
        lr: learning rate after the warm-up.
        use_resonance: WaveNativeOptimizer with the documented update; else AdamW.
        resonance_strength: coherence weight of the former.
        warmup_steps: 0 for none.
        weight_decay: on the weights of linear layers and embeddings alone.

    Raises:
        ValueError: for a value out of range.

    Source: Wave-Native GPT, compatibility functions.
    """
    if warmup_steps < 0:
        raise ValueError(f"warmup_steps={warmup_steps}; wanted 0 or more")
    betas = OptimConfig().betas
    if use_resonance:
        config = WaveNativeConfig(coherence_weight=resonance_strength, refresh=1, project_every=1)
        optimizer = build_wave_native(model, config, lr=lr, weight_decay=weight_decay, beta2=betas[1])
    else:
        optimizer = build_adamw(model, lr=lr, weight_decay=weight_decay, betas=betas)
    if warmup_steps:
        warm_up(optimizer, lr, warmup_steps)
    return optimizer


def warm_up(optimizer: Optimizer, lr: float, steps: int) -> None:
    """Have the learning rate grow in proportion to the steps made, up to `lr` in step `steps`.

    Args:
        optimizer: one that counts `step` in its state.
        lr: the highest.
        steps: how many.
    """

    def set_rate(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        step = 1 + max((int(state["step"]) for state in optimizer.state.values()), default=0)
        if step <= steps:
            for group in optimizer.param_groups:
                group["lr"] = lr * step / steps

    optimizer.register_step_pre_hook(set_rate)
