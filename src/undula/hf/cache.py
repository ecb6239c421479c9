"""What a model remembers between calls, as transformers' `generate` expects it."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache

from undula.mixers.base import map_state, reorder_state, state_bytes
from undula.models.backbone import LayerHook, States
from undula.models.language_model import LanguageModel


class UndulaCache(Cache):
    """The states of a model's mixers and the number of tokens behind them.

    Empty at first; the model fills it. States are replaced, never changed in place, so that a copy of the cache may go
    another way. Gradients do not flow through it.

    Attributes: states (None before the first token), seen_tokens (columns of the batch, padding included).
    """

    def __init__(self) -> None:
        super().__init__(layers=[])
        self.reset()

    def __len__(self) -> int:
        return 0 if self.states is None else len(self.states)

    def __bool__(self) -> bool:
        return True

    def advance(
        self, model: LanguageModel, input_ids: Tensor, attention_mask: Tensor | None, on_layer: LayerHook | None = None
    ) -> Tensor:
        """Return the scores for further tokens and remember them.

        Raises:
            ValueError: when the batch is not as large as that of the tokens before.
        """
        rows, steps = input_ids.shape

        def run(before: States) -> tuple[Tensor, States]:
            return model(input_ids, attention_mask, state=before, on_layer=on_layer)

        return self.bring_forward(rows, steps, lambda: model.init_state(rows), run)

    def bring_forward(
        self, rows: int, steps: int, start: Callable[[], States], run: Callable[[States], tuple[Tensor, States]]
    ) -> Tensor:
        """Return the scores of a run from the states that are remembered, and remember those after it.

        Args:
            rows: of the batch.
            steps: tokens that the run brings.
            start: gives the states before the first token.
            run: from states to scores and new states.

        Raises:
            ValueError: when the batch is not as large as that of the tokens before.
        """
        if self.states is not None and rows != self._rows:
            raise ValueError(
                f"got a batch of {rows}, but the cache holds one of {self._rows}; start with a new UndulaCache()"
            )
        logits, after = run(start() if self.states is None else self.states)
        self.states = tuple(map_state(state, Tensor.detach) for state in after)
        self.seen_tokens, self._rows = self.seen_tokens + steps, rows
        return logits

    def reset(self) -> None:
        """Forget everything."""
        self.states: States | None = None
        self.seen_tokens = 0
        self._rows = -1

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take the batch's rows in the order of `beam_idx`."""
        if self.states is not None:
            self.states = tuple(reorder_state(state, beam_idx) for state in self.states)
            self._rows = len(beam_idx)

    def batch_select_indices(self, indices: Tensor) -> None:
        """Keep the batch's rows at `indices`."""
        self.reorder_cache(indices)

    def batch_repeat_interleave(self, repeats: int) -> None:
        """Repeat each row of the batch."""
        self.reorder_cache(torch.arange(max(self._rows, 0)).repeat_interleave(repeats))

    def crop(self, tokens_to_remove: int) -> None:
        """Refuse to forget tokens: a recurrent state cannot be turned back.

        Raises:
            ValueError: for any number but 0.
        """
        if tokens_to_remove:
            raise ValueError("the states of an undula model cannot be turned back; keep a copy.deepcopy of the cache")

    @property
    def nbytes(self) -> int:
        """Memory of the states, in bytes."""
        return sum(state_bytes(state) for state in self.states or ())

    @property
    def batch_size(self) -> int:
        """Rows of the batch; -1 before the first token."""
        return self._rows

    @property
    def is_initialized(self) -> bool:
        """Whether there is anything to remember."""
        return self.states is not None

    @property
    def is_croppable(self) -> bool:
        """False: see `crop`."""
        return False

    @property
    def is_compileable(self) -> bool:
        """False: states may grow."""
        return False

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Return the number of tokens behind the states."""
        del layer_idx
        return self.seen_tokens

    def get_max_length(self, layer_idx: int | None = None) -> int:
        """Return -1: no limit of the cache's own."""
        del layer_idx
        return -1

    def has_previous_state(self, layer_idx: int | None = None, state_idx: int | None = None) -> bool:
        """Return whether there is anything to remember."""
        del layer_idx, state_idx
        return self.is_initialized

    def get_mask_sizes(self, query_length: int, layer_idx: int = 0) -> tuple[int, int]:
        """Return the length of the whole sequence and the offset of its first token, 0."""
        del layer_idx
        return self.seen_tokens + query_length, 0

    def update(self, *args: Any, **kwargs: Any) -> Any:
        """Refuse keys and values: mixers keep states.

        Raises:
            TypeError: always.
        """
        raise TypeError("an UndulaCache holds states of mixers, no keys and values; it is filled by UndulaForCausalLM")
