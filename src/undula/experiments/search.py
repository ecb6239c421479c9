"""Ways of searching for translations: what each does to the score of trained translators, and how long it takes."""

import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from undula.bench.environment import Config, make_records
from undula.bench.harness import measuring
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.experiments.folder import read_run
from undula.experiments.translation import evaluate_translation_run, grid
from undula.training.translation_config import SearchConfig, TranslationTrainConfig


def bench_search(
    folders: Sequence[Path],
    beams: Sequence[int],
    lengths: Sequence[float],
    coverages: Sequence[float],
    setting: BenchSetting,
) -> list[Record]:
    """Return a record for each run and each way of searching: BLEU, words of a translation, sentences per second.

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
    measured = []
    with measuring(setting):
        for folder in folders:
            config = read_run(folder, TranslationTrainConfig)
            searches = grid(config.search, beams, lengths, coverages)
            measured += [(_described(config, search), _searched(folder, search)) for search in searches]
    return make_records("search", measured, setting, peers=("sacrebleu",))


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


def _searched(folder: Path, search: SearchConfig) -> Config:
    begin = time.perf_counter()
    (scored,) = evaluate_translation_run(folder, searches=[search])
    seconds = time.perf_counter() - begin
    return {
        "bleu": scored.bleu,
        "words": statistics.fmean(len(text.split()) for text in scored.translations),
        "sentences": scored.count,
        "seconds": seconds,
        "sentences_per_second": scored.count / seconds,
    }
