"""One thin subclass of transformers' Trainer: our optimizer, score and records, checkpoints that are whole or absent.

The loop itself, devices, precision, accumulation, distribution and trackers are the Trainer's.
"""

import json
import math
import os
import shutil
from collections.abc import Sized
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, Trainer, TrainingArguments
from transformers.integrations.integration_utils import TensorBoardCallback

from undula.files import flush
from undula.optim.build import build_optimizer, build_schedule
from undula.optional import late_import
from undula.training.callbacks import Recorder, Timetable
from undula.training.config import RunConfig
from undula.training.debugging import debugging
from undula.training.manifest import prune, publish
from undula.training.quiet import no_progress_bars
from undula.training.records import METRICS, Listener
from undula.training.state import load_tree, rng_state, save_tree, set_rng_state
from undula.training.task import Task

BUILDING = ".building"
"""Below `checkpoints`: where a checkpoint is written before it counts."""
OPTIMIZER, SCHEDULE = "optimizer.safetensors", "schedule.safetensors"


class NonFiniteError(ValueError):
    """Training went to NaN or infinity."""


class RunTrainer(Trainer):
    """Trains a model as a `RunConfig` says, into a run's folder.

    Args:
        model: what is trained.
        config: the run.
        task: its data, its loss and its score.
        folder: where metrics, checkpoints and LATEST are written.
        listener: told about the progress.

    Raises:
        ValueError: when bfloat16 is asked for and the hardware has none.
        ImportError: when a tracker is not installed.
    """

    def __init__(
        self, model: nn.Module, config: RunConfig, task: Task, folder: Path, listener: Listener | None = None
    ) -> None:
        args = training_arguments(config, folder)
        per_step = config.batch_size * config.accumulation * args.world_size
        self.config, self.task, self.folder, self.held_out = config, task, folder, task.held_out
        self.validation: Any = None
        self.where = f"{args.device.type}, {'bfloat16' if args.bf16 else 'float32'}"
        self.recorder = Recorder(folder, config, task, items_per_step=per_step, where=self.where, listener=listener)
        super().__init__(
            model=model,
            args=args,
            data_collator=task.batch,
            train_dataset=task.items(config.steps * per_step),
            processing_class=task.tokenizer,
            callbacks=[*task.callbacks, Timetable(config), self.recorder],
        )
        self.remove_callback(PrinterCallback)
        for callback in self.callback_handler.callbacks:
            if isinstance(callback, TensorBoardCallback):
                # By default it writes below output_dir, where checkpoints are built and which is cleared in the end.
                callback.logging_dir = callback.logging_dir or str(folder / "tensorboard")
        if config.compile:
            # In place: parameters keep their names, and no wrapper stands between the model and what saves it.
            self._module.compile()

    @property
    def _module(self) -> nn.Module:
        return cast(nn.Module, self.model)

    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> SequentialSampler:
        # The items are random already: item i depends on the seed and on i alone.
        return SequentialSampler(cast(Sized, self.train_dataset))

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return the optimizer, made when first asked for."""
        if self.optimizer is None:
            self.optimizer = build_optimizer(self._module if model is None else model, self.config.optim)
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Return the schedule of the learning rate, made when first asked for."""
        if self.lr_scheduler is None:
            self.lr_scheduler = build_schedule(optimizer or self.optimizer, self.config.optim, num_training_steps)
        return self.lr_scheduler

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Return 0: nobody reads the count, and counting walks over all modules in every step."""
        return 0

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the loss of a batch; with it, where outputs are asked for, none."""
        loss = self.task.loss(model, inputs)
        return (loss, {}) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **kwargs: Any) -> None:
        """Log; training with the means of the loss's parts, and what callbacks tell, since the last log of it."""
        more = {**self.task.parts.take(), **self.task.news()} if "loss" in logs else {}
        super().log({**logs, **more}, *args, **kwargs)

    def training_step(
        self, model: nn.Module, inputs: dict[str, Any], num_items_in_batch: Tensor | int | None = None
    ) -> Tensor:
        """Add one batch's gradients.

        Raises:
            NonFiniteError: when the loss is NaN or infinite; the batch is saved below `debug`.
        """
        self.batch = inputs
        try:
            loss = super().training_step(model, inputs, num_items_in_batch)
        except Exception as error:
            if debugging():
                self._keep_batch(f"{type(error).__name__}: {error}")
            raise
        if not torch.isfinite(loss):
            # Here the Trainer has divided the loss by the number of batches in a step already.
            raise self._non_finite(f"the loss is {loss.item()}")
        return loss

    def _get_grad_norm(self, model: nn.Module, grad_norm: Any = None) -> Any:
        # The Trainer asks for it before each step of the optimizer.
        norm = super()._get_grad_norm(model, grad_norm=grad_norm)
        size = 0.0 if norm is None else float(norm)
        if not math.isfinite(size):
            raise self._non_finite(f"the norm of the gradients is {size}")
        return norm

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Score what is held out, and log it."""
        self.validation = self.score(eval_dataset)
        self.recorder.record_validation(self.validation)
        logs = {f"{metric_key_prefix}_{name}": value for name, value in self.validation.to_dict().items()}
        self.log(dict(logs))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, logs)
        return logs

    def score(self, held_out: Any = None) -> Any:
        """Return the score of what is held out, or of something else of that kind."""
        return self.task.score(self._module, self.held_out if held_out is None else held_out)

    def _save_checkpoint(self, model: nn.Module, trial: Any) -> None:
        bad = [name for name, p in self._module.named_parameters() if not torch.isfinite(p).all()]
        if bad:
            raise self._non_finite(f"{len(bad)} parameters hold NaN or infinity, {bad[0]} first")
        checkpoints = self.folder / "checkpoints"
        step = self.state.global_step
        try:
            with no_progress_bars():
                super()._save_checkpoint(model, trial)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                flush(self.folder / METRICS)
                built = checkpoints / BUILDING / f"checkpoint-{step}"
                prune(publish(built, checkpoints, step, self.task.data), self.config.keep_checkpoints)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(checkpoints / BUILDING, ignore_errors=True)
            reason = getattr(error, "strerror", None) or str(error)
            raise OSError(
                f"checkpoint of step {step} could not be written to {checkpoints}: {reason}; those before it are "
                "untouched: make room there, then resume"
            ) from error
        self.accelerator.wait_for_everyone()

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        # As the Trainer does it, but without a pickle of its arguments: loading one runs code.
        if self.args.should_save and output_dir is not None:
            bare = self.accelerator.unwrap_model(self._module, keep_torch_compile=False)
            bare.save_pretrained(output_dir, state_dict=state_dict)
            if self.task.tokenizer is not None:
                # Its own writer raises a bare Exception on a full disk; this one an OSError, and takes the room first.
                text = self.task.tokenizer.backend_tokenizer.to_str(True)
                (Path(output_dir) / "tokenizer.json").write_text(text, encoding="utf-8")
                self.task.tokenizer.save_pretrained(output_dir)
            if self.task.processor is not None:
                self.task.processor.save_pretrained(output_dir)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)
        elif self.args.should_save:
            save_tree(self.optimizer.state_dict(), Path(output_dir) / OPTIMIZER)
            save_tree(_without_functions(self.lr_scheduler.state_dict()), Path(output_dir) / SCHEDULE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None or self.is_fsdp_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)
        else:
            self.optimizer.load_state_dict(load_tree(Path(checkpoint) / OPTIMIZER))
            self.lr_scheduler.load_state_dict(load_tree(Path(checkpoint) / SCHEDULE))

    def _save_rng_state(self, output_dir: str) -> None:
        os.makedirs(output_dir, exist_ok=True)
        save_tree(rng_state(self.args.device), self._rng_file(output_dir))

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            set_rng_state(load_tree(self._rng_file(checkpoint)), self.args.device)

    def _rng_file(self, folder: str) -> Path:
        return Path(folder) / f"rng-{self.args.process_index}.safetensors"

    def _keep_batch(self, what: str) -> Path:
        """Write the last batch, and what happened to it, below `debug`; return the folder."""
        step = self.state.global_step
        debug = self.folder / "debug" / f"step-{step}"
        debug.mkdir(parents=True, exist_ok=True)
        save_file({k: v.contiguous().cpu() for k, v in self.batch.items()}, debug / "batch.safetensors")
        (debug / "what.json").write_text(json.dumps({"step": step, "what": what}) + "\n", encoding="utf-8")
        return debug

    def _non_finite(self, what: str) -> NonFiniteError:
        step, debug = self.state.global_step, self._keep_batch(what)
        return NonFiniteError(
            f"{what} after {step} whole steps; stopped, the batch is in {debug}: lower optim.learning_rate or raise "
            "optim.warmup_steps"
        )


def training_arguments(config: RunConfig, folder: Path) -> TrainingArguments:
    """Return the Trainer's arguments: what the config asks for, all else off."""
    for tracker in config.trackers:
        late_import(tracker)
    accelerated = config.device != "cpu" and torch.accelerator.is_available()
    args = TrainingArguments(
        output_dir=str(folder / "checkpoints" / BUILDING),
        run_name=config.name,
        max_steps=config.steps,
        per_device_train_batch_size=config.batch_size,
        gradient_accumulation_steps=config.accumulation,
        max_grad_norm=config.optim.grad_clip,
        bf16=_wants_bfloat16(config, accelerated),
        seed=config.seed,
        use_cpu=not accelerated,
        dataloader_pin_memory=accelerated,
        # A selector that has settled is part of the model, but of no loss.
        ddp_find_unused_parameters=getattr(config, "settling", 0.0) > 0,
        remove_unused_columns=False,
        use_cache=True,
        report_to=list(config.trackers) or "none",
        trackio_static_space_id=False,
        disable_tqdm=True,
        logging_nan_inf_filter=False,
        logging_strategy="no",
        eval_strategy="no",
        save_strategy="no",
    )
    if args.n_gpu > 1:
        # One process drives one device; several are driven by torchrun, not by threads of one process.
        args._n_gpu = 1
    return args


def _wants_bfloat16(config: RunConfig, accelerated: bool) -> bool:
    if config.precision == "float32":
        return False
    accelerator = torch.accelerator.current_accelerator() if accelerated else None
    kind = "cpu" if accelerator is None else accelerator.type
    has = _has_bfloat16(kind)
    if config.precision == "bfloat16" and not has:
        raise ValueError(f"precision='bfloat16', and this {kind} has none; take 'float32' or 'auto'")
    return has and (config.precision == "bfloat16" or kind == "cuda")


def _has_bfloat16(kind: str) -> bool:
    if kind == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return kind == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _without_functions(state: dict[str, Any]) -> dict[str, Any]:
    """A schedule's state without what is no number: its functions are made anew from the configuration."""
    return {k: v for k, v in state.items() if k != "lr_lambdas"} | {"lr_lambdas": [None]}
