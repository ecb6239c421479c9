"""One report of all that can be checked of a model, its text and its training; and a test of the checks themselves."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from undula.audit.run import MODEL_AUDITS, audit_language_model
from undula.data.build import Prepared, prepare
from undula.data.stream import EvalWindows, TrainWindows
from undula.experiments.baselines import BaselineEvaluator
from undula.experiments.run import load_run, read_metrics
from undula.nn.wavelet import EnhancedWaveletTransform
from undula.nn.wavelet_basis import WaveletBasis
from undula.training.config import TrainConfig
from undula.training.spectral_gap import features_of
from undula.validation.batches import BatchScore, evaluate_batches
from undula.validation.dataset import DatasetValidator
from undula.validation.perplexity import Perplexity, PerplexityValidator, project_perplexity
from undula.validation.report import Check, Report, check, of_finding, skipped
from undula.validation.spectral_gap import SpectralGapAnalyzer

PASSAGE_TOKENS, PASSAGE_BYTES = 32, 128
"""A shared passage has at least so many tokens, and so many bytes: shorter ones are phrases that everybody uses."""
OVERLAP = 0.05
"""Share of the held-out tokens in shared passages above which a score on them means nothing."""
CONSTRUCTED = 200
"""Windows whose construction is read."""
COUNTED = 2**17
"""Tokens of the training text that are counted."""
RECONSTRUCTION = 1e-4
"""Error of a wavelet transform and its inverse, in float32, relative to the signal."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How much is checked.

    Args:
        batch_size: windows in one forward pass.
        seq_length: tokens of a window; None: the run's.
        overlap_check_samples: windows of held-out text that are looked for in training; None: all of it.
        baseline_steps: batches that each baseline is trained on; 0: no baselines.
        baseline_windows: held-out windows that the model and baselines are compared on.
        audits: names of the audits to run.
        gap_windows: held-out windows whose features' spectral gap is measured; 0: none.

    Raises:
        ValueError: for a number out of range.
    """

    batch_size: int = 8
    seq_length: int | None = None
    overlap_check_samples: int | None = None
    baseline_steps: int = 0
    baseline_windows: int = 64
    audits: tuple[str, ...] = MODEL_AUDITS
    gap_windows: int = 0

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("baseline_steps", 0), ("baseline_windows", 2), ("gap_windows", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; wanted at least {least}")
        for name in ("seq_length", "overlap_check_samples"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}; wanted at least 1")


class Pairs(Dataset[tuple[Tensor, Tensor]]):
    """Windows of ours as pairs of inputs and targets, the first so many of them.

    Args:
        windows: have `input_ids` and `shift_labels`.
        length: how many.
    """

    def __init__(self, windows: EvalWindows | TrainWindows, length: int) -> None:
        self.windows, self.length = windows, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(f"window {index} of {self.length}")
        window = self.windows[index]
        return window["input_ids"], window["shift_labels"]


def validate_run(folder: Path, options: Options | None = None, *, cache_dir: Path | None = None) -> Report:
    """Return the report of a run's newest model on the text that it holds out.

    Args:
        folder: the run's folder.
        options: how much is checked.
        cache_dir: where prepared corpora are kept.

    Raises:
        FileNotFoundError: when the folder is no run, or has no checkpoint yet.
        ValueError: when a task of made-up text was trained: it has no held-out text.
    """
    chosen = options or Options()
    run = load_run(folder)
    prepared = prepare(run.config.data, cache_dir)
    if prepared.task is not None:
        raise ValueError(f"{folder} was trained on {run.config.data.source}; wanted a run on text")
    report = validate_model(run.model, prepared, chosen)
    losses = [line["validation_loss"] for line in read_metrics(folder) if line.get("validation_loss") is not None]
    trend = check_trend([math.exp(min(700.0, float(v or 0.0))) for v in losses])
    return Report([*report.checks, check_steps(run.config, prepared, run.checkpoint.step), trend])


def validate_model(model: nn.Module, prepared: Prepared, options: Options) -> Report:
    """Return the report of a causal language model on a prepared corpus."""
    windows = text_windows(prepared, options.seq_length)
    whole = windows.num_predicted // windows.block_size
    pairs = Pairs(windows, whole)
    audits = audit_language_model(model, prepared.vocab_size, audits=options.audits)
    score = evaluate_batches(model, DataLoader(pairs, options.batch_size))
    return Report(
        [
            check_perplexity(),
            check_overlap(prepared, options.overlap_check_samples, windows.block_size),
            check_construction(Pairs(windows, min(whole, CONSTRUCTED)), windows.block_size),
            *[of_finding(finding) for finding in audits],
            *[skipped(name, "critical", "not asked for") for name in MODEL_AUDITS if name not in options.audits],
            check_reconstruction(model),
            *check_score(score, prepared.vocab_size),
            *_compared(model, prepared, pairs, options),
            *([check_gap(model, pairs, options.gap_windows)] if options.gap_windows else []),
        ]
    )


def check_perplexity(compute: Perplexity = project_perplexity) -> Check:
    """Return whether perplexity is computed rightly."""
    passed = PerplexityValidator().test_perplexity_calculation(compute)
    return check("perplexity calculation", passed, "critical", "known cases right, known mistakes noticed")


def check_overlap(prepared: Prepared, samples: int | None, length: int) -> Check:
    """Return whether the held-out text is apart from training: at most 5 % of its tokens in passages of both."""
    stream = prepared.train
    bytes_per_token = max(1e-9, stream.byte_count() / len(stream))
    passage = max(PASSAGE_TOKENS, math.ceil(PASSAGE_BYTES / bytes_per_token))
    held_out: Any = prepared.validation
    if samples is not None:
        windows = text_windows(prepared, max(length, passage))
        whole = windows.num_predicted // windows.block_size
        held_out = Pairs(windows, whole)
    if min(len(stream), len(prepared.validation)) < passage:
        return skipped("dataset overlap", "critical", f"a text is shorter than a passage of {passage} tokens")
    found = DatasetValidator().check_dataset_overlap(stream, held_out, samples, passage)
    share = found["overlap_percentage"]
    evidence = f"share of held-out tokens in passages of {passage} tokens that training has; {found['assessment']}"
    return check("dataset overlap", share <= OVERLAP, "critical", evidence, share, threshold=OVERLAP)


def check_construction(pairs: Dataset[tuple[Tensor, Tensor]], length: int) -> Check:
    """Return whether windows stand side by side, their targets shifted by one."""
    found = DatasetValidator().verify_sequence_construction(pairs, length, length)
    evidence = f"{found['total_samples']} windows read: {found['construction_quality']}"
    return check("sequence construction", found["construction_quality"] == "excellent", "critical", evidence)


def check_steps(config: TrainConfig, prepared: Prepared, step: int) -> Check:
    """Return whether a run made all the steps that it was to make, of windows that are there."""
    windows = config.steps * config.batch_size * config.accumulation
    given = prepared.train_windows(seed=config.seed, length=windows)
    found = DatasetValidator().validate_training_steps(given, config.batch_size * config.accumulation, config.steps)
    passes = windows * config.data.block_size / len(prepared.train)
    evidence = f"steps of {config.steps} in the newest checkpoint; all of them read the text {passes:.2f} times"
    passed = found["validation_passed"] and step == config.steps
    return check("training steps", passed, "warning", evidence, step, threshold=config.steps)


def check_reconstruction(model: nn.Module) -> Check:
    """Return whether every wavelet transform in a model has its inverse, with the filters that it has learned."""
    name = "reconstruction"
    transforms = [part for part in model.modules() if isinstance(part, EnhancedWaveletTransform)]
    trees = [part for part in model.modules() if isinstance(part, WaveletBasis)]
    if trees and not transforms:
        return _check_bases(name, trees)
    if not transforms:
        return skipped(name, "critical", "not claimed: no wavelet transform in the model", claimed=False)
    draw = torch.Generator().manual_seed(0)
    worst = 0.0
    with torch.no_grad():
        for part in transforms:
            x = torch.randn(2, 127, 3, generator=draw)
            error = (part.inverse(*part(x)) - x).abs().max() / x.abs().max()
            worst = max(worst, error.item()) if math.isfinite(error.item()) else math.inf
    evidence = f"largest error of {len(transforms)} transforms and their inverses, relative to the signal"
    return check(name, worst <= RECONSTRUCTION, "critical", evidence, worst, threshold=RECONSTRUCTION)


def _check_bases(name: str, trees: list[WaveletBasis]) -> Check:
    """Whether the low pass of each level belongs to an orthogonal wavelet: sum_k h_k h_(k + 2 m) is 1 for m = 0, or 0.

    A tree that halves nothing adds up to its signal whatever its filters are; that says nothing about them.
    """
    worst = 0.0
    with torch.no_grad():
        for low in (row for tree in trees for row in tree(torch.device("cpu"))):
            products = torch.stack([(low[2 * m :] * low[: len(low) - 2 * m]).sum() for m in range(-(-len(low) // 2))])
            products[0] -= 1
            error = products.abs().max().item()
            worst = max(worst, error) if math.isfinite(error) else math.inf
    evidence = f"how far the filters of {len(trees)} wavelet trees are from those of an orthogonal wavelet"
    return check(name, worst <= RECONSTRUCTION, "critical", evidence, worst, threshold=RECONSTRUCTION)


def check_gap(model: nn.Module, pairs: Pairs, count: int) -> Check:
    """Return the spectral gap of the features of windows: small where groups of positions hardly touch."""
    ids = torch.stack([pairs[i][0] for i in range(min(count, len(pairs)))])
    found = SpectralGapAnalyzer().analyze(features_of(model, ids))
    gap, low, high = (found[name] for name in ("spectral_gap", "cheeger_low", "cheeger_high"))
    evidence = (
        f"of the features of {len(ids)} windows; {found['groups']:.1f} groups in {found['parts']:.1f} parts, the best "
        f"cut has a conductance of {low:.3f} to {high:.3f}"
    )
    return check("spectral gap", math.isfinite(gap), "info", evidence, gap)


def check_score(score: BatchScore, vocab_size: int) -> list[Check]:
    """Return whether the held-out loss is better than chance, and not better than text allows."""
    loss, chance = score.metrics.loss, math.log(vocab_size)
    told = PerplexityValidator().get_perplexity_interpretation(score.metrics.perplexity, vocab_size)
    low, high = score.interval()
    evidence = f"nats per token, 95 % interval {low:.4f} to {high:.4f}; {told['quality']}; {told['context']}"
    suspicious = told["quality"].startswith("suspicious")
    return [
        check("better than chance", loss < chance, "critical", evidence, loss, threshold=chance),
        check("plausible loss", math.isfinite(loss) and not suspicious, "critical", evidence, loss),
    ]


def text_windows(prepared: Prepared, length: int | None) -> EvalWindows:
    """Return windows of the held-out text, of a length or of the run's.

    Raises:
        ValueError: when there is no such text, but a task.
    """
    windows = prepared.eval_windows(length)
    if not isinstance(windows, EvalWindows):
        raise ValueError(f"{prepared.config.source} is made up as it is read; wanted a text that is held out")
    return windows


def check_trend(history: list[float]) -> Check:
    """Return whether the held-out perplexity fell during training."""
    found = PerplexityValidator().analyze_perplexity_trends(history)
    name, evidence = "training trend", f"{found['trend']} over {len(history)} scores"
    if found["trend"] == "insufficient_data":
        return skipped(name, "info", evidence, claimed=False)
    return check(name, found["trend"] in ("improving", "stable"), "warning", evidence)


def _compared(model: nn.Module, prepared: Prepared, pairs: Pairs, options: Options) -> list[Check]:
    """The model beside counts and trained transformers, on the same windows."""
    names = ("better than counting", "better than baselines")
    size, batch = pairs.windows.block_size, options.batch_size
    val = DataLoader(Pairs(pairs.windows, min(len(pairs), options.baseline_windows)), batch)
    counted = TrainWindows(prepared.train, size, seed=0, length=max(1, COUNTED // size))
    score, evaluator = evaluate_batches(model, val), BaselineEvaluator()
    floors = evaluator.evaluate_floors(
        DataLoader(Pairs(counted, len(counted)), batch), val, prepared.vocab_size, order=3
    )
    loss, floor = score.metrics.loss, min(found["loss"] for found in floors.values())
    told = ", ".join(f"{name} {found['loss']:.3f}" for name, found in floors.items())
    counting = check(
        names[0], loss < floor, "warning", f"nats per token, against counts of tokens: {told}", loss, threshold=floor
    )
    if not options.baseline_steps:
        return [counting, skipped(names[1], "info", "not asked for: baseline_steps=0", claimed=False)]
    train_windows = TrainWindows(prepared.train, size, seed=0, length=options.baseline_steps * batch)
    train = DataLoader(Pairs(train_windows, len(train_windows)), batch)
    baselines = evaluator.evaluate_multiple_baselines(
        val, prepared.vocab_size, size, train_loader=train, train_steps=options.baseline_steps
    )
    parameters = sum(p.numel() for p in model.parameters())
    ours = {**score.to_dict(), "parameters": parameters, "sequence_nats": score.sequence_nats.tolist()}
    analysis = evaluator.compare_with_spectralllm(ours, baselines)["analysis"]
    best, interval = analysis["best_baseline"], analysis["spectral_vs_best"]["difference_interval"]
    told = f"{best}, {options.baseline_steps} batches; difference {interval}"
    better = analysis["overall_assessment"]["better_than_best_baseline"]
    return [counting, check(names[1], better, "info", told, loss, threshold=baselines[best]["loss"])]
