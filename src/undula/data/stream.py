"""Token streams on disk, and the windows cut from them for training and for evaluation."""

import hashlib
import re
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from undula.data.config import RestKind
from undula.data.tokenizers import encoder_of, token_byte_counts
from undula.ops.metrics import IGNORED

PART = 4096
"""Characters per call of the encoder: its time grows faster than the length of the text."""
MOST_UNKNOWN = 0.01
"""Share of unknown tokens above which a score in bits per byte means nothing."""

# No pre-token of byte-level BPE crosses from a visible character into a space, so a cut there changes no token.
BORDER = re.compile(r"(?<=\S)[ \r\n]")
ARRAYS = ("tokens", "offsets", "token_bytes")


@dataclass(frozen=True, eq=False)
class TokenStream:
    """Documents as one row of token ids, `<eos>` between two documents.

    Args:
        tokens: (n,) ids, in the smallest unsigned type that holds the vocabulary.
        offsets: (documents + 1,) where each document starts; the last entry is n. An `<eos>` belongs to the
            document before it.
        token_bytes: (V,) UTF-8 bytes of text that each id stands for.
        folder: where the arrays are memory-mapped from; None when they are in memory.
    """

    tokens: np.ndarray
    offsets: np.ndarray
    token_bytes: np.ndarray
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def num_documents(self) -> int:
        """Number of documents; one fewer `<eos>` stand between them."""
        return len(self.offsets) - 1

    def byte_count(self, start: int = 0, stop: int | None = None) -> int:
        """Return the UTF-8 bytes of text that the tokens from `start` up to `stop` stand for."""
        end = len(self) if stop is None else min(stop, len(self))
        step = 1 << 22  # a part at a time: a sum over a memory map must not load it whole
        parts = (self.tokens[i : min(i + step, end)] for i in range(start, end, step))
        return sum(int(self.token_bytes[part].sum()) for part in parts)

    def save(self, folder: Path) -> None:
        """Write the three arrays into a folder, which is made."""
        folder.mkdir(parents=True)
        for name in ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name), allow_pickle=False)

    @classmethod
    def load(cls, folder: Path) -> "TokenStream":
        """Return the stream in a folder, its tokens memory-mapped and read-only."""
        # As a plain array over the same map: a slice of np.memmap costs as much as the rest of a window.
        tokens = np.asarray(np.load(folder / "tokens.npy", mmap_mode="r", allow_pickle=False))
        small = (np.load(folder / f"{name}.npy", allow_pickle=False) for name in ARRAYS[1:])
        return cls(tokens, *small, folder=folder)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        # Worker processes that are spawned get the path, not a copy of the tokens.
        if self.folder is not None:
            return TokenStream.load, (self.folder,)
        return TokenStream, (self.tokens, self.offsets, self.token_bytes)


def encode_documents(documents: list[str], tokenizer: PreTrainedTokenizerFast) -> TokenStream:
    """Return documents as a stream in memory.

    Raises:
        ValueError: when more than 1 % of the tokens are unknown to the tokenizer, or when its tokens do not stand
            for exactly the bytes of the text (a tokenizer that changes the text cannot give bits per byte).
    """
    encoder = encoder_of(tokenizer)
    sizes = np.asarray(token_byte_counts(tokenizer), dtype=np.int64)
    dtype = np.min_scalar_type(len(sizes) - 1)
    border = np.asarray([tokenizer.eos_token_id], dtype=dtype)
    rows: list[np.ndarray] = []
    offsets = [0]
    for i, text in enumerate(documents):
        row = [np.asarray(encoder.encode(part).ids, dtype=dtype) for part in _parts(text)]
        row += [border] if i + 1 < len(documents) else []
        rows += row
        offsets.append(offsets[-1] + sum(map(len, row)))
    stream = TokenStream(np.concatenate(rows), np.asarray(offsets, dtype=np.int64), sizes)
    _check_bytes(stream, documents, tokenizer)
    return stream


class TrainWindows(Dataset[dict[str, Tensor]]):
    """Random windows for training: item i depends on the seed and on i alone, not on model, worker or order.

    start_i = floor(positions * h / 2^64), h the 64-bit BLAKE2b hash of (seed, i). Read the items in order (no
    shuffling): step s of batch size b is items s b to (s + 1) b, whatever runs it and wherever it resumes.

    Args:
        stream: the training stream.
        block_size: tokens in one window.
        seed: another seed gives other windows.
        length: number of items, e.g. steps times batch size.

    Raises:
        ValueError: when the stream is shorter than one window and the token after it.
    """

    def __init__(self, stream: TokenStream, block_size: int, *, seed: int, length: int) -> None:
        if len(stream) < block_size + 1:
            raise ValueError(
                f"the training text has {len(stream)} tokens; one window of block_size={block_size} needs "
                f"{block_size + 1}: give more text or a smaller block_size"
            )
        self.stream = stream
        self.block_size = block_size
        self.seed = seed
        self.length = length

    def __len__(self) -> int:
        return self.length

    def start(self, index: int) -> int:
        """Return where in the stream item `index` starts."""
        if not 0 <= index < self.length:
            raise IndexError(f"window {index} of {self.length}")
        digest = hashlib.blake2b(struct.pack("<qq", self.seed, index), digest_size=8).digest()
        return (int.from_bytes(digest, "little") * (len(self.stream) - self.block_size)) >> 64

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        start = self.start(index)
        return _window(self.stream.tokens[start : start + self.block_size + 1])


class EvalWindows(Dataset[dict[str, Tensor]]):
    """Windows side by side over a held-out stream: each token but the very first is predicted exactly once.

    Window k reads tokens [k T, (k + 1) T) and predicts [k T + 1, (k + 1) T + 1). The last window may be shorter:
    `padded` fills its inputs on the right with id 0 and its labels with -100, so that a causal model's score is that
    of all n - 1 tokens at any T; `dropped` leaves it out, which gives floor((n - 1) / T) full windows and loses
    fewer than T tokens (nanoGPT's protocol: 1742 windows of 64 for the last tenth of tiny Shakespeare, 51 lost).

    Args:
        stream: the held-out stream.
        block_size: tokens in one window, T.
        rest: what happens to the last, shorter window.

    Raises:
        ValueError: when no window can be cut.
    """

    def __init__(self, stream: TokenStream, block_size: int, *, rest: RestKind = "padded") -> None:
        shortest = block_size + 1 if rest == "dropped" else 2
        if len(stream) < shortest:
            raise ValueError(
                f"the held-out text has {len(stream)} tokens; windows of block_size={block_size} with "
                f"rest={rest!r} need {shortest}: give more text, a larger val_fraction or a smaller block_size"
            )
        self.stream = stream
        self.block_size = block_size
        windows = (len(stream) - 1) // block_size
        self.num_predicted = windows * block_size if rest == "dropped" else len(stream) - 1

    @property
    def predicted_bytes(self) -> int:
        """UTF-8 bytes of text that all predicted tokens stand for: the denominator of bits per byte."""
        return self.stream.byte_count(1, self.num_predicted + 1)

    def __len__(self) -> int:
        return -(-self.num_predicted // self.block_size)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if not 0 <= index < len(self):
            raise IndexError(f"window {index} of {len(self)}")
        start = index * self.block_size
        window = _window(self.stream.tokens[start : start + self.block_size + 1])
        missing = self.block_size - len(window["input_ids"])
        fill = {"input_ids": 0, "shift_labels": IGNORED}
        return {name: torch.nn.functional.pad(row, (0, missing), value=fill[name]) for name, row in window.items()}


def _window(tokens: np.ndarray) -> dict[str, Tensor]:
    row = torch.from_numpy(tokens.astype(np.int64))
    return {"input_ids": row[:-1], "shift_labels": row[1:]}


def _parts(text: str) -> Iterator[str]:
    start = 0
    while start < len(text):
        border = BORDER.search(text, start + PART)
        end = border.start() if border else len(text)
        yield text[start:end]
        start = end


def _check_bytes(stream: TokenStream, documents: list[str], tokenizer: PreTrainedTokenizerFast) -> None:
    unknown = tokenizer.unk_token_id
    lost = 0 if unknown is None else int((stream.tokens == unknown).sum())
    if lost > MOST_UNKNOWN * len(stream):
        known = tokenizer.get_vocab()
        strange = sorted({c for text in documents for c in text if c not in known})[:5]
        raise ValueError(
            f"{lost} of {len(stream)} characters are unknown to the tokenizer (such as {strange}); the score would "
            "mean nothing: use tokenizer='byte' or 'bpe', or train on text with these characters"
        )
    wanted = sum(len(text.encode()) for text in documents)
    if lost == 0 and stream.byte_count() != wanted:
        raise ValueError(
            f"the tokens stand for {stream.byte_count()} bytes, the text has {wanted}; the tokenizer changes the text: "
            "use a byte-level tokenizer"
        )
