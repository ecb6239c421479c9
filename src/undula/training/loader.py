"""A language model trained on somebody's own loader of (inputs, targets), as a task of the trainer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset

from undula.models.language_model import LanguageModel
from undula.ops.metrics import Metrics, summed_nats
from undula.training.objective import PARTS, Means
from undula.training.records import Progress
from undula.training.state import load_tree, save_tree
from undula.training.task import Task
from undula.training.trainer import RunTrainer
from undula.validation.batches import BatchScore, Scorer, evaluate_batches, num_correct, pair_of

MODEL = "model.safetensors"


class LoaderBatches(IterableDataset[Any]):
    """The batches of a loader, epoch after epoch: a shuffled order depends on the seed and the epoch alone.

    Args:
        loader: what is gone through; may have another length in each epoch, but not none.
        length: batches in all.
        seed: of the order.
    """

    def __init__(self, loader: DataLoader[Any], length: int, seed: int) -> None:
        self.loader, self.length, self.seed = loader, length, seed

    def __iter__(self) -> Iterator[Any]:
        given = epoch = 0
        while given < self.length:
            before = given
            for batch in self._epoch(epoch):
                yield batch
                given += 1
                if given == self.length:
                    return
            if given == before:
                raise ValueError(f"the loader gave no batch in epoch {epoch + 1}; wanted at least one")
            epoch += 1

    def _epoch(self, epoch: int) -> Iterator[Any]:
        # The sampler draws its order when the first batch is asked for; the run's own random numbers go on untouched.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed + epoch)
            if isinstance(self.loader.generator, torch.Generator):
                self.loader.generator.manual_seed(self.seed + epoch)
            batches = iter(self.loader)
            first = next(batches, None)
        if first is not None:
            yield first
            yield from batches


def first_rows(loader: DataLoader[Any], number: int, seed: int) -> tuple[Tensor, Tensor]:
    """Return so many inputs and targets of a loader, or all it has; of a shuffled one always the same.

    Raises:
        ValueError: when it has none, or they are of different lengths.
    """
    rows: list[tuple[Tensor, Tensor]] = []
    for batch in LoaderBatches(loader, len(loader), seed):
        rows += zip(*pair_of(batch), strict=True)
        if len(rows) >= number:
            break
    lengths = {len(inputs) for inputs, _ in rows}
    if len(lengths) != 1:
        raise ValueError(f"windows of {sorted(lengths)} tokens; wanted windows of one length")
    inputs, labels = zip(*rows[:number], strict=True)
    return torch.stack(inputs), torch.stack(labels)


class LoaderTask(Task):
    """Predict the targets of a loader's batches; scored in nats per token over all batches of another one.

    Args:
        scorer: the model.
        train: batches to train on.
        held_out: batches to score on; none: the score is that of nothing.
        seed: of the order of the batches.
    """

    progress = Progress
    data = "loader"

    def __init__(self, scorer: Scorer, train: DataLoader[Any], held_out: DataLoader[Any] | None, seed: int) -> None:
        self.train, self.held_out, self.seed = train, [] if held_out is None else held_out, seed
        self.parts, self.language_model = (
            Means(),
            next((part for part in scorer.modules() if isinstance(part, LanguageModel)), None),
        )
        self.seen, self.correct, self.last_tokens = Metrics(), 0, 0

    def items(self, length: int) -> Dataset[Any]:
        """Return this many batches."""
        return LoaderBatches(self.train, length, self.seed)

    def batch(self, items: list[Any]) -> dict[str, Tensor]:
        """Return a batch by name."""
        inputs, labels = pair_of(items[0])
        return {"input_ids": inputs, "shift_labels": labels}

    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean nats per target, and what the model adds to them; count for `take`."""
        labels = batch["shift_labels"]
        logits = model(input_ids=batch["input_ids"]).logits
        nats, count = summed_nats(logits, labels)
        self.last_tokens = int(count)
        self.seen += Metrics(nats.item(), self.last_tokens)
        self.correct += num_correct(logits.detach(), labels)
        loss = nats / count
        added = None if self.language_model is None else self.language_model.aux_loss()
        if added is None:
            return loss
        self.parts.add({"ce": loss, "aux": added})
        return loss + added

    def score(self, model: nn.Module, held_out: Any) -> BatchScore:
        """Return the score over all batches."""
        return evaluate_batches(model, held_out)

    def line(self, logs: dict[str, Any], items_per_second: float) -> dict[str, Any]:
        """Return tokens per second, and the loss's parts where it has several."""
        rate = {"tokens_per_second": items_per_second * self.last_tokens}
        return rate | {name: value for name, value in logs.items() if name in PARTS}

    def take(self) -> dict[str, float]:
        """Return loss, perplexity and accuracy of training since the last call, every token weighing the same."""
        found = BatchScore(metrics=self.seen, num_correct=self.correct).to_dict()
        self.seen, self.correct = Metrics(), 0
        return found


class LoaderTrainer(RunTrainer):
    """The trainer for models that are no Hugging Face models: a checkpoint holds the model's own state."""

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self.args.should_save and output_dir is not None:
            folder = Path(output_dir)
            folder.mkdir(parents=True, exist_ok=True)
            save_tree(self._bare().state_dict(), folder / MODEL)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        self._bare().load_state_dict(load_tree(Path(resume_from_checkpoint) / MODEL))

    def _bare(self) -> nn.Module:
        scorer = self.accelerator.unwrap_model(self._module, keep_torch_compile=False)
        return scorer.model
