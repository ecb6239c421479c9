"""The run of a translator: train it into a folder, resume it, load it, translate, score it; laid out as every run."""

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast, TextStreamer

from undula.audit.finding import Finding
from undula.audit.translator import audit_translator
from undula.config import to_dict
from undula.data.parallel import SPECIAL, HeldOut, Parallel, encoded, prepare_parallel, read_pairs
from undula.data.tokenizers import BOS, EOS, PAD
from undula.experiments.folder import RunResult, check_data, newest, read_run, resolved, train_into
from undula.hf.seq2seq import UndulaForSeq2SeqLM, UndulaSeq2SeqConfig
from undula.optional import late_import
from undula.training.manifest import Checkpoint
from undula.training.quiet import no_progress_bars
from undula.training.records import Listener
from undula.training.state import kept_rng
from undula.training.translation import TranslationTask, search_options
from undula.training.translation_config import SearchConfig, TranslationTrainConfig
from undula.validation.translation import TranslationScore, evaluate_translation
from undula.viz.alignment import alignment


@dataclass(frozen=True, kw_only=True, eq=False)
class Translator:
    """A trained translator, as its run left it.

    Args:
        folder: the run's folder.
        config: what was run.
        checkpoint: where model and tokenizer come from.
        model: in evaluation mode, on the CPU.
        tokenizer: of both languages.
    """

    folder: Path
    config: TranslationTrainConfig
    checkpoint: Checkpoint
    model: UndulaForSeq2SeqLM
    tokenizer: PreTrainedTokenizerFast


def train_translation(
    config: TranslationTrainConfig, out: Path, *, resume: bool = False, progress: Listener | None = None
) -> RunResult[TranslationTrainConfig]:
    """Train a translator into a folder; the global random generators are left as they were.

    Args:
        config: the whole run.
        out: the run's folder; made if needed.
        resume: go on where the newest whole checkpoint ends, bit for bit; without one, from the start.
        progress: told about the progress.

    Raises:
        ValueError: when `out` holds a run already (without resume), was made from another configuration or other text
            (with resume), or has no whole checkpoint left; when the loss is no longer finite.
        FileNotFoundError: when there is no run to resume, or a file of the pairs is missing.
        ImportError: without sacrebleu, which scores translations.
        OSError: when the disk is full.
    """
    # Better now than at the first score.
    late_import("sacrebleu")
    with kept_rng():
        parallel = prepare_parallel(config.data)
        config = _resolved(config, parallel)
        torch.manual_seed(config.seed)
        named = (("pad", PAD), ("bos", BOS), ("eos", EOS))
        ids: dict[str, Any] = {f"{name}_token_id": SPECIAL.index(token) for name, token in named}
        model = UndulaForSeq2SeqLM(UndulaSeq2SeqConfig(model=to_dict(config.model), **ids))
        return train_into(out, config, model, TranslationTask(config, parallel), resume=resume, progress=progress)


def load_translator(folder: Path) -> Translator:
    """Return the model of a run's newest whole checkpoint, with tokenizer and configuration.

    Raises:
        FileNotFoundError: when the folder is no run, or has no checkpoint yet.
        ValueError: when it is not the run of a translator, or every checkpoint is damaged.
    """
    config, checkpoint = read_run(folder, TranslationTrainConfig), newest(folder)
    with no_progress_bars():
        model = UndulaForSeq2SeqLM.from_pretrained(checkpoint.path)
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    return Translator(folder=folder, config=config, checkpoint=checkpoint, model=model, tokenizer=tokenizer)


def translate(
    loaded: Translator,
    sentence: str,
    search: SearchConfig | None = None,
    *,
    on_text: Callable[[str], None] | None = None,
) -> str:
    """Return the translation of a sentence.

    Args:
        loaded: the translator.
        sentence: in its source language.
        search: how to search; None: as its run does.
        on_text: told every piece of text as it is made; with beams, the whole in the end.

    Raises:
        ValueError: for an empty sentence.
    """
    source = _tokens(loaded, sentence)
    options = search_options(_with(loaded.config, search))
    told = None
    if on_text is not None and options["num_beams"] == 1:
        told = _Teller(loaded.tokenizer, on_text)
    made = loaded.model.generate(source, streamer=told, **options)
    text = str(loaded.tokenizer.decode(made[0], skip_special_tokens=True))
    if on_text is not None and told is None:
        on_text(text)
    return text


def alignment_picture(loaded: Translator, sentence: str) -> Figure:
    """Return a picture of what each token of a sentence's translation reads, in mean over layers and heads.

    Raises:
        ValueError: for an empty sentence.
    """
    source = _tokens(loaded, sentence)
    with torch.no_grad():
        written = loaded.model.generate(source, **search_options(loaded.config))
        weights = loaded.model.model.alignment(source, written[:, :-1])[0]
    read, made = (
        [str(loaded.tokenizer.decode([i])) for i in row] for row in (source[0].tolist(), written[0, 1:].tolist())
    )
    return alignment(weights.numpy(), read, made)


def _tokens(loaded: Translator, sentence: str) -> Tensor:
    if not sentence.strip():
        raise ValueError("the sentence is empty; give some text to translate")
    return torch.tensor([encoded(loaded.tokenizer, [sentence.strip()], [""])[0][0]])


class _Teller(TextStreamer):
    """Hands on each piece of text that can no longer change."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, on_text: Callable[[str], None]) -> None:
        super().__init__(tokenizer, skip_special_tokens=True)  # pyright: ignore[reportArgumentType]
        self.on_text = on_text

    def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
        """Hand on a piece of text."""
        del stream_end
        if text:
            self.on_text(text)


def audit_translation_run(folder: Path) -> list[Finding]:
    """Return what was measured of the model of a run's newest whole checkpoint.

    Raises:
        FileNotFoundError: when the folder is no run, or has no checkpoint yet.
        ValueError: when it is not the run of a translator, or every checkpoint is damaged.
    """
    loaded = load_translator(folder)
    return audit_translator(loaded.model, len(loaded.tokenizer))


def evaluate_translation_run(
    folder: Path, data: str | None = None, searches: Sequence[SearchConfig | None] = (None,)
) -> list[TranslationScore]:
    """Return the scores of a run's model, one for each way of searching.

    Args:
        folder: the run's folder.
        data: a folder with `val` files in the run's languages; by default the run's own.
        searches: how translations are searched; None: as the run does.

    Raises:
        FileNotFoundError: when the folder is no run, or the sentences do not exist.
        ValueError: when the run's sentences are no longer what they were, or files do not belong together.
        ImportError: without sacrebleu.
    """
    loaded, held_out = with_held_out(folder, data)
    return [evaluate_search(loaded, held_out, search) for search in searches]


def with_held_out(folder: Path, data: str | None = None) -> tuple[Translator, HeldOut]:
    """Return a run's translator and the sentences that it is scored on; see `evaluate_translation_run`."""
    loaded = load_translator(folder)
    if data is not None:
        lines = read_pairs(dataclasses.replace(loaded.config.data, folder=data), "val")
        return loaded, HeldOut(encoded(loaded.tokenizer, *lines), lines[1])
    parallel = prepare_parallel(loaded.config.data)
    check_data(loaded.checkpoint, parallel.fingerprint)
    return loaded, parallel.held_out


def evaluate_search(loaded: Translator, held_out: HeldOut, search: SearchConfig | None) -> TranslationScore:
    """Return the score of a translator with one way of searching; None: as its run does."""
    options, size = search_options(_with(loaded.config, search)), loaded.config.eval_batch_size
    return evaluate_translation(loaded.model, held_out, loaded.tokenizer, size, options)


def grid(
    base: SearchConfig, beams: Sequence[int], lengths: Sequence[float], coverages: Sequence[float]
) -> list[SearchConfig]:
    """Return every combination of beams and penalties once; a single beam has no penalties."""
    found = []
    for num_beams, length, coverage in itertools.product(beams, lengths, coverages):
        penalties = {"length_penalty": length, "coverage_penalty": coverage} if num_beams > 1 else {}
        found.append(dataclasses.replace(base, num_beams=num_beams, **penalties))
    return list(dict.fromkeys(found))


def _with(config: TranslationTrainConfig, search: SearchConfig | None) -> TranslationTrainConfig:
    return config if search is None else dataclasses.replace(config, search=search)


def _resolved(config: TranslationTrainConfig, parallel: Parallel) -> TranslationTrainConfig:
    """The configuration with what only the data know, and a path that means the same from any folder."""
    data = dataclasses.replace(config.data, folder=resolved(config.data.folder))
    model = dataclasses.replace(config.model, vocab_size=len(parallel.tokenizer))
    return dataclasses.replace(config, data=data, model=model)
