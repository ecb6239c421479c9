"""Time and memory of an optimizer's step, beside AdamW."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from undula.bench.cases import OptimizerCase
from undula.bench.environment import make_records
from undula.bench.harness import Contestant, Timing, interleaved, measuring, speedup
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.models.language_model import build_language_model
from undula.optim.build import build_wave_native
from undula.optim.config import WaveNativeConfig

LR = 1e-4
PEER = "AdamW fused"


@dataclass(frozen=True, kw_only=True)
class Subject:
    """An optimizer to be timed.

    Args:
        build: makes what has its `step`, from a model.
        steps: steps in one round: as many as lie between two refreshes, so that each round holds one of them.
    """

    build: Callable[[nn.Module], "Optimizer | BySVD"]
    steps: int = 1


def bench_optimizers(name: str, case: OptimizerCase, setting: BenchSetting) -> list[Record]:
    """Return a record for each optimizer: the time of a step, without the gradients, and the bytes of its state.

    Args:
        name: the case's name, for the records.
        case: the model.
        setting: how to measure.

    Raises:
        ValueError: for a device that is not there.
    """
    with measuring(setting) as device:
        optimizers = {subject: SUBJECTS[subject].build(_model(case, device)) for subject in SUBJECTS}
        rounds = {s: Contestant(_round(optimizer, SUBJECTS[s].steps)) for s, optimizer in optimizers.items()}
        times = {s: _of_a_step(timing, SUBJECTS[s].steps) for s, timing in interleaved(rounds, setting).items()}
    parameters = sum(p.numel() for p in build_language_model(case.model).parameters())
    measured = [
        (
            {"case": name, "model": subject, "peer": PEER, "sizes": to_dict(case.model)},
            {
                **times[subject].figures(),
                "ratio": speedup(times[subject], times[PEER]),
                "parameters": parameters,
                "state_bytes": sum(value.nbytes for value in _tensors(optimizer.state)),
            },
        )
        for subject, optimizer in optimizers.items()
    ]
    return make_records("optimizers", measured, setting)


class BySVD:
    """The documented update of WaveNativeOptimizer as it is written: an SVD of every matrix in every step.

    Args:
        model: whose parameters are moved, embeddings too.
    """

    def __init__(self, model: nn.Module) -> None:
        self.state = {p: {"velocity": torch.zeros_like(p)} for p in model.parameters()}
        self.options = WaveNativeConfig()

    @torch.no_grad()
    def step(self) -> None:
        """Move the parameters."""
        share, keep = self.options.coherence_weight, 1 - self.options.damping
        for p, state in self.state.items():
            g = torch.zeros_like(p) if p.grad is None else p.grad
            if p.ndim == 2:
                u, _, vh = torch.linalg.svd(p, full_matrices=False)
                g = share * (u @ (u.mT @ g @ vh.mT) @ vh) + (1 - share) * g
            state["velocity"].mul_(keep).sub_(g, alpha=LR)
            p.add_(state["velocity"])


def _adamw(*, fused: bool | None = None, foreach: bool | None = None) -> Callable[[nn.Module], Optimizer]:
    return lambda model: AdamW(model.parameters(), lr=LR, fused=fused, foreach=foreach)


def _wave_native(config: WaveNativeConfig) -> Subject:
    def build(model: nn.Module) -> Optimizer:
        return build_wave_native(model, config, lr=LR, weight_decay=0.01, beta2=0.99)

    return Subject(build=build, steps=config.refresh)


SUBJECTS: Mapping[str, Subject] = {
    PEER: Subject(build=_adamw(fused=True)),
    "AdamW foreach": Subject(build=_adamw(foreach=True)),
    "AdamW loop": Subject(build=_adamw(foreach=False)),
    "WaveNative": _wave_native(WaveNativeConfig()),
    "WaveNative project_every=1": _wave_native(WaveNativeConfig(project_every=1)),
    "WaveNative as documented": _wave_native(WaveNativeConfig(project_every=1, refresh=1)),
    "WaveNative rank=32": _wave_native(WaveNativeConfig(rank=32)),
    "WaveNative adaptive": _wave_native(WaveNativeConfig(project_every=1, adaptive=True)),
    "WaveNative by SVD": Subject(build=BySVD),
}
"""What is timed; WaveNative is what `kind=wave_native` gives a training run."""


def _model(case: OptimizerCase, device: torch.device) -> nn.Module:
    """The case's model with gradients, all the same for every optimizer."""
    torch.manual_seed(0)
    model = build_language_model(case.model).to(device)
    for p in model.parameters():
        p.grad = 1e-3 * torch.randn_like(p)
    return model


def _round(optimizer: "Optimizer | BySVD", steps: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(steps):
            optimizer.step()

    return run


def _of_a_step(timing: Timing, steps: int) -> Timing:
    return Timing(wall=tuple(t / steps for t in timing.wall), cpu=tuple(t / steps for t in timing.cpu))


def _tensors(state: Mapping[Any, Mapping[str, object]]) -> Iterator[Tensor]:
    return (value for values in state.values() for value in values.values() if isinstance(value, Tensor))
