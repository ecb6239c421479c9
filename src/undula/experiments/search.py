"""Ways of searching for translations: what each does to the score of trained translators, and how long it takes."""

import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from undula.bench.environment import Config, make_records, now
from undula.bench.harness import measuring
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.data.parallel import HeldOut
from undula.experiments.translation import Translator, evaluate_search, grid, with_held_out
from undula.training.translation_config import SearchConfig, TranslationTrainConfig


def bench_search(
    folders: Sequence[Path],
    beams: Sequence[int],
    lengths: Sequence[float],
    coverages: Sequence[float],
    setting: BenchSetting,
) -> Iterator[Record]:
    """Give a record for each run and each way of searching: BLEU, words of a translation, sentences per second.

    Args:
        folders: of finished runs; several of one model are its seeds.
        beams: numbers of sequences that are followed at once.
        lengths: values of `length_penalty`.
        coverages: values of `coverage_penalty`.
        setting: how to measure; one pass each.

    Raises:
        FileNotFoundError: when a folder is no run, or sentences do not exist.
        ValueError: when a run's sentences are no longer what they were, or it is no translator's.
        ImportError: without sacrebleu.
    """
    date = now()
    with measuring(setting):
        for folder in folders:
            loaded, held_out = with_held_out(folder)
            for search in grid(loaded.config.search, beams, lengths, coverages):
                measured = _described(loaded.config, search), _searched(loaded, held_out, search)
                yield from make_records("search", [measured], setting, peers=("sacrebleu",), date=date)


def _described(config: TranslationTrainConfig, search: SearchConfig) -> Config:
    beyond_greedy = search.num_beams > 1
    return {
        "case": Path(config.data.folder).name,
        "model": config.name,
        "seed": config.seed,
        "steps": config.steps,
        "num_beams": search.num_beams,
        "length_penalty": search.length_penalty if beyond_greedy else None,
        "coverage_penalty": search.coverage_penalty if beyond_greedy else None,
    }


def _searched(loaded: Translator, held_out: HeldOut, search: SearchConfig) -> Config:
    begin = time.perf_counter()
    scored = evaluate_search(loaded, held_out, search)
    seconds = time.perf_counter() - begin
    return {
        "bleu": scored.bleu,
        "words": statistics.fmean(len(text.split()) for text in scored.translations),
        "sentences": scored.count,
        "seconds": seconds,
        "sentences_per_second": scored.count / seconds,
    }
