"""Labelled items as batches: drawn, changed and padded."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset

from undula.data.augment import disturbed, generator_of, moved
from undula.data.augment_config import AugmentConfig
from undula.data.labelled import Item, Labelled
from undula.ops.metrics import IGNORED

SHUFFLE, CHANGE = 0, 1
"""What is drawn from a seed: the order of an epoch, or the changes of an item."""


@dataclasses.dataclass(frozen=True, eq=False)
class Drawn:
    """An item of training.

    Args:
        item: changed already.
        shares: four numbers between 0 and 1, for gaps in its spectrogram.
    """

    item: Item
    shares: Tensor


class TrainItems(Dataset[Drawn]):
    """Items in an order that is another one in each epoch; item i depends on the seed and on i alone.

    Args:
        data: what to train on.
        augment: how inputs are changed.
        seed: of order and changes.
        length: how many.
    """

    def __init__(self, data: Labelled, augment: AugmentConfig, *, seed: int, length: int) -> None:
        self.data, self.seed, self.length = data, seed, length
        self.augment = dataclasses.replace(augment, delay=augment.delay * data.sample_rate)
        self.epoch, self.order = -1, [0]

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Drawn:
        if not 0 <= index < self.length:
            raise IndexError(f"item {index} of {self.length}")
        epoch, place = divmod(index, len(self.data.train))
        if epoch != self.epoch:
            draw = generator_of(self.seed, SHUFFLE, epoch)
            self.epoch, self.order = epoch, torch.randperm(len(self.data.train), generator=draw).tolist()
        item, draw = self.data.train[self.order[place]], generator_of(self.seed, CHANGE, index)
        shares = torch.rand(4, generator=draw)
        if self.data.config.kind == "image":
            item = Item(moved(item.values, self.augment, draw), item.label)
        elif self.data.config.kind == "sound":
            item = Item(disturbed(item.values, self.augment, draw), item.label)
        return Drawn(item, shares)


def batched(items: Sequence[Item], data: Labelled) -> dict[str, Tensor]:
    """Return items as one batch, as `forward` of the model with that head takes it; padded on the right."""
    values, labels = [item.values for item in items], [item.label for item in items]
    if data.config.kind == "image":
        return {"pixel_values": torch.stack(values), "labels": torch.stack(labels)}
    longest = max(map(len, values))
    mask = torch.stack([torch.arange(longest) < len(row) for row in values]).long()
    name, fill = "input_values", 0
    if data.tokenizer is not None:
        name, fill = "input_ids", int(data.tokenizer.pad_token_id)  # pyright: ignore[reportArgumentType]
    tagged = data.config.target == "tags"
    return {
        name: _padded(values, fill),
        "attention_mask": mask,
        "labels": _padded(labels, IGNORED) if tagged else torch.stack(labels),
    }


def _padded(rows: Sequence[Tensor], fill: float) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True, padding_value=fill)
