"""Speed and memory of train steps."""

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from undula.bench.cases import TrainCase
from undula.bench.environment import make_records
from undula.bench.harness import Contestant, Timing, interleaved, measuring, peak_memory, precision, speedup
from undula.bench.peers import PACKAGES, TRAIN_PEERS
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.losses.config import LossConfig
from undula.models.backbone import collector
from undula.models.config import ModelConfig
from undula.models.language_model import build_language_model
from undula.optim.build import build_optimizer
from undula.optim.config import OptimConfig
from undula.training.objective import Objective

BATCHES = 4
"""Batches that take turns: enough that no cache knows the tokens, few enough to lie in memory."""


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """A model and the batches that it is trained on.

    Args:
        model: what is trained; the size that a peer is built at.
        peer: name of the peer that is trained instead; None: ours.
        batch_size, block_size: sequences in a step, tokens in a sequence.
        optim: the optimizer.
        loss: what is made small; of a peer always cross entropy.
        freq_limit: share of the frequencies that a curriculum lets through.
        settled: whether the model has chosen its harmonics.
    """

    model: ModelConfig
    peer: str | None = None
    batch_size: int
    block_size: int
    optim: OptimConfig = OptimConfig()
    loss: LossConfig = LossConfig()
    freq_limit: float = 1.0
    settled: bool = False

    def build(self) -> nn.Module:
        """Return the model."""
        if self.peer is not None:
            return TRAIN_PEERS[self.peer](self.model, self.block_size)
        model = build_language_model(self.model)
        if self.freq_limit < 1:
            model.set_freq_limit(self.freq_limit)
        if self.settled:
            model.settle()
        return model


@dataclass(frozen=True, kw_only=True)
class StepFigures:
    """What was measured of one model's train steps.

    Args:
        timing: of one step.
        tokens_per_second: tokens of a batch over the median time of a step.
        parameters: trained numbers.
        peak_bytes: rise of the peak of memory in the first step, optimizer included; None: not measured.
    """

    timing: Timing
    tokens_per_second: float
    parameters: int
    peak_bytes: int | None


def bench_train(name: str, case: TrainCase, setting: BenchSetting, memory: bool = True) -> list[Record]:
    """Return a record for each model of a case and each peer: tokens per second and how that compares with the peer.

    Args:
        name: the case's name, for the records.
        case: the models.
        setting: how to measure.
        memory: measure the peak of memory too, each in a process of its own.

    Raises:
        ValueError: for an unknown peer, or a device that is not there.
        ImportError: when a peer is not installed.
    """
    base = StepPlan(model=next(iter(case.models.values())), batch_size=case.batch_size, block_size=case.block_size)
    plans = {peer: replace(base, peer=peer) for peer in case.peers}
    plans |= {ours: replace(base, model=model) for ours, model in case.models.items()}
    figures = measure_steps(plans, setting, memory=memory)
    peer = figures[case.peers[0]]
    measured = [
        (
            {"case": name, "model": contestant, "peer": case.peers[0], "plan": to_dict(plans[contestant])},
            {**flat_figures(found), "ratio": speedup(found.timing, peer.timing)},
        )
        for contestant, found in figures.items()
    ]
    return make_records("train", measured, setting, peers=[PACKAGES[peer] for peer in case.peers])


def measure_steps(
    plans: Mapping[str, StepPlan], setting: BenchSetting, *, memory: bool = True
) -> dict[str, StepFigures]:
    """Return what train steps of several models take, measured in turns."""
    with measuring(setting):
        models = {name: plan.build().to(setting.device) for name, plan in plans.items()}
        steps = {name: Contestant(train_step(plan, models[name], setting)) for name, plan in plans.items()}
        timings = interleaved(steps, setting)
    parameters = {name: sum(p.numel() for p in model.parameters()) for name, model in models.items()}
    del models, steps
    return {
        name: StepFigures(
            timing=timings[name],
            tokens_per_second=plan.batch_size * plan.block_size / timings[name].median,
            parameters=parameters[name],
            peak_bytes=peak_memory(prepare_step, plan, setting, setting=setting) if memory else None,
        )
        for name, plan in plans.items()
    }


def flat_figures(found: StepFigures) -> dict[str, float | int | None]:
    """Return figures for a record."""
    named = {"tokens_per_second": found.tokens_per_second, "parameters": found.parameters}
    return {**named, "peak_bytes": found.peak_bytes, **found.timing.figures()}


def prepare_step(plan: StepPlan, setting: BenchSetting) -> Callable[[], None]:
    """Return a train step of a new model."""
    return train_step(plan, plan.build().to(setting.device), setting)


def train_step(plan: StepPlan, model: nn.Module, setting: BenchSetting) -> Callable[[], None]:
    """Return a train step as training does it: forward, loss, backward, clip, optimizer."""
    model.train()
    optimizer, objective = build_optimizer(model, plan.optim), Objective(plan.loss, model)
    batches = itertools.cycle(_batches(plan, torch.device(setting.device)))

    def step() -> None:
        tokens, layers = next(batches), []
        watched = {"on_layer": collector(layers)} if objective.asks(tokens[:, 1:]) else {}
        with precision(setting):
            scores = model(tokens[:, :-1], **watched)
        objective(SimpleNamespace(logits=scores, hidden_states=layers), tokens[:, 1:]).backward()
        nn.utils.clip_grad_norm_(model.parameters(), plan.optim.grad_clip)
        optimizer.step()
        optimizer.zero_grad()

    return step


def _batches(plan: StepPlan, device: torch.device) -> list[Tensor]:
    """Random tokens, the same for every model with as many of them."""
    generator = torch.Generator().manual_seed(0)
    shape = (plan.batch_size, plan.block_size + 1)
    drawn = [torch.randint(plan.model.vocab_size, shape, generator=generator) for _ in range(BATCHES)]
    return [tokens.to(device) for tokens in drawn]
