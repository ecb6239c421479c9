"""Tasks made from a seed, of any length: what a model has to remember is known, and the rest is noise.

needle: among noise stand pairs of a key and a value; at the end each key is asked for its value, in random order.
copy: a string, noise, and the string again.

Everything is a letter, one token of the byte tokenizer: noise and values are small letters, so that no value stands out
of the noise, keys and strings are capitals. A text looks like `...htaQmblv...cxuQm`, where the last `m` is the answer.
"""

import hashlib
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset

from undula.ops.metrics import IGNORED

TaskKind = Literal["needle", "copy"]

NOISE = np.frombuffer(b"abcdefghijklmnopqrstuvwxyz", dtype=np.uint8)
CAPITALS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype=np.uint8)
AGAIN = ord("=")
"""Says that the string is to be repeated."""

COUNTS = {"needle": 1, "copy": 8}
"""Pairs of a needle, letters of a string, where the source does not say how many."""
MOST = 26
HELD_OUT = 64
"""Episodes that a run is scored on."""
SHORTEST = 16
"""Steps of the episodes that training begins with."""
SOURCE = re.compile(rf"({'|'.join(COUNTS)})(?::(.*))?")


@dataclass(frozen=True)
class Task:
    """One of the tasks.

    Args:
        kind: "needle" or "copy".
        count: pairs, or letters of the string: so many answers has an episode.

    Raises:
        ValueError: for a number of pairs or letters out of range.
    """

    kind: TaskKind
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.count <= MOST:
            raise ValueError(f"{self.kind}:{self.count}; wanted 1 to {MOST} answers, such as {self.kind}:4")

    @property
    def shortest(self) -> int:
        """The shortest episode that has room for the pairs or strings, in steps."""
        return 4 * self.count + 1

    def episode(self, draw: np.random.Generator, length: int, *, near: bool = False) -> np.ndarray:
        """Return length + 1 letters; the last `count` answers are what is asked.

        Args:
            draw: random numbers.
            length: steps; the letter after the last step is an answer.
            near: pairs and strings stand at distances from the questions that are spread evenly on a logarithmic
                scale, so that many are near; otherwise pairs evenly over all the noise, and a string at the very start.

        Raises:
            ValueError: when the length has no room.
        """
        if length < self.shortest:
            raise ValueError(
                f"length={length} has no room for {self.kind}:{self.count}; wanted at least {self.shortest} steps"
            )
        letters, count = draw.choice(NOISE, length + 1), self.count
        if self.kind == "copy":
            string, places = draw.choice(CAPITALS, count), length + 1 - 2 * count
            first = int(_near(draw, places, 1)[0]) if near else 0
            letters[first : first + count] = letters[-count:] = string
            letters[-count - 1] = AGAIN
            return letters
        keys, values = draw.choice(CAPITALS, count, replace=False), draw.choice(NOISE, count)
        # Pairs stand at even places, so that no two of them meet.
        places = (length + 1 - 2 * count) // 2
        where = 2 * (_near(draw, places, count) if near else draw.choice(places, count, replace=False))
        letters[where], letters[where + 1] = keys, values
        order = draw.permutation(count)
        letters[-2 * count :: 2], letters[-2 * count + 1 :: 2] = keys[order], values[order]
        return letters

    def answers(self, length: int) -> np.ndarray:
        """Return at which of `length` steps the next letter is an answer, True there."""
        asked = np.zeros(length, dtype=bool)
        if self.kind == "copy":
            asked[-self.count :] = True
        else:
            asked[-2 * self.count + 1 :: 2] = True
        return asked


def known_task(source: str) -> Task | None:
    """Return the task that a source names, `needle`, `copy` or with a number: `needle:4`; None for other sources.

    Raises:
        ValueError: for a number that is none, or out of range.
    """
    found = SOURCE.fullmatch(source)
    if found is None:
        return None
    kind, count = cast(TaskKind, found[1]), found[2]
    if count is not None and not count.isdecimal():
        raise ValueError(f"source {source!r}; wanted {kind}, or {kind}: and a number from 1 to {MOST}")
    return Task(kind, COUNTS[kind] if count is None else int(count))


class TaskWindows(Dataset[dict[str, Tensor]]):
    """Episodes of a task: item i depends on the seed, on i and on the number of items; only answers count.

    An item has rows of equal length, `input_ids` and `shift_labels` of shape (rows, T). In training each item has as
    many steps as `block_size`, in one or more episodes: they begin with 16 steps, or as few as the task has room in,
    double, and reach `block_size` with half of the items. While they grow, what is asked is near; then, anywhere. A
    long memory is learnt much faster when a short one is there already.

    Args:
        task: what is to be remembered.
        block_size: steps of an episode.
        seed: another seed gives other episodes.
        length: number of items.
        held_out: episodes to be scored on: all of the whole length, far pairs as likely as near ones, another draw.

    Raises:
        ValueError: when the length has no room for the task.
    """

    def __init__(self, task: Task, block_size: int, *, seed: int, length: int, held_out: bool = False) -> None:
        self.task, self.block_size, self.seed, self.length, self.held_out = task, block_size, seed, length, held_out
        self.sizes = [block_size] if held_out else _sizes(block_size, max(SHORTEST, task.shortest))
        task.episode(np.random.default_rng(0), self.sizes[0])

    @property
    def predicted_bytes(self) -> int:
        """Bytes of all answers: the denominator of bits per byte."""
        return self.length * self.task.count

    def __len__(self) -> int:
        return self.length

    def size(self, index: int) -> int:
        """Return the steps of the episodes of an item."""
        # The first half of the items has equally many of each size but the last.
        stage = 2 * index * (len(self.sizes) - 1) // max(self.length, 1)
        return self.sizes[min(stage, len(self.sizes) - 1)]

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < self.length:
            raise IndexError(f"item {index} of {self.length}")
        digest = hashlib.blake2b(struct.pack("<qq?", self.seed, index, self.held_out), digest_size=16).digest()
        draw = np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
        size = self.size(index)
        growing = size < self.block_size
        rows = [self.task.episode(draw, size, near=growing) for _ in range(self.block_size // size)]
        letters = torch.from_numpy(np.stack(rows).astype(np.int64))
        asked = torch.from_numpy(self.task.answers(size))
        return {"input_ids": letters[:, :-1], "shift_labels": torch.where(asked, letters[:, 1:], IGNORED)}


def joined(items: Iterator[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return windows, or items of rows, as one batch.

    Where episodes of two lengths meet, the shorter ones end with steps that do not count.
    """
    first, *rest = items
    if first["input_ids"].ndim == 1:
        return {name: torch.stack([row, *(item[name] for item in rest)]) for name, row in first.items()}
    longest = max(item["input_ids"].shape[1] for item in (first, *rest))
    fill = {"input_ids": 0, "shift_labels": IGNORED}
    return {
        name: torch.cat([F.pad(i[name], (0, longest - i[name].shape[1]), value=value) for i in (first, *rest)])
        for name, value in fill.items()
    }


def _sizes(block_size: int, shortest: int) -> list[int]:
    """Lengths from short to `block_size`, each half of the next."""
    sizes = [block_size]
    while sizes[0] >= 2 * shortest:
        sizes.insert(0, sizes[0] // 2)
    return sizes


def _near(draw: np.random.Generator, places: int, count: int) -> np.ndarray:
    """Different places, counted from the start, at distances from the end that are even on a logarithmic scale."""
    taken: set[int] = set()
    while len(taken) < count:
        taken.add(places - 1 - int(math.exp(draw.uniform(0, math.log(places))) - 1))
    return draw.permutation(sorted(taken))
