"""Token streams on disk, and the windows cut from them for training and for evaluation."""

import hashlib
import io
import re
import struct
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from undula.data.config import RestKind
from undula.data.tokenizers import encoder_of, token_byte_counts
from undula.ops.metrics import IGNORED

PART = 4096
"""Characters per call of the encoder: its time grows faster than the length of the text."""
PARTS = 128
"""Parts in one call of the encoder, which shares them among the cores; its results are large, so not many."""
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

    def counts(self) -> Tensor:
        """Return how often each token of the vocabulary occurs, (V,)."""
        step, total = 1 << 22, np.zeros(len(self.token_bytes), dtype=np.int64)
        for start in range(0, len(self), step):
            total += np.bincount(self.tokens[start : start + step], minlength=len(total))
        return torch.from_numpy(total)

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


def encode_documents(
    documents: Iterable[str], tokenizer: PreTrainedTokenizerFast, scratch: Path | None = None
) -> TokenStream:
    """Return documents as a stream; they are gone through once, and a few at a time are held.

    Args:
        documents: the texts.
        tokenizer: how they are encoded.
        scratch: file that the tokens are written to and memory-mapped from, which the caller removes; None: in memory.

    Raises:
        ValueError: when more than 1 % of the tokens are unknown to the tokenizer, or when its tokens do not stand
            for exactly the bytes of the text (a tokenizer that changes the text cannot give bits per byte).
    """
    sizes = np.asarray(token_byte_counts(tokenizer), dtype=np.int64)
    dtype = np.min_scalar_type(len(sizes) - 1)
    border = np.asarray([tokenizer.eos_token_id], dtype=dtype)
    check = _Check(tokenizer, sizes)
    offsets = array("q")
    length = 0
    with io.BytesIO() if scratch is None else scratch.open("wb") as file:
        for part, row, first in _encoded(documents, encoder_of(tokenizer), dtype):
            check.count(part, row)
            if first and len(offsets):
                length += file.write(border.tobytes()) // dtype.itemsize
            if first:
                offsets.append(length)
            length += file.write(row.tobytes()) // dtype.itemsize
        kept = file.getvalue() if isinstance(file, io.BytesIO) else None
    check.raise_for(length)
    offsets.append(length)
    tokens = np.frombuffer(kept, dtype) if kept is not None else np.asarray(np.memmap(cast(Path, scratch), dtype, "r"))
    return TokenStream(tokens, np.asarray(offsets, dtype=np.int64), sizes)


class TrainWindows(Dataset[dict[str, Tensor]]):
    """Random windows for training: item i depends on the seed and on i alone, not on model, worker or order.

    start_i = floor(positions * h / 2^64), h the 64-bit BLAKE2b hash of (seed, i). Read the items in order (no
    shuffling): step s of batch size b is items s b to (s + 1) b, whatever runs it and wherever it resumes.

    Args:
        stream: the training stream.
        block_size: tokens in one window.
        seed: another seed gives other windows.
        length: number of items, e.g. steps times batch size.
        reserved: tokens at the end of the stream that no window reads.

    Raises:
        ValueError: when the stream is shorter than one window and the token after it.
    """

    def __init__(self, stream: TokenStream, block_size: int, *, seed: int, length: int, reserved: int = 0) -> None:
        if len(stream) - reserved < block_size + 1:
            kept = f", {reserved} of them reserved" if reserved else ""
            raise ValueError(
                f"the training text has {len(stream)} tokens{kept}; one window of block_size={block_size} needs "
                f"{block_size + 1}: give more text or a smaller block_size"
            )
        self.positions = len(stream) - reserved - block_size
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
        return (int.from_bytes(digest, "little") * self.positions) >> 64

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


class _Check:
    """Bytes of the text beside bytes of its tokens, and what the tokenizer did not know."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, sizes: np.ndarray) -> None:
        self.unknown = tokenizer.unk_token_id
        self.known = tokenizer.get_vocab()
        self.sizes = sizes
        self.wanted = self.got = self.lost = 0
        self.strange: set[str] = set()

    def count(self, text: str, row: np.ndarray) -> None:
        """Add a part of a text and its tokens."""
        self.wanted += len(text.encode())
        self.got += int(self.sizes[row].sum())
        lost = 0 if self.unknown is None else int((row == self.unknown).sum())
        self.lost += lost
        if lost:
            self.strange |= set(text) - self.known.keys()

    def raise_for(self, length: int) -> None:
        """Refuse a stream of `length` tokens that is not the text."""
        if self.lost > MOST_UNKNOWN * length:
            raise ValueError(
                f"{self.lost} of {length} characters are unknown to the tokenizer (such as "
                f"{sorted(self.strange)[:5]}); the score would mean nothing: use tokenizer='byte' or 'bpe', or train "
                "on text with these characters"
            )
        if self.lost == 0 and self.got != self.wanted:
            raise ValueError(
                f"the tokens stand for {self.got} bytes, the text has {self.wanted}; the tokenizer changes the text: "
                "use a byte-level tokenizer"
            )


def _encoded(documents: Iterable[str], encoder: Tokenizer, dtype: np.dtype) -> Iterator[tuple[str, np.ndarray, bool]]:
    """Yield the parts of all documents in a row, each with its ids and whether a document begins with it."""
    parts = ((part, i == 0) for text in documents for i, part in enumerate(_parts(text)))
    while batch := list(islice(parts, PARTS)):
        for (part, first), encoding in zip(batch, encoder.encode_batch_fast([p for p, _ in batch]), strict=True):
            yield part, np.asarray(encoding.ids, dtype=dtype), first


def _parts(text: str) -> Iterator[str]:
    """Yield the text in parts that join to it: one, empty, for an empty text."""
    start = 0
    while start < len(text) or start == 0:
        border = BORDER.search(text, start + PART)
        end = border.start() if border else len(text)
        yield text[start:end]
        start = max(end, 1)
