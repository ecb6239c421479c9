"""Time and memory of a language model's loss and gradients on one long sequence that it reads in pieces."""

from collections.abc import Callable

import torch

from undula.bench.cases import PiecesCase
from undula.bench.environment import make_records
from undula.bench.harness import fresh_run, precision
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.models.config import ModelConfig
from undula.models.language_model import build_language_model
from undula.models.pieces import loss_in_pieces


def bench_pieces(name: str, case: PiecesCase, setting: BenchSetting) -> list[Record]:
    """Return a record for each model and length, each from one run in a process of its own.

    Args:
        name: the case's name, for the records.
        case: models and lengths.
        setting: device and threads; one run each, whatever its repeats.

    Raises:
        ValueError: for a device that is not there.
    """
    measured = []
    for label, config in case.models.items():
        for length in case.lengths:
            run = fresh_run(prepare_loss, config, length, case.piece, setting, setting=setting)
            what = {"case": name, "model": label, "length": length, "piece": case.piece}
            figures = {
                "seconds": run.seconds,
                "cpu_seconds": run.cpu_seconds,
                "tokens_per_second": length / run.seconds,
                "peak_bytes": run.peak_bytes,
                "parameters": sum(p.numel() for p in build_language_model(config).parameters()),
            }
            measured.append((what, figures))
    return make_records("pieces", measured, setting)


def prepare_loss(config: ModelConfig, length: int, piece: int, setting: BenchSetting) -> Callable[[], None]:
    """Return what computes the loss of a sequence and the gradients of all parameters."""
    torch.manual_seed(0)
    model = build_language_model(config).to(setting.device)
    ids = torch.randint(config.vocab_size, (1, length + 1), device=setting.device)

    def run() -> None:
        with precision(setting):
            found = loss_in_pieces(model, ids[:, :-1], ids[:, 1:], piece)
        (found.nats / found.count).backward()

    return run
