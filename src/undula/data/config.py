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
        source: `python-docs` (the language reference inside CPython), a text file, a folder of text files, Parquet (a
            file or a folder; one document per row, in column `text`), or a data set of the Hugging Face hub:
            `fineweb` (FineWeb-Edu) or `hub:OWNER/NAME[:CONFIG]`, which need the extra `datasets`. Or a task of
            memory, made from a seed, in which only answers count: `needle` or `copy`, with a number of pairs or
            letters after a colon (`needle:4`); see `undula.data.synthetic`.
        max_bytes: take the first documents of the source, whole, with so many bytes of text at most; None: all. A
            data set of the hub needs a limit.
        tokenizer: `byte` (256 + 1 ids), `char` (the characters of the training split) or `bpe` (byte-level).
        vocab_size: number of ids of a `bpe` tokenizer; a small corpus may fill fewer.
        block_size: tokens in one window.
        eval_block_size: tokens in one window of what is held out; None: as in training.
        val_fraction: share of the characters that is held out.
        split: `documents` holds out whole documents (pieces, when there is one file alone);
            `tail` holds out the end of the text (not of Parquet and the hub, where it could hold out copies).
        split_seed: which documents are held out; `tail` has no choice to make.
        rest: the last, shorter window of the held-out text is `padded` (every token counts) or `dropped`.

    Raises:
        ValueError: for a value out of range or an unknown name.
    """

    source: str = "python-docs"
    max_bytes: int | None = None
    tokenizer: TokenizerKind = "byte"
    vocab_size: int = 4096
    block_size: int = 256
    eval_block_size: int | None = None
    val_fraction: float = 0.1
    split: SplitKind = "documents"
    split_seed: int = 0
    rest: RestKind = "padded"

    def __post_init__(self) -> None:
        names = (("tokenizer", TokenizerKind), ("split", SplitKind), ("rest", RestKind))
        for field, kind in names:
            if getattr(self, field) not in get_args(kind):
                raise unknown_name(field, str(getattr(self, field)), get_args(kind))
        for field in ("block_size", "eval_block_size"):
            size = getattr(self, field)
            if size is not None and size < 1:
                raise ValueError(f"{field}={size}; wanted at least 1 token")
        if self.max_bytes is not None and self.max_bytes < 1:
            raise ValueError(f"max_bytes={self.max_bytes}; wanted at least 1 byte, or null for the whole source")
        if not 0.0 < self.val_fraction < 1.0:
            raise ValueError(f"val_fraction={self.val_fraction}; wanted a share between 0 and 1, such as 0.1")
        if self.tokenizer == "bpe" and self.vocab_size < SMALLEST_BPE:
            raise ValueError(f"vocab_size={self.vocab_size}; a bpe tokenizer needs at least {SMALLEST_BPE}")


@dataclass(frozen=True, kw_only=True)
class AudioDataConfig:
    """Recordings, their split into training and held out, and the pieces that training hears.

    Args:
        source: `tones` (made from a seed), a recording, or a folder of wav, flac or ogg files; what is not plain PCM
            needs the extra `audio`.
        crop_length: samples in one piece.
        val_fraction: share of the recordings that is held out, whole.
        split_seed: which ones are held out.

    Raises:
        ValueError: for a value out of range.
    """

    source: str = "tones"
    crop_length: int = 4000
    val_fraction: float = 0.05
    split_seed: int = 0

    def __post_init__(self) -> None:
        if self.crop_length < 1:
            raise ValueError(f"crop_length={self.crop_length}; wanted at least 1 sample")
        if not 0.0 < self.val_fraction < 1.0:
            raise ValueError(f"val_fraction={self.val_fraction}; wanted a share between 0 and 1, such as 0.05")


@dataclass(frozen=True, kw_only=True)
class ParallelDataConfig:
    """Sentences and their translations, line by line in files of equal length or in tables, and their tokens.

    Args:
        folder: holds `train.L` and `val.L` for both languages, as they are or with `.gz`; or tables, train and test,
            validation or val, that end with .csv, .jsonl or .parquet. Or a data set of the Hugging Face hub,
            `hub:OWNER/NAME[:CONFIG]`. Tables have a column for each language, or one, `translation`, with entries.
        source: the language that is read: the ending of its files, or its column.
        target: the language that is written.
        vocab_size: number of ids of the byte-level BPE of both languages together.
        max_tokens: pairs with more tokens on a side are left out of training.

    Raises:
        ValueError: for a value out of range, or one language twice.
    """

    folder: str = "multi30k"
    source: str = "en"
    target: str = "de"
    vocab_size: int = 8000
    max_tokens: int = 80

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise ValueError(f"source and target are both {self.source!r}; wanted the endings of two languages' files")
        if self.vocab_size < SMALLEST_BPE + 2:
            raise ValueError(
                f"vocab_size={self.vocab_size}; bytes and three special ids need at least {SMALLEST_BPE + 2}"
            )
        if self.max_tokens < 2:
            raise ValueError(f"max_tokens={self.max_tokens}; wanted at least 2: a token and the end")
