"""Labelled texts, images or recordings, and which of them are held out (no torch here: `--help` reads this)."""

import re
from dataclasses import dataclass
from typing import Literal, get_args

from undula.data.config import SMALLEST_BPE, TokenizerKind
from undula.names import unknown_name

InputKind = Literal["text", "image", "sound"]
TargetKind = Literal["class", "tags", "number"]
HeldOutRule = Literal["hash", "tail", "names"]

COLUMNS: dict[tuple[str, str], tuple[str, str]] = {
    ("text", "class"): ("text", "label"),
    ("text", "tags"): ("tokens", "tags"),
    ("text", "number"): ("text", "value"),
    ("image", "class"): ("image", "label"),
    ("image", "number"): ("image", "value"),
    ("sound", "class"): ("audio", "label"),
    ("sound", "number"): ("audio", "value"),
}
"""What the columns of input and target are called, where nobody says otherwise."""


@dataclass(frozen=True, kw_only=True)
class LabelledDataConfig:
    r"""Inputs, what is to be told of each, and which of them are held out.

    Where the source has splits of its own (train, and validation, val or test, of which the first counts), those are
    taken.
    In any case what is held out is in training under no other name: copies of it are left out there.

    Args:
        kind: what is read: `text`, `image` or `sound`.
        target: what is told: a `class`, the `tags` of a text's tokens, or a `number`.
        source: a CSV, JSON-lines or Parquet file; a folder of such files; a folder with one folder of images or
            recordings for each class; an .npz file with arrays `images` and `labels`; a data set of the Hugging Face
            hub, `hub:OWNER/NAME[:CONFIG]`. Or embedded data: `digits` (images; needs the extra `vision`), and from
            the language reference inside CPython `topics` (classes of passages), `code` (which words are code) and
            `words` (how long the words of a passage are on average, whose spaces are taken out).
        columns: names of the columns of input and target; None: text and label, tokens and tags, text and value, image
            and label, or audio and label. A column `document`, where there is one, keeps rows of one document together.
        label_pattern: regular expression whose first group is a file's label, found in its name: `^(\d)_`. Empty: the
            name of its folder.
        held_out: `hash` holds out those inputs of each class whose contents have the lowest hashes; `tail` the last
            ones; `names` the files whose names hold `test_pattern`.
        test_pattern: regular expression, of `names` alone.
        test_fraction: share that is held out, of `hash` and `tail`; of each class by `hash`, of all by `tail`.
        split_seed: which ones `hash` holds out.
        tokenizer: of texts.
        vocab_size: of a `bpe` tokenizer; a small corpus may fill fewer.
        max_tokens: texts are cut there.
        sample_rate: samples per second that recordings are brought to; None: as they are, all alike.
        max_seconds: recordings are cut there.
        image_size: height and width that images are brought to; None: as they are, all alike.
        channels: 1 or 3, that images are brought to; None: as they are, all alike.

    Raises:
        ValueError: for a value out of range, an unknown name, or values that do not agree.
    """

    kind: InputKind = "text"
    target: TargetKind = "class"
    source: str = "topics"
    columns: tuple[str, str] | None = None
    label_pattern: str = ""
    held_out: HeldOutRule = "hash"
    test_pattern: str = ""
    test_fraction: float = 0.2
    split_seed: int = 0
    tokenizer: TokenizerKind = "byte"
    vocab_size: int = 1024
    max_tokens: int = 256
    sample_rate: int | None = None
    max_seconds: float = 1.0
    image_size: int | None = None
    channels: int | None = None

    def __post_init__(self) -> None:
        for field, kind in (
            ("kind", InputKind),
            ("target", TargetKind),
            ("held_out", HeldOutRule),
            ("tokenizer", TokenizerKind),
        ):
            if getattr(self, field) not in get_args(kind):
                raise unknown_name(field, str(getattr(self, field)), get_args(kind))
        if (self.kind, self.target) not in COLUMNS:
            raise ValueError(f"target={self.target!r} of kind={self.kind!r}; only the tokens of texts have tags")
        if not 0.0 < self.test_fraction < 1.0:
            raise ValueError(f"test_fraction={self.test_fraction}; wanted a share between 0 and 1, such as 0.2")
        if (self.held_out == "names") != bool(self.test_pattern):
            raise ValueError(
                f"held_out={self.held_out!r} with test_pattern={self.test_pattern!r}; give a pattern with 'names', and "
                "with that alone"
            )
        self._check_patterns()
        self._check_sizes()

    def _check_patterns(self) -> None:
        for field, groups in (("label_pattern", 1), ("test_pattern", 0)):
            pattern = getattr(self, field)
            try:
                found = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"{field}={pattern!r} is no regular expression: {error}") from error
            if pattern and found < groups:
                raise ValueError(rf"{field}={pattern!r} has no group; wanted the label in parentheses, such as ^(\d)_")

    def _check_sizes(self) -> None:
        for field in ("max_tokens", "sample_rate", "image_size"):
            value = getattr(self, field)
            if value is not None and value < 1:
                raise ValueError(f"{field}={value}; wanted at least 1")
        if self.channels not in (None, 1, 3):
            raise ValueError(f"channels={self.channels}; wanted 1 (grey), 3 (colours) or null")
        if not self.max_seconds > 0:
            raise ValueError(f"max_seconds={self.max_seconds}; wanted more than 0")
        if self.tokenizer == "bpe" and self.vocab_size < SMALLEST_BPE + 2:
            raise ValueError(f"vocab_size={self.vocab_size}; bytes and special ids need at least {SMALLEST_BPE + 2}")

    @property
    def column_names(self) -> tuple[str, str]:
        """Names of the columns of input and target."""
        return self.columns or COLUMNS[self.kind, self.target]
