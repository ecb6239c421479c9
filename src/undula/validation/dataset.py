"""Are training and validation apart, and do windows hold what they should? Both read from the data."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from undula.data.stream import TokenStream
from undula.data.texts import EnhancedTextDataset, TextDataset
from undula.validation.batches import pair_of
from undula.validation.passages import covered_tokens, longest_run
from undula.validation.results import save_results

HIGH, MEDIUM = 0.05, 0.01
"""Share of held-out tokens in training from which a leak is high, or medium."""
SHOWN = 5
"""Samples with the largest overlap that are named."""


class Rows(NamedTuple):
    """Tokens, and the samples cut from them.

    Args:
        tokens: all ids in a row.
        starts: (samples,) where each sample starts.
        stops: (samples,) where it ends.
        joined: the samples are laid side by side here: no passage runs from one into the next.
    """

    tokens: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    joined: bool


class DatasetValidator:
    """Looks for held-out text in the training text, and reads windows back.

    Datasets are those of `EnhancedTextDataset`'s kind (items are pairs of inputs and targets), `TokenStream`s, or plain
    rows of ids.

    Args:
        logger: told what is wrong; by default this module's.

    Source: SpectralLLM, reference document, "DatasetValidator".
    """

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self.log = logger or logging.getLogger(__name__)

    def check_dataset_overlap(
        self, train_dataset: Any, val_dataset: Any, max_samples: int | None = None, min_overlap_tokens: int = 32
    ) -> dict[str, Any]:
        """Return which held-out tokens stand in passages that training has, too.

        All of training is searched, whatever `max_samples` is. `overlap_percentage` is the share, 0 to 1, of the
        held-out tokens that stand in a shared passage of `min_overlap_tokens` or more; `overlap_count` counts the
        samples of which more than half does; `longest_overlap_tokens` is the longest run of such tokens.

        Args:
            train_dataset: what is trained on.
            val_dataset: what is held out.
            max_samples: look at so many held-out samples, chosen at random (always the same); None: at all.
            min_overlap_tokens: tokens of the shortest passage that counts.

        Raises:
            ValueError: when there is nothing to look at, or samples are shorter than a passage.
        """
        if max_samples is not None and max_samples < 1:
            raise ValueError(f"max_samples={max_samples}; wanted at least 1, or None for all")
        train, held_out = rows_of(train_dataset), rows_of(val_dataset)
        if max_samples is not None and max_samples < len(held_out.starts):
            chosen = np.sort(np.random.default_rng(0).permutation(len(held_out.starts))[:max_samples])
            pairs = zip(held_out.starts[chosen], held_out.stops[chosen], strict=True)
            held_out = _joined([held_out.tokens[start:stop] for start, stop in pairs])
        longest = int((held_out.stops - held_out.starts).max())
        if held_out.joined and longest < min_overlap_tokens:
            raise ValueError(
                f"the longest held-out sample has {longest} tokens; wanted at least min_overlap_tokens="
                f"{min_overlap_tokens}: lower it, or give longer samples"
            )
        borders = held_out.starts if held_out.joined else None
        covered = covered_tokens(train.tokens, held_out.tokens, min_overlap_tokens, borders=borders)
        return self._overlap(covered, held_out)

    def _overlap(self, covered: np.ndarray, held_out: Rows) -> dict[str, Any]:
        sums = np.concatenate(([0], np.cumsum(covered)))
        scores = (sums[held_out.stops] - sums[held_out.starts]) / (held_out.stops - held_out.starts)
        share = float(covered.mean())
        assessment = "high" if share > HIGH else "medium" if share > MEDIUM else "low"
        worst = np.argsort(-scores, kind="stable")[:SHOWN]
        if share > 0:
            self.log.warning("%.2f %% of the held-out tokens stand in the training text, too", 100 * share)
        return {
            "overlap_percentage": share,
            "overlap_count": int((scores > 0.5).sum()),
            "total_checked": len(scores),
            "tokens_checked": len(covered),
            "longest_overlap_tokens": longest_run(covered),
            "high_overlap_samples": [
                {"val_sample_id": int(i), "overlap_score": float(scores[i])} for i in worst if scores[i] > 0
            ],
            "assessment": assessment,
        }

    def verify_sequence_construction(
        self, dataset: Any, expected_stride: int | None = None, expected_seq_length: int | None = None
    ) -> dict[str, Any]:
        """Return whether the windows hold what they should, as read from every one of them.

        Targets are the inputs shifted by one; all windows have one length; each window repeats the end of the one
        before from `stride` on, and at a stride of a whole window goes on with the last target. `construction_quality`
        is "excellent" when all holds and no token is in two windows, "good" when windows overlap as expected, and
        "poor" when anything fails.

        Args:
            dataset: items are pairs (inputs, targets) of one dimension.
            expected_stride: tokens from one window to the next; by default the smallest that fits the data.
            expected_seq_length: tokens in a window; by default the first one's.

        Raises:
            ValueError: when there is no item, or items are no pairs.
        """
        items = _items(dataset)
        lengths = np.array([len(x) for x, _ in items])
        length = int(lengths[0]) if expected_seq_length is None else expected_seq_length
        wrong_length = int((lengths != length).sum())
        shifted = sum(torch.equal(x[1:], y[:-1]) for x, y in items)
        candidates = [expected_stride] if expected_stride is not None else range(1, length + 1)
        stride = next((s for s in candidates if not _breaks(items, s)), None)
        stride_passed = wrong_length == 0 and stride is not None
        passed = stride_passed and shifted == len(items)
        apart = stride is not None and stride >= length
        quality = "poor" if not passed else "excellent" if apart else "good"
        if quality == "poor":
            self.log.warning("windows are not what they should be: %d of %d shifted rightly", shifted, len(items))
        return {
            "total_samples": len(items),
            "stride_verification": {
                "expected_stride": expected_stride,
                "actual_stride": stride,
                "actual_seq_length": int(lengths[0]),
                "overlap_ratio": float("nan") if stride is None else max(0.0, 1 - stride / length),
                "is_non_overlapping": apart,
                "passed": stride_passed,
            },
            "length_verification": {
                "expected_length": length,
                "error_rate": wrong_length / len(items),
                "samples_checked": len(items),
                "passed": wrong_length == 0,
            },
            "shift_verification": {"error_rate": 1 - shifted / len(items), "passed": shifted == len(items)},
            "construction_quality": quality,
        }

    def validate_training_steps(
        self,
        dataset_or_sizes: Any,
        batch_size: int | None = None,
        expected_steps: int | None = None,
        drop_last: bool = False,
    ) -> dict[str, Any]:
        """Return the steps of an epoch beside what is expected; for a list of sizes, whether they fall.

        Raises:
            ValueError: for a dataset without a positive batch size, or fewer than two sizes.
        """
        if isinstance(dataset_or_sizes, list) and all(isinstance(n, int) for n in dataset_or_sizes):
            sizes = dataset_or_sizes
            if len(sizes) < 2 or sizes[0] < 1:
                raise ValueError(f"sizes={sizes}; wanted at least two, the first of them positive")
            falls = all(b < a for a, b in zip(sizes, sizes[1:], strict=False))
            return {"is_reducing": falls, "reduction_rate": 1 - sizes[-1] / sizes[0], "validation_passed": falls}
        if batch_size is None or batch_size < 1:
            raise ValueError(f"batch_size={batch_size}; wanted at least 1")
        count = len(dataset_or_sizes)
        steps = count // batch_size if drop_last else -(-count // batch_size)
        found: dict[str, Any] = {
            "total_samples": count,
            "batch_size": batch_size,
            "calculated_steps": steps,
            "expected_steps": expected_steps,
            "validation_passed": steps > 0 and expected_steps in (None, steps),
        }
        if expected_steps is not None:
            found |= {"step_difference": steps - expected_steps, "matches_expected": steps == expected_steps}
        return found

    def save_validation_results(
        self, results: dict[str, Any], output_dir: str | Path, timestamp: str | None = None
    ) -> Path:
        """Write dataset_validation_<time>.json, NaN as null; return its path."""
        return save_results(results, output_dir, "dataset_validation", timestamp)


def rows_of(dataset: Any) -> Rows:
    """Return the tokens of a dataset with its samples.

    Raises:
        ValueError: when there is no sample, or items are no pairs of rows of ids.
    """
    if isinstance(dataset, TokenStream):
        dataset = dataset.tokens
    if isinstance(dataset, np.ndarray):
        return Rows(dataset, np.array([0]), np.array([len(dataset)]), False)
    # A subclass may read its windows in another way: what it gives is read, not what it stores.
    if type(dataset) in (EnhancedTextDataset, TextDataset):
        starts = np.arange(len(dataset)) * dataset.stride
        return Rows(dataset.tokens, starts, starts + dataset.seq_length, False)
    return _joined([torch.cat((x, y[-1:])).numpy() for x, y in _items(dataset)])


def _joined(pieces: Sequence[np.ndarray]) -> Rows:
    ends = np.cumsum([len(piece) for piece in pieces])
    return Rows(np.concatenate(pieces), np.concatenate(([0], ends[:-1])), ends, True)


def _items(dataset: Any) -> list[tuple[Tensor, Tensor]]:
    """All items, or an error: what cannot be read is not left out."""
    items = []
    for index in range(len(dataset)):
        item = dataset[index]
        parts = list(item.values()) if isinstance(item, dict) else item
        if not (isinstance(parts, list | tuple) and len(parts) == 2 and all(isinstance(p, Tensor) for p in parts)):
            raise ValueError(f"item {index} is a {type(item).__name__}; wanted a pair of tensors (inputs, targets)")
        if isinstance(item, dict):
            item = tuple(item[name] for name in ("input_ids", "shift_labels"))
        x, y = pair_of(tuple(part[None] for part in item))
        items.append((x[0], y[0]))
    if not items:
        raise ValueError("the dataset has no sample; give one that has")
    return items


def _breaks(items: Sequence[tuple[Tensor, Tensor]], stride: int) -> bool:
    """Whether a window does not go on as the one before says it should at this stride."""
    for (x, y), (following, _) in zip(items, items[1:], strict=False):
        row = torch.cat((x, y[-1:]))
        if stride >= len(row):
            # Nothing of the next window is known; but it cannot be this one again.
            if torch.equal(x, following):
                return True
        elif not torch.equal(row[stride:], following[: len(row) - stride]):
            return True
    return False
