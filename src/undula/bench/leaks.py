"""The search for held-out text in training text: is it exact, how long does it take, how much memory?"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from undula.bench.cases import LeaksCase
from undula.bench.environment import make_records
from undula.bench.harness import fresh_run, measuring
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.validation.dataset import DatasetValidator
from undula.validation.passages import covered_tokens


class Texts(NamedTuple):
    """Ids without a shared passage but those that are planted.

    Args:
        train: (N,) ids.
        held_out: (M,) ids.
        planted: (M,) whether a held-out token stands in a planted passage.
        passages: how many there are.
    """

    train: np.ndarray
    held_out: np.ndarray
    planted: np.ndarray
    passages: int


def texts(case: LeaksCase, *, clean: bool) -> Texts:
    """Return ids as rare as words are, the k-th in proportion to 1 / (k + 10), with one passage of every length.

    Args:
        case: sizes.
        clean: plant nothing.
    """
    draw = np.random.default_rng(0)
    ranks = np.arange(case.vocab_size)
    edges = np.cumsum(1 / (ranks + 10))
    parts = [
        np.searchsorted(edges, draw.random(n, dtype=np.float32) * edges[-1]).astype(np.uint16)
        for n in (case.train_tokens, case.held_out_tokens)
    ]
    train, held_out = (np.minimum(part, case.vocab_size - 1) for part in parts)
    planted = np.zeros(len(held_out), dtype=bool)
    lengths = range(case.shortest, case.longest + 1) if not clean else range(0)
    room = len(held_out) // max(1, len(lengths))
    for number, length in enumerate(lengths):
        to = number * room + int(draw.integers(1, room - length))
        start = int(draw.integers(1, len(train) - length))
        held_out[to : to + length] = train[start : start + length]
        planted[to : to + length] = True
        for ours, theirs in ((to - 1, start - 1), (to + length, start + length)):
            if held_out[ours] == train[theirs]:  # or the passage would be longer than planted
                held_out[ours] = (held_out[ours] + 1) % case.vocab_size
    return Texts(train, held_out, planted, len(lengths))


def bench_leaks(name: str, case: LeaksCase, setting: BenchSetting) -> list[Record]:
    """Return two records, of texts with planted passages and of clean ones.

    `missed` are planted tokens that were not found, `false` are others that were. Time and the peak of memory, texts
    included, are those of a process that runs nothing else.

    Args:
        name: the case's name, for the records.
        case: sizes.
        setting: threads; there is one round on the CPU.

    Raises:
        ValueError: when there is no room for the passages.
    """
    if case.held_out_tokens < 4 * (case.longest - case.shortest + 1) * case.longest:
        raise ValueError(f"held_out_tokens={case.held_out_tokens} leave no room for passages of up to {case.longest}")
    measured = []
    for clean in (False, True):
        with measuring(setting):
            made = texts(case, clean=clean)
            found = covered_tokens(made.train, made.held_out, case.shortest)
        alone = fresh_run(_prepare, case, clean, setting=setting)
        figures = {
            "seconds": alone.seconds,
            "peak_bytes": alone.peak_bytes + made.train.nbytes + made.held_out.nbytes,
            "token_bytes": made.train.nbytes + made.held_out.nbytes,
            "passages": made.passages,
            "planted": int(made.planted.sum()),
            "missed": int((made.planted & ~found).sum()),
            "false": int((found & ~made.planted).sum()),
        }
        measured.append(({"case": name, "model": "clean" if clean else "planted", **to_dict(case)}, figures))
    return make_records("leaks", measured, setting)


def _prepare(case: LeaksCase, clean: bool) -> Callable[[], object]:
    made = texts(case, clean=clean)
    search = DatasetValidator().check_dataset_overlap
    return lambda: search(made.train, made.held_out, min_overlap_tokens=case.shortest)
