"""Does the perplexity mean what it says? The one function that computes it, on cases with a known answer."""

import logging
import math
from collections.abc import Callable, Sequence
from itertools import combinations
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from undula.ops.metrics import IGNORED, Metrics, mean_nats, summed_nats

Batches = list[tuple[Tensor, Tensor]]
"""Scores (B, T, V) and labels (B, T) of a few batches."""
Perplexity = Callable[[Batches], float]

VOCABULARY = 7


def project_perplexity(batches: Batches) -> float:
    """Return the perplexity of batches as trainer, evaluator and baselines compute it."""
    total = Metrics()
    for logits, labels in batches:
        nats, count = summed_nats(logits, labels)
        total += Metrics(nats.item(), int(count))
    return total.perplexity


def mean_of_exponentials(batches: Batches) -> float:
    """Return exp averaged over batches: wrong, exp is convex."""
    return sum(math.exp(mean_nats(*batch).item()) for batch in batches) / len(batches)


def unweighted_batches(batches: Batches) -> float:
    """Return exp of the mean of the batches' means: wrong for batches of different numbers of tokens."""
    return math.exp(sum(mean_nats(*batch).item() for batch in batches) / len(batches))


def padding_counted(batches: Batches) -> float:
    """Return exp of the nats over all positions: wrong where some do not count."""
    nats = sum(summed_nats(*batch)[0].item() for batch in batches)
    return math.exp(nats / sum(labels.numel() for _, labels in batches))


WRONG: tuple[Perplexity, ...] = (mean_of_exponentials, unweighted_batches, padding_counted)
"""Known mistakes, which the cases have to tell from the right way."""


def cases() -> dict[str, tuple[Batches, float]]:
    """Return batches with the perplexity that they have, by what they try."""
    draw = torch.Generator().manual_seed(0)

    def batch(rows: int, steps: int) -> tuple[Tensor, Tensor]:
        labels = torch.randint(VOCABULARY, (rows, steps), generator=draw)
        return 3 * torch.randn(rows, steps, VOCABULARY, generator=draw), labels

    labels = batch(2, 5)[1]
    certain = 200.0 * F.one_hot(labels, VOCABULARY)
    ragged = [batch(4, 6), batch(1, 2)]
    padded = batch(3, 8)
    padded[1][:, 5:] = IGNORED
    half = [(logits.bfloat16(), labels) for logits, labels in ragged]
    return {
        "uniform scores": ([(torch.zeros(2, 5, VOCABULARY), labels)], float(VOCABULARY)),
        "certainty": ([(certain, labels)], 1.0),
        "batches of different size": (ragged, _by_definition(ragged)),
        "padding": ([padded, ragged[0]], _by_definition([padded, ragged[0]])),
        "bfloat16 scores": (half, _by_definition([(logits.float(), labels) for logits, labels in half])),
    }


def _by_definition(batches: Batches) -> float:
    """By definition: exp of the mean of -ln p, label by label in float64."""
    nats = []
    for logits, labels in batches:
        for scores, label in zip(logits.double().flatten(0, 1).tolist(), labels.flatten().tolist(), strict=True):
            if label != IGNORED:
                nats.append(math.log(sum(math.exp(s) for s in scores)) - scores[label])
    return math.exp(sum(nats) / len(nats))


def faults(compute: Perplexity) -> list[str]:
    """Return the names of the cases that a way to compute perplexity gets wrong by more than 1e-5 of the answer."""
    return [name for name, (batches, right) in cases().items() if not abs(compute(batches) / right - 1) < 1e-5]


class PerplexityValidator:
    """Checks how perplexity is computed, and says what one means.

    Args:
        logger: told what fails; by default this module's.

    Source: SpectralLLM, reference document, "PerplexityValidator".
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self.log = logger or logging.getLogger(__name__)

    def test_perplexity_calculation(self, compute: Perplexity = project_perplexity) -> bool:
        """Return whether perplexity is computed rightly, and every known mistake would have been noticed.

        Args:
            compute: what is tested; by default what the package itself uses.
        """
        failed = faults(compute)
        missed = [wrong.__name__ for wrong in WRONG if not faults(wrong)]
        if failed or missed:
            self.log.error("perplexity is wrong for: %s; mistakes not noticed: %s", failed, missed)
        return not failed and not missed

    def compare_perplexity_methods(
        self, losses: Tensor | Sequence[float], token_counts: Tensor | Sequence[int] | None = None
    ) -> dict[str, float]:
        """Return exp of the mean loss, which is the perplexity, and the mean of exp, which is not.

        The geometric mean of the batches' perplexities, each weighted by its tokens, is the perplexity again.

        Args:
            losses: nats per token of each batch.
            token_counts: tokens of each batch; by default all the same.

        Raises:
            ValueError: when there is no loss, or numbers that do not belong to the losses.
        """
        values = torch.as_tensor(losses, dtype=torch.float64).flatten()
        counts = torch.ones_like(values) if token_counts is None else torch.as_tensor(token_counts).double().flatten()
        if len(values) == 0 or counts.shape != values.shape or not bool((counts > 0).all()):
            raise ValueError(
                f"{len(values)} losses and {len(counts)} token counts; wanted as many positive counts as losses"
            )
        weights = counts / counts.sum()
        return {
            "correct_exp_of_avg": (weights * values).sum().exp().item(),
            "incorrect_avg_of_exp": (weights * values.exp()).sum().item(),
            "geometric_mean": values.exp().pow(weights).prod().item(),
        }

    def get_perplexity_interpretation(
        self, perplexity: float, vocab_size: int | None = None, model_size: int | None = None
    ) -> dict[str, str]:
        """Return what a perplexity says, as text: perplexity, quality, context and notes.

        With the number of tokens V the quality is the share of chance that the model removes, 1 - ln P / ln V: a
        perplexity of 49 is good among 50,000 tokens and chance among 50.

        Args:
            perplexity: per token.
            vocab_size: V; without it nothing is said about quality.
            model_size: number of parameters, repeated in the notes.

        Raises:
            ValueError: for fewer than two tokens.
        """
        if vocab_size is not None and vocab_size < 2:
            raise ValueError(f"vocab_size={vocab_size}; wanted at least 2")
        notes = "" if model_size is None else f"{model_size:,} parameters"
        if not math.isfinite(perplexity) or perplexity < 1:
            why = "no perplexity: it is a finite number, at least 1"
            return {"perplexity": f"{perplexity:.2f}", "quality": "invalid", "context": why, "notes": notes}
        bits = math.log2(perplexity)
        if vocab_size is None:
            quality, context = "unknown", f"{bits:.2f} bits per token; give vocab_size to compare it with chance"
        else:
            removed = 1 - math.log(perplexity) / math.log(vocab_size)
            quality = next(name for least, name in QUALITIES if removed >= least)
            context = f"{bits:.2f} bits per token, {removed:.0%} of the {math.log2(vocab_size):.2f} of chance removed"
        return {"perplexity": f"{perplexity:.2f}", "quality": quality, "context": context, "notes": notes}

    def analyze_perplexity_trends(self, history: Sequence[float]) -> dict[str, Any]:
        """Return where perplexity came from and where it goes: the median slope of its logarithm over all pairs.

        `trend` is "improving" or "degrading" when at least three quarters of the pairs agree and the whole change is
        more than 1 %, else "unstable" when the values spread by more than a tenth, else "stable". A NaN or infinity
        makes it "invalid". `convergence`, from ten values on: whether the last third still changes by 1 %.
        """
        values = [float(v) for v in history]
        if len(values) < 2:
            return {"insufficient_data": True, "trend": "insufficient_data"}
        if not all(math.isfinite(v) and v >= 1 for v in values):
            return {"trend": "invalid", "convergence": "invalid"}
        first, last = values[0], values[-1]
        found = {
            "initial_ppl": first,
            "final_ppl": last,
            "best_ppl": min(values),
            "worst_ppl": max(values),
            "improvement": first - last,
            "improvement_percent": 100 * (first - last) / first,
            "trend": _trend(values),
        }
        if len(values) >= 10:
            end = _trend(values[-max(3, len(values) // 3) :])
            found["convergence"] = {"stable": "converged", "improving": "converging"}.get(end, "unstable")
        return found


QUALITIES = (
    (0.97, "suspicious: look for a leak"),
    (0.6, "excellent"),
    (0.45, "good"),
    (0.25, "moderate"),
    (0.1, "poor"),
    (-math.inf, "no better than chance"),
)
"""Names of the share of chance that is removed, from the highest down."""


def _trend(values: Sequence[float]) -> str:
    logs = [math.log(v) for v in values]
    slopes = [(b - a) / (j - i) for (i, a), (j, b) in combinations(enumerate(logs), 2)]
    change = median(slopes) * (len(logs) - 1)
    falling = sum(slope < 0 for slope in slopes) / len(slopes)
    if abs(change) > 0.01 and max(falling, 1 - falling) >= 0.75:
        return "improving" if change < 0 else "degrading"
    return "unstable" if max(logs) - min(logs) > 0.1 else "stable"
