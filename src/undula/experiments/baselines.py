"""What a language model has to beat: counts of words, and plain causal transformers, trained and scored alike."""

import logging
import math
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from undula.models.wave_gpt import WaveGPT, WaveGPTConfig
from undula.ops.metrics import IGNORED, Metrics
from undula.optim.config import OptimConfig
from undula.training.config import RunConfig
from undula.training.loader import LoaderTask, LoaderTrainer
from undula.training.state import kept_rng
from undula.validation.batches import BatchScore, Scorer, bootstrap, evaluate_batches, pair_of
from undula.validation.results import save_results

SIZES = {"tiny": (128, 2, 4, 512), "small": (256, 4, 8, 1024), "medium": (384, 6, 12, 1536)}
"""Width, layers, heads and hidden width of each baseline."""
RATE = 0.064
"""Learning rate times width: Adam's best rate falls as such a model gets wider (Yang et al., arXiv 2203.03466)."""
WARM_UP = 0.1
TRAIN_STEPS = 200
TIMED = 3
DISCOUNT = 0.75
"""What absolute discounting takes from every count."""

log = logging.getLogger(__name__)


class BaselineEvaluator:
    """Trains plain causal transformers on the same batches, scores them on the same text, and compares.

    Args:
        device: "cpu", or another for the accelerator; None: an accelerator where there is one.
        logger: told what is compared; by default this module's.

    Source: SpectralLLM, reference document, "BaselineEvaluator".
    """

    def __init__(self, device: str | None = None, logger: logging.Logger | None = None) -> None:
        self.device, self.log = device, logger or log

    def evaluate_multiple_baselines(
        self,
        val_loader: DataLoader[Any],
        vocab_size: int,
        seq_length: int = 512,
        *,
        train_loader: DataLoader[Any] | None = None,
        train_steps: int = TRAIN_STEPS,
        seeds: tuple[int, ...] = (0,),
        learning_rate: float | None = None,
    ) -> dict[str, dict[str, Any]]:
        """Return for "tiny", "small" and "medium" what each reached after `train_steps` batches.

        Softmax attention with rotary positions, RMSNorm and SwiGLU. With several seeds the loss is the median seed's.
        Without `train_loader` or steps they are untrained, say so, and take no part in a verdict.

        Args:
            val_loader: pairs (inputs, targets) to score on.
            vocab_size: number of tokens.
            seq_length: longest window.
            train_loader: pairs to train on; gone through again when it ends.
            train_steps: batches.
            seeds: of start values and order.
            learning_rate: at the peak; None: 0.064 / width. A fair comparison tunes it with as much effort as the
                model's.

        Raises:
            ValueError: for no seed, or negative steps.
        """
        if not seeds or train_steps < 0:
            raise ValueError(f"seeds={seeds}, train_steps={train_steps}; wanted at least one seed and 0 or more steps")
        steps = 0 if train_loader is None else train_steps
        if steps == 0:
            self.log.warning("baselines are untrained; give train_loader and train_steps for a comparison")
        found = {}
        for name, (width, *_) in SIZES.items():
            rate = learning_rate or RATE / width
            train = None
            if train_loader is not None and steps:
                train = partial(train_steps_of, loader=train_loader, steps=steps, rate=rate)
            found[name] = self._baseline(name, vocab_size, seq_length, seeds, train, val_loader)
            found[name] |= {"untrained": steps == 0, "train_steps": steps}
        return found

    def _baseline(
        self,
        name: str,
        vocab_size: int,
        seq_length: int,
        seeds: tuple[int, ...],
        train: Callable[..., None] | None,
        val: DataLoader[Any],
    ) -> dict[str, Any]:
        """One size, once for each seed; the median seed's numbers, and the losses of all."""
        width, layers, heads, hidden = SIZES[name]
        config = WaveGPTConfig(
            vocab_size=vocab_size,
            d_model=width,
            num_layers=layers,
            num_heads=heads,
            d_ff=hidden * 2 // 3,
            model_type="standard",
            use_interference_attention=False,
            block_size=seq_length,
            dropout=0.0,
        )
        runs = [self._trained(config, train, seed, val) for seed in seeds]
        runs.sort(key=lambda run: run[0]["loss"])
        middle, score = runs[(len(runs) - 1) // 2]
        return {
            "model_name": name,
            **middle,
            "loss_interval": list(score.interval()),
            "seed_losses": [told["loss"] for told, _ in runs],
            "sequence_nats": score.sequence_nats.tolist(),
            "sequence_tokens": score.sequence_tokens.tolist(),
        }

    def evaluate_floors(
        self, train_loader: DataLoader[Any], val_loader: DataLoader[Any], vocab_size: int, order: int = 3
    ) -> dict[str, dict[str, float]]:
        """Return what counts reach: "unigram", and "ngram" of `order` with interpolated absolute discounting."""
        return {
            name: count_floor(count_model_score(train_loader, val_loader, vocab_size, n))
            for name, n in (("unigram", 1), ("ngram", order))
        }

    def compare_with_spectralllm(
        self, spectral_metrics: Mapping[str, Any], baselines: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        """Return the model beside the best and the most similar baseline.

        Where both tell `sequence_nats` of the same sequences, the difference in nats per token has a paired bootstrap
        interval, and "better" means that all of it lies below 0; else that the loss is lower.

        Args:
            spectral_metrics: `loss` or `perplexity`, with `val_` before them or not, and `parameters` if known.
            baselines: of `evaluate_multiple_baselines`; untrained ones do not count.

        Raises:
            ValueError: when the model's metrics tell neither loss nor perplexity, or no baseline was trained.
        """
        loss = _loss_of(spectral_metrics)
        trained = {name: m for name, m in baselines.items() if not m.get("untrained", False)}
        if not trained:
            raise ValueError("no baseline was trained; give train_loader and train_steps, or there is no verdict")
        best = min(trained, key=lambda name: _loss_of(trained[name]))
        size = spectral_metrics.get("parameters")
        near = None
        if size:
            near = min(trained, key=lambda name: abs(math.log(trained[name]["parameters"] / size)))
        losses = sorted(_loss_of(m) for m in trained.values())
        against = _against(spectral_metrics, loss, trained[best])
        tier = "worst" if loss > losses[-1] else "above_median" if loss <= statistics.median(losses) else "below_median"
        return {
            "spectralllm": dict(spectral_metrics),
            "baselines": {name: dict(m) for name, m in baselines.items()},
            "analysis": {
                "best_baseline": best,
                "spectral_vs_best": against,
                "similar_size_baseline": near,
                "spectral_vs_similar": None if near is None else _against(spectral_metrics, loss, trained[near]),
                "overall_assessment": {
                    "better_than_best_baseline": against["spectral_better"],
                    "performance_tier": "best" if against["spectral_better"] else tier,
                },
            },
        }

    def save_baseline_results(
        self, results: Mapping[str, Any], output_dir: str | Path, timestamp: str | None = None
    ) -> Path:
        """Write baseline_evaluation_<time>.json, NaN as null; return its path."""
        return save_results(results, output_dir, "baseline_evaluation", timestamp)

    def _trained(
        self, config: WaveGPTConfig, train: Callable[..., None] | None, seed: int, val: DataLoader[Any]
    ) -> tuple[dict[str, Any], BatchScore]:
        with kept_rng():
            torch.manual_seed(seed)
            model = WaveGPT(config)
            if train is not None:
                train(model, seed=seed, device=self.device)
            start = time.perf_counter()
            score = evaluate_batches(model, val)
            told: dict[str, Any] = {**score.to_dict()}
            told["eval_time"] = time.perf_counter() - start
            told["tokens_per_sec"] = speed(model, val)
            told["parameters"] = sum(p.numel() for p in model.parameters())
        return told, score


def train_steps_of(
    model: nn.Module, *, loader: DataLoader[Any], steps: int, seed: int, rate: float, device: str | None = None
) -> None:
    """Train a model in place on so many batches of a loader, with the trainer that all runs have; nothing is kept."""
    optim = OptimConfig(
        learning_rate=rate,
        min_learning_rate=rate / 10,
        warmup_steps=max(1, int(WARM_UP * steps)),
        betas=(0.9, 0.95),
        weight_decay=0.01,
    )
    config = RunConfig(
        name="baseline",
        optim=optim,
        steps=steps,
        batch_size=1,
        seed=seed,
        device="cpu" if device == "cpu" else "auto",
        log_every=steps,
        eval_every=steps,
        save_every=steps,
    )
    with tempfile.TemporaryDirectory() as folder:
        scorer = Scorer(model)
        LoaderTrainer(scorer, config, LoaderTask(scorer, loader, None, seed), Path(folder)).train()


def speed(model: nn.Module, loader: DataLoader[Any]) -> float:
    """Return tokens per second of a forward pass over the first batch: the median of three after one that warms up."""
    first = next(iter(loader), None)
    if first is None:
        return math.nan
    times = []
    for _ in range(TIMED + 1):
        start = time.perf_counter()
        evaluate_batches(model, [first])  # reads the sum, so that the device is done
        times.append(time.perf_counter() - start)
    return pair_of(first)[0].numel() / statistics.median(times[1:])


def count_model_score(train: Iterable[Any], val: Iterable[Any], vocab_size: int, order: int) -> BatchScore:
    """Return the score of an n-gram model: absolute discounting, interpolated down to the uniform distribution.

    p_n(w | c) = max(c(c w) - d, 0) / c(c) + d kinds(c) / c(c) * p_{n-1}(w | shorter c), d = 0.75; p_0 = 1 / V.
    Contexts do not reach beyond the start of a window, as those of the models.

    Source: Ney, Essen and Kneser, "On structuring probabilistic dependences in stochastic language modelling", 1994.
    """
    counts: list[dict[tuple[int, ...], Counter[int]]] = [defaultdict(Counter) for _ in range(order)]
    for window in _windows(train):
        for t, label in _counted(window):
            for n, context in _contexts(window[0], t, order):
                counts[n][context][label] += 1
    totals = [{context: seen.total() for context, seen in table.items()} for table in counts]
    nats, tokens = [], []
    for window in _windows(val):
        costs = []
        for t, label in _counted(window):
            p = 1 / vocab_size
            for n, context in _contexts(window[0], t, order):
                if context in totals[n]:
                    seen = counts[n][context]
                    p = (max(seen[label] - DISCOUNT, 0) + DISCOUNT * len(seen) * p) / totals[n][context]
            costs.append(-math.log(p))
        nats.append(sum(costs))
        tokens.append(len(costs))
    return BatchScore(
        metrics=Metrics(sum(nats), sum(tokens)),
        sequence_nats=np.array(nats, dtype=np.float64),
        sequence_tokens=np.array(tokens, dtype=np.float64),
    )


def _windows(loader: Iterable[Any]) -> Iterator[tuple[list[int], list[int]]]:
    for batch in loader:
        yield from zip(*(part.tolist() for part in pair_of(batch)), strict=True)


def _counted(window: tuple[list[int], list[int]]) -> list[tuple[int, int]]:
    """Places and values of the targets that count."""
    return [(t, label) for t, label in enumerate(window[1]) if label != IGNORED]


def _contexts(row: list[int], t: int, order: int) -> list[tuple[int, tuple[int, ...]]]:
    """The contexts of the target at t, from none to order - 1 tokens, each with its length."""
    return [(n, tuple(row[t + 1 - n : t + 1])) for n in range(min(order - 1, t + 1) + 1)]


def count_floor(score: BatchScore) -> dict[str, float]:
    """Return loss and perplexity; how often the likeliest token is right is not counted."""
    return {"loss": score.metrics.loss, "perplexity": score.metrics.perplexity}


def _loss_of(metrics: Mapping[str, Any]) -> float:
    for prefix in ("", "val_"):
        for name, read in (("loss", float), ("perplexity", math.log)):
            value = metrics.get(prefix + name)
            if value is not None and math.isfinite(value):
                return read(value)
    raise ValueError(f"metrics tell {sorted(metrics)}; wanted a finite loss or perplexity, with val_ before it or not")


def _against(metrics: Mapping[str, Any], loss: float, other: Mapping[str, Any]) -> dict[str, Any]:
    """The model beside one baseline."""
    theirs = _loss_of(other)
    ours_rows, their_rows = (np.asarray(m.get("sequence_nats", ())) for m in (metrics, other))
    interval = None
    if len(ours_rows) and len(ours_rows) == len(their_rows):
        interval = list(bootstrap(ours_rows - their_rows, np.asarray(other["sequence_tokens"])))
    return {
        "perplexity_ratio": math.exp(min(700.0, loss - theirs)),
        "improvement": theirs - loss,
        "difference_interval": interval,
        "spectral_better": loss < theirs if interval is None else bool(interval[1] < 0),
        "nats_saved_per_million_parameters": _efficiency(metrics, loss, theirs),
    }


def _efficiency(metrics: Mapping[str, Any], loss: float, theirs: float) -> float | None:
    """More is better: nats per token below the baseline, per million parameters; None where the size is unknown."""
    size = metrics.get("parameters")
    return (theirs - loss) / (size / 1e6) if size else None
