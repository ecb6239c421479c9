"""Sentences and their translations: read from two files, encoded by one tokenizer, and batched by length."""

import gzip
import hashlib
import json
import logging
import random
from dataclasses import dataclass
from pathlib import Path

import tokenizers
import torch
from tokenizers import processors
from torch import Tensor
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from undula.data.config import ParallelDataConfig
from undula.data.tables import HELD_OUT, TRAIN, is_table, read_tables
from undula.data.tokenizers import BOS, EOS, PAD, bpe_tokenizer, encoder_of
from undula.ops.metrics import IGNORED

SPECIAL = (PAD, BOS, EOS)
"""Ids 0, 1 and 2."""

NEAR = 4.0
"""Pairs are sorted by length, in tokens, to which up to so much is added at random: batches differ from epoch to epoch,
and are still nearly free of padding."""

Pair = tuple[list[int], list[int]]
"""Tokens of a sentence and of its translation; each ends with `<eos>`."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a translation is scored on.

    Args:
        pairs: tokens, all of them.
        targets: the translations as text.
    """

    pairs: list[Pair]
    targets: list[str]


@dataclass(frozen=True, eq=False)
class Parallel:
    """Everything a run needs from its data.

    Args:
        config: what it was prepared from.
        tokenizer: made from both languages of the training pairs alone.
        train: tokens of the training pairs.
        held_out: what is scored.
        fingerprint: SHA-256 of texts and choices; equal fingerprints mean equal tokens.
    """

    config: ParallelDataConfig
    tokenizer: PreTrainedTokenizerFast
    train: list[Pair]
    held_out: HeldOut
    fingerprint: str


def prepare_parallel(config: ParallelDataConfig) -> Parallel:
    """Return tokenizer and tokens of a folder's pairs, all in memory.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when two files differ in their number of lines, hold none, or are not text; when no pair is short
            enough.
    """
    train, held_out = (read_pairs(config, split) for split in ("train", "val"))
    tokenizer = bpe_tokenizer([line for side in train for line in side], config.vocab_size, SPECIAL)
    # Whoever tokenizes with transformers gets what the model was trained on: sentences with their end.
    end = processors.TemplateProcessing(single=f"$A {EOS}", special_tokens=[(EOS, SPECIAL.index(EOS))])
    tokenizer.backend_tokenizer.post_processor = end
    pairs = encoded(tokenizer, *train)
    short = [pair for pair in pairs if max(map(len, pair)) <= config.max_tokens]
    if not short:
        raise ValueError(f"max_tokens={config.max_tokens} leaves no pair to train on; raise it")
    if len(short) < len(pairs):
        left_out = len(pairs) - len(short)
        logger.warning("left out %d of %d pairs, longer than %d tokens", left_out, len(pairs), config.max_tokens)
    choices = [config.vocab_size, config.max_tokens, tokenizers.__version__, *train, *held_out]
    fingerprint = hashlib.sha256(json.dumps(choices).encode()).hexdigest()
    return Parallel(config, tokenizer, short, HeldOut(encoded(tokenizer, *held_out), held_out[1]), fingerprint)


def read_pairs(config: ParallelDataConfig, split: str) -> tuple[list[str], list[str]]:
    """Return the lines of both languages of a split; pairs with an empty side are left out.

    Raises:
        FileNotFoundError: when a file is missing.
        ValueError: when the files differ in their number of lines, hold none, or are not text.
    """
    if is_table(config.folder):
        where = [f"{config.folder}, {language}" for language in (config.source, config.target)]
        source, target = _columns(config, split)
    else:
        folder = Path(config.folder).expanduser()
        paths = [_found(folder, f"{split}.{language}") for language in (config.source, config.target)]
        where = [str(path) for path in paths]
        source, target = (_lines(path) for path in paths)
    if len(source) != len(target):
        raise ValueError(
            f"{where[0]} has {len(source)} lines, {where[1]} has {len(target)}; wanted one translation for each line"
        )
    pairs = [(a, b) for a, b in zip(source, target, strict=True) if a and b]
    if not pairs:
        raise ValueError(f"{where[0]} and {where[1]} hold no pair of lines; give some")
    return [a for a, _ in pairs], [b for _, b in pairs]


def _columns(config: ParallelDataConfig, split: str) -> tuple[list[str], list[str]]:
    """Both sides of the rows of a table, from a column for each language or from dictionaries in one `translation`."""
    splits = read_tables(config.folder)
    name = TRAIN[0] if split == "train" else HELD_OUT[0]
    if name not in splits:
        raise ValueError(
            f"{config.folder} has nothing that is called {' or '.join(TRAIN if split == 'train' else HELD_OUT)}; give "
            "a split or a file of that name"
        )
    sides: tuple[list[str], list[str]] = ([], [])
    for number, row in enumerate(splits[name], 1):
        both = row["translation"] if isinstance(row.get("translation"), dict) else row
        for side, language in zip(sides, (config.source, config.target), strict=True):
            text = both.get(language)
            if text is not None and not isinstance(text, str):
                raise ValueError(f"{config.folder}, row {number}: {language} holds {text!r}; wanted a text")
            if language not in both:
                raise ValueError(
                    f"{config.folder}, row {number} has {', '.join(both)}; wanted a column, or an entry of "
                    f"`translation`, for {config.source} and {config.target}"
                )
            side.append(" ".join((text or "").split()))
    return sides


def encoded(tokenizer: PreTrainedTokenizerFast, sources: list[str], targets: list[str]) -> list[Pair]:
    """Return the tokens of sentences and of their translations, each with its end."""
    end = [SPECIAL.index(EOS)]
    bare = encoder_of(tokenizer)
    rows = [bare.encode_batch_fast(lines, add_special_tokens=False) for lines in (sources, targets)]
    sides = [[row.ids + end for row in side] for side in rows]
    return list(zip(*sides, strict=True))


def padded(rows: list[list[int]], fill: int) -> Tensor:
    """Return rows of different lengths as one batch, padded on the right."""
    longest = max(map(len, rows))
    return torch.tensor([row + [fill] * (longest - len(row)) for row in rows])


def collated(pairs: list[Pair]) -> dict[str, Tensor]:
    """Return pairs as one batch: input_ids, attention_mask, decoder_input_ids, and labels with -100 at padding."""
    pad, begin = SPECIAL.index(PAD), SPECIAL.index(BOS)
    sources = padded([source for source, _ in pairs], pad)
    return {
        "input_ids": sources,
        "attention_mask": (sources != pad).long(),
        "decoder_input_ids": padded([[begin, *target[:-1]] for _, target in pairs], pad),
        "labels": padded([target for _, target in pairs], IGNORED),
    }


class TrainPairs(Dataset[Pair]):
    """Pairs in batches of nearly one length, each pair once in an epoch but for the rest that fills no batch.

    Items b B .. (b + 1) B - 1 are batch b. Which pairs they are depends on the seed and the epoch alone.

    Args:
        pairs: to train on.
        batch_size: B.
        seed: of the order.
        length: how many items.

    Raises:
        ValueError: when there are fewer pairs than fill a batch.
    """

    def __init__(self, pairs: list[Pair], batch_size: int, *, seed: int, length: int) -> None:
        if len(pairs) < batch_size:
            raise ValueError(f"batch_size={batch_size}, and there are {len(pairs)} pairs; lower it, or give more text")
        self.pairs, self.batch_size, self.seed, self.length = pairs, batch_size, seed, length
        self.epoch, self.order = -1, [0]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Pair:
        if not 0 <= index < self.length:
            raise IndexError(f"pair {index} of {self.length}")
        each = len(self.pairs) // self.batch_size * self.batch_size
        epoch, place = divmod(index, each)
        if epoch != self.epoch:
            self.epoch, self.order = epoch, self._shuffled(epoch)
        return self.pairs[self.order[place]]

    def _shuffled(self, epoch: int) -> list[int]:
        draw = random.Random(f"{self.seed} {epoch}")
        size = [max(map(len, pair)) + NEAR * draw.random() for pair in self.pairs]
        order = list(range(len(self.pairs)))
        # The rest that fills no batch is another one in every epoch.
        draw.shuffle(order)
        order = sorted(order[: len(order) // self.batch_size * self.batch_size], key=size.__getitem__)
        batches = [order[start : start + self.batch_size] for start in range(0, len(order), self.batch_size)]
        draw.shuffle(batches)
        return [index for batch in batches for index in batch]


def _found(folder: Path, name: str) -> Path:
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(f"no {folder / name}, nor {name}.gz there; data.folder names the folder of the pairs")


def _lines(path: Path) -> list[str]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        return [line.strip() for line in content.decode("utf-8-sig").removesuffix("\n").split("\n")]
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 text (byte at {error.start}); convert it, e.g. with iconv") from error
