"""From the cells of a comparison to its table: means over seeds, ranks, and reasons not to rank."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from undula.experiments.cell import Cell

MOST_UNEQUAL = 0.03
"""Share by which numbers of parameters may differ before the table says so."""

EQUAL_STEPS, EQUAL_TIME = "equal steps", "equal time"


@dataclass(frozen=True, kw_only=True)
class Row:
    """A model in the table.

    Args:
        model: its name.
        budget: what it shares with the models that it is ranked among: "equal steps" or "equal time".
        rank: 1 for the lowest loss; None when it is not ranked.
        reason: why it is not ranked; empty when it is.
        seeds: how many.
        steps: of each run.
        parameters: trained numbers.
        loss: mean over seeds, nats per token of the held-out text.
        loss_spread: standard deviation over seeds (n - 1); NaN for one seed.
        losses: of each seed.
        bits_per_byte: mean over seeds.
        bits_per_byte_spread: standard deviation over seeds.
        against_baseline: mean over seeds of loss / loss of the baseline from the same seed - 1; negative is better. NaN
            when either failed its audit.
        tokens_per_second: of train steps measured in turns with the other models.
        speed_ratio: how many times the baseline's speed.
        peak_bytes: rise of the peak of memory in a train step.
        training_tokens_per_second: as the runs logged it, mean over seeds.
        audit: "passed", or what failed.
    """

    model: str
    budget: str
    rank: int | None = None
    reason: str = ""
    seeds: int
    steps: int
    parameters: int
    loss: float
    loss_spread: float
    losses: tuple[float, ...]
    bits_per_byte: float
    bits_per_byte_spread: float
    against_baseline: float
    tokens_per_second: float
    speed_ratio: float
    peak_bytes: int | None
    training_tokens_per_second: float
    audit: str


def rows_of(
    cells: Sequence[Cell], speeds: Mapping[str, Mapping[str, Any]], baseline: str, budget: str = EQUAL_STEPS
) -> list[Row]:
    """Return a row for each model: those that passed their audit first, by loss, then those that are not ranked.

    Args:
        cells: one for each model and seed.
        speeds: what was measured of each model's train steps.
        baseline: the model that ratios are against.
        budget: what the models share.
    """
    by_model: dict[str, dict[int, Cell]] = {}
    for cell in cells:
        by_model.setdefault(cell.model, {})[cell.seed] = cell
    rows = [_row(found, by_model[baseline], speeds, budget) for found in by_model.values()]
    ranked = sorted((row for row in rows if not row.reason), key=lambda row: row.loss)
    numbered = [dataclasses.replace(row, rank=place) for place, row in enumerate(ranked, 1)]
    return numbered + [row for row in rows if row.reason]


def _row(
    cells: Mapping[int, Cell], base: Mapping[int, Cell], speeds: Mapping[str, Mapping[str, Any]], budget: str
) -> Row:
    found = list(cells.values())
    first = found[0]
    losses, bits = tuple(cell.loss for cell in found), [cell.bits_per_byte for cell in found]
    failed = sorted({name for cell in found for name in cell.failed})
    comparable = not failed and not any(cell.failed for cell in base.values())
    gains = [cells[seed].loss / base[seed].loss - 1 for seed in cells if seed in base]
    logged = [cell.training_tokens_per_second for cell in found if cell.training_tokens_per_second]
    speed = speeds[first.model]
    reason = f"failed its audit ({', '.join(failed)})" if failed else ""
    if not failed and not all(math.isfinite(loss) for loss in losses):
        reason = "its loss is not finite"
    return Row(
        model=first.model,
        budget=budget,
        reason=reason,
        seeds=len(found),
        steps=first.steps,
        parameters=first.parameters,
        loss=statistics.mean(losses),
        loss_spread=_spread(losses),
        losses=losses,
        bits_per_byte=statistics.mean(bits),
        bits_per_byte_spread=_spread(bits),
        against_baseline=statistics.mean(gains) if gains and comparable else math.nan,
        tokens_per_second=speed["tokens_per_second"],
        speed_ratio=speed["ratio"],
        peak_bytes=speed["peak_bytes"],
        training_tokens_per_second=statistics.mean(logged) if logged else math.nan,
        audit=f"failed: {', '.join(failed)}" if failed else "passed",
    )


def _spread(values: Sequence[float]) -> float:
    return statistics.stdev(values) if len(values) > 1 else math.nan


def parameter_warnings(rows: Sequence[Row], baseline: str) -> list[str]:
    """Return a line for each model whose number of parameters differs from the baseline's by more than 3 %."""
    wanted = next(row.parameters for row in rows if row.model == baseline)
    off = {row.model: row.parameters - wanted for row in rows}
    return [
        f"{model} has {more / wanted:+.1%} parameters against {baseline} ({wanted:,}): not equal "
        f"within {MOST_UNEQUAL:.0%}"
        for model, more in off.items()
        if abs(more) > MOST_UNEQUAL * wanted
    ]
