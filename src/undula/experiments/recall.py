"""Models on tasks of memory: trained on short episodes, asked in long ones."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from undula.bench.environment import make_records
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.data.synthetic import HELD_OUT, TaskWindows, known_task
from undula.experiments.run import load_run, train_run
from undula.training.config import TrainConfig
from undula.training.records import Listener
from undula.validation.recall import recalled


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A model by its name, and the run that trains it on a task."""

    model: str
    config: TrainConfig


def recall(
    contender: Contender,
    lengths: Sequence[int],
    out: Path,
    *,
    episodes: int = HELD_OUT,
    watch: Callable[[Contender], Listener] | None = None,
) -> Record:
    """Train a model on a task and return the share of right answers by length of the episode.

    A run that is in the folder already and was made from the same configuration is not trained again.

    Args:
        contender: what is trained.
        lengths: steps of the episodes in which it is asked.
        out: folder of all such runs.
        episodes: of each length; all models get the same.
        watch: told about the progress.

    Raises:
        ValueError: when the run trains on no task, or a length has no room for it.
    """
    config, name = contender.config, contender.model
    task = known_task(config.data.source)
    if task is None:
        raise ValueError(f"data.source={config.data.source!r} is no task of memory; take needle or copy")
    seed = config.data.split_seed
    asked = [TaskWindows(task, length, seed=seed, length=episodes, held_out=True) for length in lengths]
    folder = out / "-".join(re.findall(r"\w+", name))
    listener = None if watch is None else watch(contender)
    started = time.process_time()
    result = train_run(config, folder, resume=(folder / "config.json").exists(), progress=listener)
    seconds = time.process_time() - started
    model = load_run(folder).model.model
    figures = {
        "accuracy": {str(windows.block_size): recalled(model, windows).accuracy for windows in asked},
        "answers": episodes * task.count,
        "parameters": result.parameters,
        "train_cpu_seconds": seconds,
        "loss": result.validation.loss,
    }
    what = {"case": config.data.source, "model": name, "train_length": config.data.block_size}
    (record,) = make_records(task.kind, [({**what, "run": to_dict(result.config)}, figures)], BenchSetting())
    return record
