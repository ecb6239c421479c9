"""From a configuration to streams ready for training, built once and kept in a verified cache."""

import hashlib
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tokenizers
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from undula.data.config import DataConfig
from undula.data.corpus import default_cache_dir, load_documents
from undula.data.documents import Documents
from undula.data.split import split_documents
from undula.data.stream import EvalWindows, TokenStream, TrainWindows, encode_documents
from undula.data.synthetic import HELD_OUT, Task, TaskWindows, known_task
from undula.data.tokenizers import build_tokenizer, byte_tokenizer, wrap
from undula.files import sha256_sums

FORMAT = 1
"""Raise it when the same configuration would give other tokens or other files than before."""
MANIFEST = "manifest.json"
SAMPLE = 64
"""Short episodes of a task that stand for its text."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Everything a run needs from its data.

    Args:
        config: what it was prepared from.
        tokenizer: made from the training split alone.
        train: the stream to train on; a sample of it where it is a task's.
        validation: the held-out stream, likewise.
        fingerprint: SHA-256 of text, tokenizer and split; equal fingerprints mean equal tokens.
        task: what the windows are made of, in place of the streams.
    """

    config: DataConfig
    tokenizer: PreTrainedTokenizerFast
    train: TokenStream
    validation: TokenStream
    fingerprint: str
    task: Task | None = None

    @property
    def vocab_size(self) -> int:
        """Number of ids; the width of the model's output."""
        return len(self.tokenizer)

    def train_windows(self, *, seed: int, length: int, reserved: int = 0) -> TrainWindows | TaskWindows:
        """Return `length` random training windows of `block_size` tokens, none of which reads a reserved one."""
        if self.task is not None:
            return TaskWindows(self.task, self.config.block_size, seed=seed, length=length)
        tokens = self._reserved_tokens(reserved)
        return TrainWindows(self.train, self.config.block_size, seed=seed, length=length, reserved=tokens)

    def reserved_windows(self, number: int) -> EvalWindows | TaskWindows:
        """Return so many windows, side by side at the end of the training text, that `train_windows` can leave out.

        They may choose among models: they are neither trained on nor scored. Of a task they are episodes of their own.

        Raises:
            ValueError: when the training text has not as many.
        """
        size = self.config.block_size
        if self.task is not None:
            return TaskWindows(self.task, size, seed=self.config.split_seed + 1, length=number, held_out=True)
        wanted = self._reserved_tokens(number)
        if len(self.train) < wanted:
            raise ValueError(
                f"the training text has {len(self.train)} tokens, {number} windows of block_size={size} need {wanted}; "
                "give more text, or fewer windows"
            )
        tokens = self.train.tokens[len(self.train) - wanted :]
        end = TokenStream(tokens, np.array([0, wanted], dtype=np.int64), self.train.token_bytes)
        return EvalWindows(end, size, rest="dropped")

    def _reserved_tokens(self, number: int) -> int:
        return number * self.config.block_size + 1 if number else 0

    def eval_windows(self, block_size: int | None = None) -> EvalWindows | TaskWindows:
        """Return the windows that cover the held-out stream, or held-out episodes of a task.

        Args:
            block_size: tokens in one of them; None: as configured.
        """
        size = block_size or self.config.eval_block_size or self.config.block_size
        if self.task is not None:
            return TaskWindows(self.task, size, seed=self.config.split_seed, length=HELD_OUT, held_out=True)
        return EvalWindows(self.validation, size, rest=self.config.rest)


def prepare(config: DataConfig, cache_dir: Path | None = None) -> Prepared:
    """Return tokenizer and token streams of a corpus; the second call reads them from the cache.

    Args:
        config: the corpus, its split and its tokenizer.
        cache_dir: where prepared corpora are kept; default `default_cache_dir()`.

    Raises:
        OSError: when the source does not exist, or cannot be reached.
        ImportError: when it needs the extra `datasets`, which is not installed.
        ValueError: when it is not text, cannot be split, or is shorter than one window.
    """
    task = known_task(config.source)
    if task is not None:
        return _prepared_task(task, config)
    cache = default_cache_dir() if cache_dir is None else cache_dir
    documents = load_documents(config.source, config.max_bytes, cache)
    fingerprint = _fingerprint(documents, config)
    folder = cache / fingerprint
    if not is_whole(folder):
        _build(documents, config, folder)
    prepared = Prepared(
        config=config,
        tokenizer=wrap(Tokenizer.from_file(str(folder / "tokenizer.json"))),
        train=TokenStream.load(folder / "train"),
        validation=TokenStream.load(folder / "validation"),
        fingerprint=fingerprint,
    )
    # Both refuse a text shorter than a window: better now than after the model is built.
    prepared.train_windows(seed=0, length=1)
    prepared.eval_windows()
    return prepared


def _prepared_task(task: Task, config: DataConfig) -> Prepared:
    if config.tokenizer != "byte":
        raise ValueError(f"source={config.source!r} with tokenizer={config.tokenizer!r}; its letters are bytes: 'byte'")
    choices = [FORMAT, task.kind, task.count, config.split_seed]
    tokenizer = byte_tokenizer()
    sample = TaskWindows(task, task.shortest, seed=config.split_seed, length=SAMPLE)
    texts = [bytes(sample[i]["input_ids"][0].tolist()).decode() for i in range(SAMPLE)]
    stream = encode_documents(texts, tokenizer)
    fingerprint = hashlib.sha256(json.dumps(choices).encode()).hexdigest()
    return Prepared(
        config=config, tokenizer=tokenizer, train=stream, validation=stream, fingerprint=fingerprint, task=task
    )


def evaluation_stream(source: str, tokenizer: PreTrainedTokenizerFast) -> TokenStream:
    """Return a text that a trained model is to be scored on, whole, as a stream in memory.

    Args:
        source: a text or Parquet file, a folder, or `python-docs`.
        tokenizer: the tokenizer of the trained model.

    Raises:
        FileNotFoundError: when the source does not exist.
        ValueError: when it is not text, or more than 1 % of it is unknown to the tokenizer.
    """
    return encode_documents(load_documents(source), tokenizer)


def is_whole(folder: Path) -> bool:
    """Return whether a cache folder has a manifest, and every file in it has the recorded SHA-256."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        recorded: dict[str, str] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except ValueError:
        return False
    return recorded == sha256_sums(folder, leave_out=MANIFEST)


def _build(documents: Documents, config: DataConfig, folder: Path) -> None:
    """Write a cache folder beside its place and rename it in, so that nobody ever sees half of one."""
    split = split_documents(documents, config)
    tokenizer = build_tokenizer(config.tokenizer, split.train, config.vocab_size)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="building-") as scratch:
        built = Path(scratch) / "built"
        for side, texts in split._asdict().items():
            encode_documents(texts, tokenizer, Path(scratch) / f"{side}.tokens").save(built / side)
        tokenizer.backend_tokenizer.save(str(built / "tokenizer.json"))
        (built / MANIFEST).write_text(json.dumps(sha256_sums(built, leave_out=MANIFEST), indent=1), encoding="utf-8")
        if folder.exists() and not is_whole(folder):
            folder.rename(Path(scratch) / "damaged")
        try:
            built.rename(folder)
        except OSError:
            # Another process was faster: a folder that is whole has the same content as ours.
            if not is_whole(folder):
                raise


def _fingerprint(documents: Documents, config: DataConfig) -> str:
    """Return the SHA-256 of all that decides the tokens; block size and source path do not."""
    choices = {
        "format": FORMAT,
        "tokenizer": config.tokenizer,
        # Documents in files are split by another rule than the same documents in memory.
        "split": config.split if isinstance(documents, list) else "keys of the documents",
        "val_fraction": config.val_fraction,
        "split_seed": config.split_seed if config.split == "documents" else None,
        "bpe": [config.vocab_size, tokenizers.__version__] if config.tokenizer == "bpe" else None,
    }
    digest = hashlib.sha256(json.dumps(choices, sort_keys=True).encode())
    for text in documents:
        content = text.encode()
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.hexdigest()
