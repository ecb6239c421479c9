"""`SpectralTrainer`: the documented way to train on one's own loaders, over the one trainer."""

import json
import logging
import math
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from torch import nn
from torch.utils.data import DataLoader
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from undula.data.texts import Encoder, EnhancedTextDataset
from undula.files import flush, write_flushed
from undula.models.spectral_llm_config import SECTIONS, Config
from undula.nn.mps import optimize_for_mps
from undula.optim.config import OptimConfig
from undula.optim.evolution import FEWEST
from undula.training.config import EvolutionConfig, RunConfig
from undula.training.debugging import debugging
from undula.training.evolution import Evolution
from undula.training.flags import Command, FlagFolder
from undula.training.loader import LoaderTask, LoaderTrainer, first_rows
from undula.training.manifest import newest_whole
from undula.training.memory import MemoryTracker
from undula.training.records import METRICS, drop_lines_after
from undula.training.spectral_gap import SpectralGap
from undula.training.state import kept_rng, load_tree, save_tree
from undula.validation.batches import Scorer, evaluate_batches
from undula.validation.results import plain

SCORES = ("loss", "perplexity", "accuracy")
BETAS = (0.9, 0.95)
WARM_UP = 500
"""Steps, where neither the call nor the configuration says how many."""
WINDOWS = ("batch_size", "seq_length", "stride", "validate_sequences")
"""What a configuration says of the windows that texts are cut into."""
ANALYSED = 8
"""Windows whose spectral gap is measured."""
BEST, STATS, SAVED = "best_model.safetensors", "training_stats.json", "saved_models"

log = logging.getLogger(__name__)


class SpectralTrainer:
    """Trains a language model on loaders of (inputs, targets), with AdamW (betas 0.9 and 0.95, gradients cut at 1).

    An error of the model or of the data ends the training: no batch is left out, and no number is made up for it. In
    debug mode (UNDULA_DEBUG=1) the batch is kept below `debug`. One process alone obeys flags.

    With `enable_evolution` the wavelets evolve every `evolution_every` steps: the first 64 windows of `val_loader`
    choose and confirm, so that its score is no longer that of text which chose nothing. `spectral_gap_analysis` adds
    the gap of its first 8 windows to the log. `use_mps` goes through `optimize_for_mps`.

    Args:
        model: called with token ids (B, T); returns scores (B, T, V), an object or dictionary with `logits`, or a tuple
            that begins with them. Trained in place.
        config: has `learning_rate`, and may have `weight_decay`, `warmup_steps` and `seed`, what `loader` reads, and
            `enable_evolution`, `evolution_population`, `evolution_generations`, `evolution_every`,
            `spectral_gap_analysis`, `use_mps`: attributes (`Config`), keys, or keys of the dictionaries `training`,
            `data` and `model` in it. What else it has is the model's.
        use_optimized_lr: warm-up and a cosine, see `create_optimized_scheduler`; False: a constant rate.

    Raises:
        ValueError: without a learning rate.

    Source: SpectralLLM, reference document, "SpectralTrainer".
    """

    def __init__(self, model: nn.Module, config: Any, use_optimized_lr: bool = True) -> None:
        self.model = optimize_for_mps(model) if _setting(config, "use_mps", False) else model
        self.config, self.use_optimized_lr = config, use_optimized_lr
        rate = _setting(config, "learning_rate", None)
        if rate is None:
            raise ValueError("config has no learning_rate; give one, such as 1e-4")
        self.learning_rate = float(rate)
        self.weight_decay = float(_setting(config, "weight_decay", Config.weight_decay))
        self.warmup_steps = int(_setting(config, "warmup_steps", WARM_UP))
        self.seed = int(_setting(config, "seed", 0))

    def loader(self, texts: Sequence[str], tokenizer: Encoder, *, shuffle: bool = False) -> DataLoader[Any]:
        """Return the windows of texts in batches: `batch_size` of `seq_length` tokens, `stride` apart.

        With `validate_sequences` they are checked as `EnhancedTextDataset` does. What the configuration does not say is
        as in `Config`.

        Args:
            texts: laid end to end.
            tokenizer: has `encode(text)`.
            shuffle: draw another order in each epoch, for training.

        Raises:
            ValueError: for texts that are shorter than a window, or a number below 1.
        """
        said = {name: _setting(self.config, name, getattr(Config, name)) for name in WINDOWS}
        batch_size = said.pop("batch_size")
        return DataLoader(EnhancedTextDataset(texts, tokenizer, **said), batch_size, shuffle=shuffle)

    def train(
        self,
        train_loader: DataLoader[Any],
        val_loader: DataLoader[Any] | None = None,
        num_epochs: int = 10,
        output_dir: str | Path | None = None,
        target_perplexity: float | None = None,
        warmup_steps: int | None = None,
        min_lr_ratio: float = 0.1,
        *,
        resume: bool = False,
    ) -> dict[str, list[float]]:
        """Train, and return the history: lists of train and val loss, perplexity and accuracy, one entry per epoch.

        An epoch that a flag cuts short has an entry, too. Without `val_loader` what is validated is NaN.

        Args:
            train_loader: has a length.
            val_loader: scored after each epoch.
            num_epochs: the most.
            output_dir: the run's folder; None: nothing is kept, and no flag is obeyed. Flags are looked for in
                `saved_models` beside it.
            target_perplexity: end when the validation reaches it.
            warmup_steps: see `create_optimized_scheduler`; None: as the configuration says, or 500.
            min_lr_ratio: see `create_optimized_scheduler`.
            resume: go on after the newest whole checkpoint, bit for bit.

        Raises:
            ValueError: for an empty loader, a target, an evolution or an analysis without validation, or a folder that
                holds a run (without resume).
            NonFiniteError: when the loss is NaN or infinite.
        """
        if num_epochs < 1 or len(train_loader) < 1:
            raise ValueError(f"num_epochs={num_epochs} of {len(train_loader)} batches; wanted at least 1 of each")
        if target_perplexity is not None and (val_loader is None or not target_perplexity > 1):
            raise ValueError(
                f"target_perplexity={target_perplexity}; wanted more than 1, and a val_loader to reach it on"
            )
        warm = self.warmup_steps if warmup_steps is None else warmup_steps
        config = self._run_config(num_epochs, len(train_loader), warm, min_lr_ratio)
        with ExitStack() as stack:
            stack.enter_context(kept_rng())
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()) if output_dir is None else output_dir)
            checkpoint = _opened(folder, resume)
            scorer = Scorer(self.model)
            task = LoaderTask(scorer, train_loader, val_loader, self.seed)
            task.callbacks = self._beside(config, val_loader)
            trainer = LoaderTrainer(scorer, config, task, folder)
            flags = None if output_dir is None else FlagFolder(folder.parent / SAVED)
            keeper = Keeper(self.model, task, folder, flags, target_perplexity)
            memory = MemoryTracker(trainer.args.device)
            # Last, so that what the timetable says can be overruled.
            trainer.add_callback(keeper)
            trainer.add_callback(memory)
            trainer.train(resume_from_checkpoint=checkpoint)
            self._finish(keeper, memory, trainer.state.global_step)
        return keeper.history

    def _beside(self, run: RunConfig, val_loader: DataLoader[Any] | None) -> list[TrainerCallback]:
        """What goes on beside training, as the configuration says."""
        wanted = [name for name in ("enable_evolution", "spectral_gap_analysis") if _setting(self.config, name, False)]
        if not wanted:
            return []
        if val_loader is None:
            raise ValueError(f"{wanted[0]} needs windows that are held out; give a val_loader")
        inputs, labels = first_rows(val_loader, 2 * EvolutionConfig.windows, self.seed)
        found: list[TrainerCallback] = []
        if "enable_evolution" in wanted:
            if len(inputs) < 2 * FEWEST:
                raise ValueError(f"val_loader has {len(inputs)} windows; enable_evolution needs at least {2 * FEWEST}")
            names = {"every": "evolution_every", "population": "evolution_population"}
            names["generations"] = "evolution_generations"
            said = {name: _setting(self.config, field, getattr(Config, field)) for name, field in names.items()}
            plan = EvolutionConfig(**said, windows=len(inputs) // 2)
            found.append(Evolution(plan, *([(inputs[i::2], labels[i::2])] for i in (0, 1)), seed=self.seed))
        if "spectral_gap_analysis" in wanted:
            found.append(SpectralGap(inputs[:ANALYSED], run.eval_every, run.steps))
        return found

    def _finish(self, keeper: "Keeper", memory: MemoryTracker, steps: int) -> None:
        stats = memory.stats()
        if stats["leak"]:
            log.warning("memory grew through the whole run: %s", stats)
        keeper.write_stats(
            {
                "total_errors": 0,  # an error ends the run, and nothing is written
                "total_batches": steps,
                "memory_stats": stats,
                "scheduler_type": "optimized" if self.use_optimized_lr else "constant",
                "optimizer_betas": list(BETAS),
            }
        )

    def evaluate(self, val_loader: DataLoader[Any]) -> dict[str, float]:
        """Return val_loss, val_perplexity, val_accuracy, processed_batches and total_tokens; NaN for no batch."""
        score = evaluate_batches(self.model, val_loader)
        counts = {"processed_batches": score.num_batches, "total_tokens": score.metrics.num_tokens}
        return {f"val_{name}": value for name, value in score.to_dict().items()} | counts

    def save_checkpoint(self, path: str | Path, epoch: int, metrics: Mapping[str, float]) -> None:
        """Write the model's state with an epoch and its metrics, whole or not at all; loading it runs no code."""
        save_whole({"model_state_dict": dict(self.model.state_dict()), "epoch": epoch, "metrics": dict(metrics)}, path)

    def load_checkpoint(self, path: str | Path) -> tuple[int, dict[str, float]]:
        """Load the state that `save_checkpoint` wrote into the model; return the epoch and the metrics."""
        saved = load_tree(Path(path))
        self.model.load_state_dict(saved["model_state_dict"])
        return saved["epoch"], saved["metrics"]

    def _run_config(self, epochs: int, per_epoch: int, warmup_steps: int, min_lr_ratio: float) -> RunConfig:
        steps = epochs * per_epoch
        warm = warmup_steps if warmup_steps < steps else max(1, steps // 10)
        shape = {"min_learning_rate": self.learning_rate * min_lr_ratio, "warmup_steps": warm}
        constant = {"min_learning_rate": self.learning_rate, "warmup_steps": 0}
        optim = OptimConfig(
            learning_rate=self.learning_rate,
            weight_decay=self.weight_decay,
            betas=BETAS,
            **(shape if self.use_optimized_lr else constant),
        )
        return RunConfig(
            name="spectral",
            optim=optim,
            steps=steps,
            batch_size=1,
            seed=self.seed,
            log_every=1 if debugging() else per_epoch,
            eval_every=per_epoch,
            save_every=per_epoch,
        )


class Keeper(TrainerCallback):
    """Keeps history and the best model, ends at the target, and obeys flags.

    Args:
        model: what is saved.
        task: tells how training went.
        folder: the run's.
        flags: where commands come from.
        target: perplexity of the validation at which the run ends.
    """

    def __init__(
        self, model: nn.Module, task: LoaderTask, folder: Path, flags: FlagFolder | None, target: float | None
    ) -> None:
        self.model, self.task, self.folder, self.flags, self.target = model, task, folder, flags, target
        self.history: dict[str, list[float]] = {f"{side}_{name}": [] for side in ("train", "val") for name in SCORES}
        self.best, self.reached = math.inf, None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up the history of a run that is resumed."""
        path = self.folder / STATS
        if state.global_step and path.exists():
            done = json.loads(path.read_text(encoding="utf-8"))["history"]
            self.history = {name: [math.nan if v is None else v for v in done[name]] for name in self.history}
            self.best = min((v for v in self.history["val_loss"] if not math.isnan(v)), default=math.inf)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Obey a flag."""
        command = None if self.flags is None else self.flags.next()
        if command is None or self.flags is None:
            return
        if command.stops:
            # Before a checkpoint there is always a log, and the last step is always scored.
            control.should_training_stop = control.should_save = True
            control.should_log = control.should_evaluate = True
        saved = self._saved(command, state.global_step)
        self.flags.complete(command, saved, {"step": state.global_step, "stops": command.stops})
        log.warning("flag %s: %s at step %d", command.name, command.command, state.global_step)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write down how the epoch went; keep the best model; end at the target."""
        scores = kwargs["metrics"]
        for name, value in self.task.take().items():
            self.history[f"train_{name}"].append(value)
        for name in SCORES:
            self.history[f"val_{name}"].append(scores[f"eval_{name}"])
        loss = scores["eval_loss"]
        if loss < self.best:
            self.best = loss
            save_whole(dict(self.model.state_dict()), self.folder / BEST)
        if self.target is not None and scores["eval_perplexity"] <= self.target:
            self.reached = len(self.history["val_loss"])
            control.should_training_stop = True
        self.write_stats({})

    def write_stats(self, more: Mapping[str, Any]) -> None:
        """Write training_stats.json; numbers that JSON does not know become null."""
        stats = {
            "history": self.history,
            "target_perplexity": self.target,
            "target_reached": self.reached is not None,
            "target_epoch": self.reached,
            **more,
        }
        write_flushed(self.folder / STATS, json.dumps(plain(stats), indent=1, allow_nan=False) + "\n")

    def _saved(self, command: Command, step: int) -> Path | None:
        if not command.saves or self.flags is None:
            return None
        path = self.flags.folder / f"model_save_{command.timestamp}.safetensors"
        save_whole(
            {
                "model_state_dict": dict(self.model.state_dict()),
                "epoch": len(self.history["val_loss"]),
                "metrics": {"step": step},
            },
            path,
        )
        return path


def save_whole(tree: Any, path: str | Path) -> None:
    """Write tensors and plain values so that the file is whole or absent."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.new")
    save_tree(tree, beside)
    flush(beside)
    beside.replace(path)


def _opened(folder: Path, resume: bool) -> str | None:
    """The checkpoint to go on from in a run's folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    found = newest_whole(folder)
    if found is not None and not resume:
        raise ValueError(f"{folder} holds a run already; resume=True goes on with it, or give another output_dir")
    drop_lines_after(folder / METRICS, 0 if found is None else found.step)
    return None if found is None else str(found.path)


def _setting(config: Any, name: str, default: Any) -> Any:
    """What a configuration says, flat or in a section; None counts as nothing."""
    if isinstance(config, Mapping):
        parts = [config, *(part for key in SECTIONS if isinstance(part := config.get(key), Mapping))]
        found = next((part[name] for part in parts if part.get(name) is not None), None)
    else:
        found = getattr(config, name, None)
    return default if found is None else found
