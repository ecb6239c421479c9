"""What to read, how to split it, and how to turn it into tokens (no torch here: `--help` reads this)."""

from dataclasses import dataclass
from typing import Literal, get_args

from undula.names import unknown_name

TokenizerKind = Literal["byte", "char", "bpe"]
SplitKind = Literal["documents", "tail"]
RestKind = Literal["padded", "dropped"]

SMALLEST_BPE = 257
"""256 bytes and the end of a text: a byte-level vocabulary cannot be smaller."""


@dataclass(frozen=True, kw_only=True)
class DataConfig:
    """A text corpus, its split into training and validation, its tokens and its windows.

    Args:
        source: `python-docs` (the language reference inside CPython), a text file, or a folder of text files.
        tokenizer: `byte` (256 + 1 ids), `char` (the characters of the training split) or `bpe` (byte-level).
        vocab_size: number of ids of a `bpe` tokenizer; a small corpus may fill fewer.
        block_size: tokens in one window.
        val_fraction: share of the characters that is held out.
        split: `documents` holds out whole documents (pieces, when there is one file alone);
            `tail` holds out the end of the text.
        split_seed: which documents are held out; `tail` has no choice to make.
        rest: the last, shorter window of the held-out text is `padded` (every token counts) or `dropped`.

    Raises:
        ValueError: for a value out of range or an unknown name.
    """

    source: str = "python-docs"
    tokenizer: TokenizerKind = "byte"
    vocab_size: int = 4096
    block_size: int = 256
    val_fraction: float = 0.1
    split: SplitKind = "documents"
    split_seed: int = 0
    rest: RestKind = "padded"

    def __post_init__(self) -> None:
        names = (("tokenizer", TokenizerKind), ("split", SplitKind), ("rest", RestKind))
        for field, kind in names:
            if getattr(self, field) not in get_args(kind):
                raise unknown_name(field, str(getattr(self, field)), get_args(kind))
        if self.block_size < 1:
            raise ValueError(f"block_size={self.block_size}; wanted at least 1 token")
        if not 0.0 < self.val_fraction < 1.0:
            raise ValueError(f"val_fraction={self.val_fraction}; wanted a share between 0 and 1, such as 0.1")
        if self.tokenizer == "bpe" and self.vocab_size < SMALLEST_BPE:
            raise ValueError(f"vocab_size={self.vocab_size}; a bpe tokenizer needs at least {SMALLEST_BPE}")
