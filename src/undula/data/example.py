"""One thing that is read, and what is to be told about it."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

Content = str | list[str] | Float[Tensor, "..."]
"""A text, its words, an image (C, H, W) between 0 and 1, or the samples of a recording."""

Target = str | list[str] | float
"""A class, a tag for each word, or a number."""


@dataclass(frozen=True, eq=False)
class Example:
    """One thing that is read, and what is to be told about it.

    Args:
        name: of its file or row.
        content: what is read.
        target: what is told.
        document: what it is part of; parts of one document are never on both sides of a split. Empty: it stands alone.
    """

    name: str
    content: Content
    target: Target
    document: str = ""

    @property
    def digest(self) -> bytes:
        """SHA-256 of the content; equal contents have equal digests."""
        if isinstance(self.content, Tensor):
            values: np.ndarray = self.content.numpy()
            return hashlib.sha256(json.dumps(values.shape).encode() + values.tobytes()).digest()
        return hashlib.sha256(json.dumps(self.content).encode()).digest()


class Found(NamedTuple):
    """What a source holds; `test` is None where it makes no difference between what to train on and what to hold out.

    Args:
        train: to train on, or all.
        test: to hold out.
        sample_rate: samples per second of recordings; 0 for others.
    """

    train: Sequence[Example]
    test: Sequence[Example] | None = None
    sample_rate: int = 0
