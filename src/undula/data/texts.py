"""Windows of texts that are laid end to end, as pairs of inputs and targets."""

import logging
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor
from torch.utils.data import Dataset

log = logging.getLogger(__name__)


@runtime_checkable
class Encoder(Protocol):
    """What a tokenizer has to know here."""

    def encode(self, text: str, /) -> Sequence[int]:
        """Return the ids of a text."""
        ...


class EnhancedTextDataset(Dataset[tuple[Tensor, Tensor]]):
    """Windows of `seq_length` tokens, each with the token after every position: item i is (x, y), y[t] = x[t + 1].

    Window i starts at token i * stride; N tokens hold 1 + (N - seq_length - 1) // stride windows. What is left at the
    end is told by `get_dataset_stats`.

    Args:
        texts: laid end to end; a window may cross from one into the next.
        tokenizer: has `encode(text)`; what it puts around a text stays there.
        seq_length: tokens in a window.
        stride: tokens from one window to the next; by default `seq_length`, so that no token is in two windows.
        validate_sequences: compare the last window, as it is read, with the tokens it should hold, and warn; a
            `DatasetValidator` compares all.

    Raises:
        ValueError: when the texts are shorter than a window and the token after it, or a number is not positive.

    Source: SpectralLLM, reference document, "EnhancedTextDataset".
    """

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: Encoder,
        seq_length: int = 512,
        stride: int | None = None,
        validate_sequences: bool = True,
    ) -> None:
        self.seq_length, self.stride = seq_length, seq_length if stride is None else stride
        for name, value in (("seq_length", self.seq_length), ("stride", self.stride)):
            if value < 1:
                raise ValueError(f"{name}={value}; wanted at least 1 token")
        self.tokens = _encoded(texts, tokenizer)
        if len(self.tokens) < seq_length + 1:
            raise ValueError(
                f"the texts have {len(self.tokens)} tokens; one window of seq_length={seq_length} needs "
                f"{seq_length + 1}: give more text or a smaller seq_length"
            )
        if validate_sequences:
            self._validate()

    def __len__(self) -> int:
        return 1 + (len(self.tokens) - self.seq_length - 1) // self.stride

    def __getitem__(self, index: int) -> tuple[Int[Tensor, " T"], Int[Tensor, " T"]]:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        start = index * self.stride
        row = torch.from_numpy(self.tokens[start : start + self.seq_length + 1].astype(np.int64))
        return row[:-1], row[1:]

    def get_dataset_stats(self) -> dict[str, Any]:
        """Return counts of what there is and what is used.

        `overlap_ratio`: share of a window that the next one repeats. `coverage`: share of the N - 1 tokens that could
        be predicted which some window predicts. `tokens_dropped`: how many no window predicts.
        """
        predicted = len(self) * min(self.stride, self.seq_length) + max(0, self.seq_length - self.stride)
        possible = len(self.tokens) - 1
        return {
            "total_tokens": len(self.tokens),
            "total_samples": len(self),
            "seq_length": self.seq_length,
            "stride": self.stride,
            "overlap_ratio": max(0.0, 1 - self.stride / self.seq_length),
            "coverage": predicted / possible,
            "tokens_dropped": possible - predicted,
        }

    def _validate(self) -> None:
        last = len(self) - 1
        x, y = self[last]
        wanted = torch.from_numpy(self.tokens[last * self.stride :][: self.seq_length + 1].astype(np.int64))
        if not (torch.equal(x, wanted[:-1]) and torch.equal(y, wanted[1:])):
            log.warning("window %d is not the tokens from %d on, with the next as targets", last, last * self.stride)


class TextDataset(EnhancedTextDataset):
    """The same windows under their older name, unchecked, half of each in the next by default."""

    def __init__(
        self,
        texts: Sequence[str],
        tokenizer: Encoder,
        seq_length: int = 512,
        stride: int | None = None,
        validate_sequences: bool = False,
    ) -> None:
        half = max(1, seq_length // 2) if stride is None else stride
        super().__init__(texts, tokenizer, seq_length, half, validate_sequences)


def _encoded(texts: Sequence[str], tokenizer: Encoder) -> np.ndarray:
    """The ids of all texts in a row, in the smallest type that holds them: lists of int take eight times as much."""
    rows = []
    for text in texts:
        ids = np.asarray(tokenizer.encode(text), dtype=np.int64)
        if len(ids) and ids.min() < 0:
            raise ValueError(f"the tokenizer gave id {ids.min()}; wanted ids from 0 on")
        rows.append(ids.astype(np.min_scalar_type(int(ids.max(initial=0)))))
    return np.concatenate(rows) if rows else np.zeros(0, dtype=np.uint8)
