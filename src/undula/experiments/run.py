"""A run is a folder: train into it, resume it, load its model, score it.

config.json          the whole configuration
metrics.jsonl        a line for each log and each score of the held-out text
checkpoints/step-N   a Hugging Face model folder, with what a resumed run needs
LATEST               the name of the newest checkpoint
tensorboard          what TensorBoard reads, where that tracker is asked for
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from undula.config import to_dict
from undula.data.build import Prepared, evaluation_stream, prepare
from undula.data.stream import EvalWindows
from undula.experiments.folder import RunResult, check_data, newest, read_run, resolved, train_into
from undula.hf.configuration import UndulaConfig
from undula.hf.modeling import UndulaForCausalLM
from undula.models.evolvable import evolvable
from undula.ops.metrics import Metrics
from undula.training.config import TrainConfig
from undula.training.manifest import Checkpoint
from undula.training.quiet import no_progress_bars
from undula.training.records import METRICS, Line, Listener, read_lines
from undula.training.state import kept_rng
from undula.training.text import TextTask
from undula.validation.evaluate import evaluate


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A trained model, as its run left it.

    Args:
        folder: the run's folder.
        config: what was run.
        checkpoint: where model and tokenizer come from.
        model: in evaluation mode, on the CPU.
        tokenizer: its tokenizer.
    """

    folder: Path
    config: TrainConfig
    checkpoint: Checkpoint
    model: UndulaForCausalLM
    tokenizer: PreTrainedTokenizerFast


def train_run(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: Listener | None = None,
    cache_dir: Path | None = None,
) -> RunResult[TrainConfig]:
    """Train a model into a folder; the global random generators are left as they were.

    Args:
        config: the whole run.
        out: the run's folder; made if needed.
        resume: go on where the newest whole checkpoint ends, bit for bit; without one, from the start.
        progress: told about the progress.
        cache_dir: where prepared corpora are kept.

    Raises:
        ValueError: when `out` holds a run already (without resume), was made from another configuration or text (with
            resume), or has no whole checkpoint left; when the text is too short; when the loss is no longer finite.
        FileNotFoundError: when there is no run to resume, or no text.
        OSError: when the disk is full.
    """
    with kept_rng():
        prepared = prepare(config.data, cache_dir)
        config = resolved_config(config, prepared)
        # The same start values whatever was drawn before, in this process or in another. Built before the folder is
        # touched: a configuration that is refused leaves none behind.
        torch.manual_seed(config.seed)
        model = _build_model(config, prepared.tokenizer)
        model.model.use_counts(prepared.train.counts())
        return train_into(out, config, model, TextTask(model, config, prepared), resume=resume, progress=progress)


def read_config(folder: Path) -> TrainConfig:
    """Return the configuration of a language model's run.

    Raises:
        FileNotFoundError: when the folder is no run.
        ValueError: when it trained something else, or its configuration cannot be read.
    """
    return read_run(folder, TrainConfig)


def read_metrics(folder: Path) -> list[Line]:
    """Return the lines of a run's metrics: training lines have `loss`, scores `validation_loss`.

    Raises:
        FileNotFoundError: when the folder is no run.
        ValueError: when a line is not JSON.
    """
    read_config(folder)
    return read_lines(folder / METRICS)


def load_run(folder: Path) -> Run:
    """Return the model of a run's newest whole checkpoint, with tokenizer and configuration.

    Without the embedding table that training faded out, if it did: the checkpoint keeps it, so that it can be resumed.

    Raises:
        FileNotFoundError: when the folder is no run, or has no checkpoint yet.
        ValueError: when every checkpoint is damaged.
    """
    config = read_config(folder)
    checkpoint = newest(folder)
    with no_progress_bars():
        model = UndulaForCausalLM.from_pretrained(checkpoint.path)
    model.finalize_annealing()
    tokenizer = AutoTokenizer.from_pretrained(checkpoint.path)
    return Run(folder=folder, config=config, checkpoint=checkpoint, model=model, tokenizer=tokenizer)


def evaluate_run(
    folder: Path,
    data: str | None = None,
    *,
    length: int | None = None,
    piece: int | None = None,
    cache_dir: Path | None = None,
) -> Metrics:
    """Return the score of a run's model.

    Args:
        folder: the run's folder.
        data: a text file or folder, scored whole; by default the run's own held-out text.
        length: tokens in a window; None: as in the run.
        piece: tokens of a window that the model reads at a time, 0 for all; None: as in the run.
        cache_dir: where prepared corpora are kept.

    Raises:
        FileNotFoundError: when the folder is no run, or the text does not exist.
        ValueError: when the run's text is no longer what it was, or a text is too short or unknown to the tokenizer.
    """
    run = load_run(folder)
    if data is None:
        prepared = prepare(run.config.data, cache_dir)
        check_data(run.checkpoint, prepared.fingerprint)
        windows = prepared.eval_windows(length)
    else:
        size = length or run.config.data.eval_block_size or run.config.data.block_size
        windows = EvalWindows(evaluation_stream(data, run.tokenizer), size)
    piece = run.config.piece if piece is None else piece
    # As many tokens in a batch as in the run, or one window.
    rows = max(1, run.config.eval_batch_size * run.config.data.block_size // windows.block_size)
    return evaluate(run.model, windows, min(rows, run.config.eval_batch_size), piece)


def resolved_config(config: TrainConfig, prepared: Prepared) -> TrainConfig:
    """Return the configuration with what only the data know, and a path that means the same from any folder."""
    data = dataclasses.replace(config.data, source=resolved(config.data.source))
    model = evolvable(config.model) if config.evolution.every else config.model
    return dataclasses.replace(config, data=data, model=dataclasses.replace(model, vocab_size=prepared.vocab_size))


def _build_model(config: TrainConfig, tokenizer: PreTrainedTokenizerFast) -> UndulaForCausalLM:
    pad, eos = (cast(int, i) for i in (tokenizer.pad_token_id, tokenizer.eos_token_id))
    return UndulaForCausalLM(UndulaConfig(model=to_dict(config.model), pad_token_id=pad, eos_token_id=eos))
