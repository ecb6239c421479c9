"""What a kind of model decides beside the one training loop."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast, TrainerCallback

from undula.training.objective import Means
from undula.training.records import RunProgress

NEWS = ("evolution_", "freq_limit", "spectral_")
"""What the names of numbers begin with that callbacks tell."""


@runtime_checkable
class Teller(Protocol):
    """A callback that has something to tell at the next log."""

    def take(self) -> dict[str, float]:
        """Return numbers by name, each once; the names begin as `NEWS` says."""
        ...


@runtime_checkable
class Processor(Protocol):
    """What transformers calls an image processor or a feature extractor."""

    def save_pretrained(self, save_directory: str, /) -> Any:
        """Write preprocessor_config.json."""
        ...


class Task(ABC):
    """Data, loss, score, and how both are told: text and sound give one each.

    Attributes:
        progress: what the listener gets: beyond `RunProgress` a `validation`, and what it takes from a line of metrics.
        data: fingerprint of all that is trained on; a checkpoint keeps it.
        held_out: what is scored.
        parts: means of what the loss is the sum of.
        tokenizer: saved beside the model, where there is one.
        processor: what makes inputs of images or recordings for others; saved likewise.
        callbacks: what else changes from step to step.
    """

    progress: ClassVar[type[RunProgress]]
    data: str
    held_out: Any
    parts: Means
    tokenizer: PreTrainedTokenizerFast | None = None
    processor: Processor | None = None
    callbacks: Sequence[TrainerCallback] = ()

    def news(self) -> dict[str, float]:
        """Return what the callbacks have to tell since the last call."""
        tellers = [callback for callback in self.callbacks if isinstance(callback, Teller)]
        return {name: value for teller in tellers for name, value in teller.take().items()}

    @abstractmethod
    def items(self, length: int) -> Dataset[Any]:
        """Return this many items to train on; item i depends on the run's seed and on i alone."""

    @abstractmethod
    def batch(self, items: list[Any]) -> dict[str, Tensor]:
        """Return items as one batch."""

    @abstractmethod
    def loss(self, model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """Return the mean loss of a batch, and remember its parts."""

    @abstractmethod
    def score(self, model: nn.Module, held_out: Any) -> Any:
        """Return the score of what is held out, which has `to_dict`; the model is left as it was."""

    @abstractmethod
    def line(self, logs: dict[str, Any], items_per_second: float) -> dict[str, Any]:
        """Return what stands in a line of metrics beside loss, learning rate and length of the gradient."""
