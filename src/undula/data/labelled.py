"""Inputs and what is to be told of them, ready to train on: split, encoded, with a fingerprint."""

import hashlib
import json
import logging
import math
import re
import struct
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from undula.data.example import Example, Found
from undula.data.images import load_images
from undula.data.labelled_config import LabelledDataConfig
from undula.data.labelled_sounds import load_sounds
from undula.data.labelled_texts import load_texts
from undula.data.parallel import SPECIAL
from undula.data.tokenizers import bpe_tokenizer, build_tokenizer, encoder_of
from undula.ops.metrics import IGNORED

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Item:
    """One input as a model reads it, and its label as a loss does.

    Args:
        values: ids of tokens (T), an image (C, H, W) or samples (L).
        label: a class (), the class of each token (T) with -100 where none is asked, or a number ().
    """

    values: Tensor
    label: Tensor


@dataclass(frozen=True, eq=False)
class Labelled:
    """Everything a run needs from its data.

    Args:
        config: what it was prepared from.
        labels: names of the classes or tags, in the order of their numbers; none for numbers.
        train: to train on.
        test: what is scored; no content or document of it is in `train`.
        fingerprint: SHA-256 of contents, labels and choices; equal fingerprints mean equal items in equal order.
        tokenizer: of texts, made from `train` alone; None for others.
        sample_rate: samples per second of recordings; 0 for others.
        target_scale: mean and standard deviation over `train` of numbers to tell; 0 and 1 for others.
        input_scale: the same of pixels.
    """

    config: LabelledDataConfig
    labels: tuple[str, ...]
    train: list[Item]
    test: list[Item]
    fingerprint: str
    tokenizer: PreTrainedTokenizerFast | None = None
    sample_rate: int = 0
    target_scale: tuple[float, float] = (0.0, 1.0)
    input_scale: tuple[float, float] = (0.0, 1.0)


def prepare_labelled(config: LabelledDataConfig) -> Labelled:
    """Return what a source holds, split and encoded; all is kept in memory.

    Raises:
        FileNotFoundError: when the source does not exist.
        ImportError: when it needs an extra that is not installed.
        OSError: when a data set of the hub cannot be reached.
        ValueError: when a file cannot be read, inputs are of different kinds, nothing can be held out, or a label is
            held out that training does not have.
    """
    found = load_examples(config)
    train, test = split_examples(found, config)
    labels = _labels(train, test, config)
    tokenizer = None
    if config.kind == "text":
        tokenizer = _tokenizer(config, _texts(train))
    encode = _Encoder(config, labels, tokenizer)
    items = [[encode(example) for example in side] for side in (train, test)]
    target_scale = input_scale = (0.0, 1.0)
    if config.target == "number":
        target_scale = _scale(torch.stack([item.label for item in items[0]]))
    if config.kind == "image":
        input_scale = _scale(torch.stack([item.values for item in items[0]]))
    fingerprint = _fingerprint(config, train, test, found.sample_rate)
    return Labelled(
        config, labels, items[0], items[1], fingerprint, tokenizer, found.sample_rate, target_scale, input_scale
    )


def load_examples(config: LabelledDataConfig) -> Found:
    """Return what a source holds, as it is; see `prepare_labelled`."""
    return {"text": load_texts, "image": load_images, "sound": load_sounds}[config.kind](config)


def encoded_like(examples: Sequence[Example], data: Labelled) -> list[Item]:
    """Return other examples as the items of prepared data, with its tokenizer and labels.

    Raises:
        ValueError: for a label that training does not have.
    """
    encode = _Encoder(data.config, data.labels, data.tokenizer)
    return [encode(example) for example in examples]


def split_examples(found: Found, config: LabelledDataConfig) -> tuple[list[Example], list[Example]]:
    """Return what to train on and what to hold out: the source's own splits, or by the rule of the configuration.

    Held out by `hash` are, class by class, whole documents in the order of their hashes until `test_fraction` of the
    class is reached; of each class one document at least, and never all. Whatever the rule, examples whose content or
    document is held out are then left out of training.

    Raises:
        ValueError: when a side is empty, or a class cannot be split.
    """
    if found.test is not None:
        train, test = list(found.train), list(found.test)
    elif config.held_out == "names":
        sides: tuple[list[Example], list[Example]] = ([], [])
        for example in found.train:
            sides[re.search(config.test_pattern, example.name) is not None].append(example)
        train, test = sides
    elif config.held_out == "tail":
        start = len(found.train) - math.ceil(config.test_fraction * len(found.train))
        train, test = list(found.train[:start]), list(found.train[start:])
    else:
        held = _by_hash(found.train, config)
        train = [example for example in found.train if _key(example) not in held]
        test = [example for example in found.train if _key(example) in held]
    known = {key for example in test for key in _keys(example)}
    kept = [example for example in train if known.isdisjoint(_keys(example))]
    if len(kept) < len(train):
        logger.warning(
            "left out %d of %d examples of training: their contents or documents are held out",
            len(train) - len(kept),
            len(train),
        )
    if not kept or not test:
        raise ValueError(
            f"{config.source}: {len(kept)} examples to train on and {len(test)} held out; wanted some of both: change "
            "data.held_out, test_pattern or test_fraction"
        )
    return kept, test


def _by_hash(examples: Iterable[Example], config: LabelledDataConfig) -> set[bytes]:
    """What is held out of each class; tags and numbers are one class."""
    seed = struct.pack("<q", config.split_seed)
    classes: dict[str, dict[bytes, int]] = defaultdict(lambda: defaultdict(int))
    for example in examples:
        name = str(example.target) if config.target == "class" else ""
        classes[name][_key(example)] += 1
    held: set[bytes] = set()
    for name, counts in classes.items():
        if len(counts) < 2:
            what = f"class {name!r}" if name else "the source"
            raise ValueError(
                f"{config.source}: {what} has {len(counts)} different document(s); wanted at least 2, one to train on "
                "and one to hold out"
            )
        ranked = sorted(counts, key=lambda key: hashlib.blake2b(seed + key, digest_size=8).digest())
        wanted, taken = config.test_fraction * sum(counts.values()), 0
        for key in ranked[:-1]:
            if taken and taken + counts[key] / 2 > wanted:
                break
            held.add(key)
            taken += counts[key]
    return held


def _key(example: Example) -> bytes:
    """What stays together: a document, or an example and its copies."""
    return hashlib.sha256(example.document.encode()).digest() if example.document else example.digest


def _keys(example: Example) -> set[bytes]:
    return {_key(example), example.digest}


def _labels(train: Sequence[Example], test: Sequence[Example], config: LabelledDataConfig) -> tuple[str, ...]:
    if config.target == "number":
        return ()
    known, asked = ({name for example in side for name in _names(example)} for side in (train, test))
    missing = sorted(asked - known)
    if missing:
        raise ValueError(f"{config.source}: label {missing[0]!r} is held out, and training has no example of it")
    if len(known) < 2:
        raise ValueError(
            f"{config.source}: {len(known)} label(s) ({', '.join(known)}); wanted at least 2 to tell apart"
        )
    numeric = all(re.fullmatch(r"\d{1,9}", name) for name in known)
    return tuple(sorted(known, key=(lambda name: (int(name), name)) if numeric else None))


def _names(example: Example) -> list[str]:
    return example.target if isinstance(example.target, list) else [str(example.target)]


class _Encoder:
    """From examples to items.

    Args:
        config: what kind they are of.
        labels: names of the classes.
        tokenizer: of texts.
    """

    def __init__(
        self, config: LabelledDataConfig, labels: Sequence[str], tokenizer: PreTrainedTokenizerFast | None
    ) -> None:
        self.config = config
        self.numbers = {name: number for number, name in enumerate(labels)}
        self.bare = None if tokenizer is None else encoder_of(tokenizer)

    def __call__(self, example: Example) -> Item:
        """Return one example as an item."""
        content, target = example.content, example.target
        if isinstance(content, list):
            return self._tagged(content, [self._number(tag, example.name) for tag in _names(example)])
        if isinstance(content, str):
            content = torch.tensor(self._ids(content)[: self.config.max_tokens])
        label = target if isinstance(target, float) else self._number(str(target), example.name)
        return Item(content, torch.tensor(label))

    def _number(self, name: str, where: str) -> int:
        if name not in self.numbers:
            raise ValueError(f"{where} has the label {name!r}, which training did not have: {', '.join(self.numbers)}")
        return self.numbers[name]

    def _ids(self, text: str) -> list[int]:
        if self.bare is None:
            raise ValueError("texts without a tokenizer; this is a fault of undula")
        return self.bare.encode(text).ids

    def _tagged(self, words: Sequence[str], tags: Sequence[int]) -> Item:
        """The label of a word stands at its first token, behind the space before it."""
        ids: list[int] = []
        labels: list[int] = []
        for index, (word, tag) in enumerate(zip(words, tags, strict=True)):
            own = self._ids(f" {word}" if index else word)
            ids += own
            labels += [tag, *[IGNORED] * (len(own) - 1)]
        longest = self.config.max_tokens
        return Item(torch.tensor(ids[:longest]), torch.tensor(labels[:longest]))


def _texts(examples: Iterable[Example]) -> list[str]:
    return [" ".join(e.content) if isinstance(e.content, list) else str(e.content) for e in examples]


def _tokenizer(config: LabelledDataConfig, texts: list[str]) -> PreTrainedTokenizerFast:
    if config.tokenizer == "bpe":
        return bpe_tokenizer(texts, config.vocab_size, SPECIAL)
    return build_tokenizer(config.tokenizer, texts, config.vocab_size)


def _scale(values: Tensor) -> tuple[float, float]:
    """Mean and standard deviation; a spread of 0, where all are equal, counts as 1."""
    flat = values.double().flatten()
    return float(flat.mean()), float(flat.std(correction=0)) or 1.0


def _fingerprint(config: LabelledDataConfig, train: Sequence[Example], test: Sequence[Example], rate: int) -> str:
    choices = [config.kind, config.target, config.tokenizer, config.vocab_size, config.max_tokens, rate, len(test)]
    whole = hashlib.sha256(json.dumps(choices).encode())
    for example in (*train, *test):
        whole.update(example.digest)
        whole.update(json.dumps(example.target).encode())
    return whole.hexdigest()
