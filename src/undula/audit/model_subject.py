"""A causal language model under audit: ours, one of Hugging Face's kind, or any function from token ids to scores."""

import inspect
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn

from undula.audit.subject import Claims, Subject, audited_copy
from undula.mixers.base import Traits, state_bytes
from undula.models.language_model import LanguageModel
from undula.nn.wave_packet import WavePacketEmbedding

OURS, FOREIGN = 1e-10, 1e-5
"""Rounding that is forgiven: models of others may compute parts in float32, whatever their parameters are."""

PACKING = ("seq_idx", "cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k")
"""What packed rows are described by, beside positions that start again."""

LIMITS = ("max_position_embeddings", "max_seq_len", "context_length")
"""What configurations call the longest sequence that a model accepts."""


class ModelSubject(Subject):
    """A language model as audits call it.

    Args:
        model: called with token ids (B, T); returns scores (B, T, V), or an object or tuple that holds them.
        vocab_size: number of tokens.
        module: the copy to audit; by default one with random parameters.
    """

    def __init__(self, model: nn.Module | Callable[..., Any], vocab_size: int, module: nn.Module | None = None) -> None:
        if module is None and isinstance(model, nn.Module):
            module = audited_copy(model)
        self.function = model if module is None else None
        self.vocab_size = vocab_size
        self.takes, self.takes_any = _accepted(model if module is None else module)
        self.ours = isinstance(module, LanguageModel)
        parts = [] if module is None else list(module.modules())
        traits = [getattr(part, "traits", None) for part in parts]
        mixing = [known for known in traits if isinstance(known, Traits)]
        claims = Claims(
            causal=True,
            bidirectional=False,
            streaming=self.ours or {"past_key_values", "use_cache"} <= self.takes,
            bounded_state=bool(mixing) and all(known.bounded_state for known in mixing),
            padding="attention_mask" in self.takes,
        )
        rounding = OURS if any(isinstance(part, LanguageModel) for part in parts) else FOREIGN
        super().__init__(module, claims, rounding, _longest(module))

    @property
    def call(self) -> Callable[..., Any]:
        """What is called."""
        found = self.module or self.function
        if found is None:
            raise ValueError("nothing to audit; give a model or a function")
        return found

    def inputs(self, rows: int, steps: int) -> Tensor:
        """Return random token ids."""
        return torch.randint(self.vocab_size, (rows, steps), generator=self.generator)

    def others(self, x: Tensor) -> Tensor:
        """Return random token ids, none of them the one in its place."""
        return (x + torch.randint(1, self.vocab_size, x.shape, generator=self.generator)) % self.vocab_size

    def padded(self, x: Tensor, real: Tensor, poison: bool) -> Tensor:
        """Return ids with random ones at padding."""
        return torch.where(real.bool(), x, self.others(x))

    def run(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the scores."""
        return _scores(self._call(x, mask))

    def run_packed(self, documents: list[Tensor]) -> Tensor:
        """Return the scores of documents (1, T_i) laid end to end in one row, described as trainers describe them."""
        lengths = [d.shape[1] for d in documents]
        ends = torch.tensor([0, *lengths]).cumsum(0).int()
        longest = max(lengths)
        positions = torch.cat([torch.arange(n) for n in lengths])[None]
        numbers = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])[None].int()
        described = {
            "position_ids": positions,
            **dict(zip(PACKING, (numbers, ends, ends, longest, longest), strict=True)),
        }
        given = {k: v for k, v in described.items() if k in self.takes or self.takes_any}
        return _scores(self.call(input_ids=torch.cat(documents, dim=1), **given, **self._uncached()))

    def takes_packed(self) -> bool:
        """Whether the model has arguments that describe packed rows."""
        return bool(self.takes & set(PACKING)) or (self.takes_any and "position_ids" in self.takes)

    def run_from_leaves(self, x: Tensor, silent: bool = False) -> tuple[Tensor, list[Tensor]]:
        """Return the scores and the outputs of the embeddings of `x`, which are cut off from what made them."""
        leaves: list[Tensor] = []

        def cut(module: nn.Module, args: tuple[Any, ...], output: Any) -> Tensor | None:
            ids = args[0] if args else None
            if not (isinstance(ids, Tensor) and ids.shape == x.shape and torch.equal(ids, x)):
                return None
            leaf = output.detach().clone()
            leaf = (torch.zeros_like(leaf) if silent else leaf).requires_grad_()
            leaves.append(leaf)
            return leaf

        with ExitStack() as hooks:
            for part in _embeddings(self.module):
                hooks.callback(part.register_forward_hook(cut).remove)
            return self.run(x), leaves

    def pieces(self, x: Tensor, sizes: list[int], mask: Tensor | None = None) -> tuple[Tensor, list[int]]:
        """Return what decoding with a state (or a cache) gives."""
        if not isinstance(self.module, LanguageModel):
            return self._cached_pieces(x, sizes, mask)
        state = self.module.init_state(len(x), dtype=self.dtype)
        outputs, sizes_of_state = [], []
        masks = [None] * len(sizes) if mask is None else mask.split(sizes, dim=1)
        for piece, real in zip(x.split(sizes, dim=1), masks, strict=True):
            y, state = self.module(piece, real, state=state)
            outputs.append(y)
            sizes_of_state.append(sum(state_bytes(part) for part in state))
        return torch.cat(outputs, dim=1), sizes_of_state

    def continued_twice(self, x: Tensor, cut: int) -> tuple[Tensor, Tensor] | None:
        """Return the rest of the scores, twice from the state at `cut`; a foreign cache is used up by its use."""
        if not isinstance(self.module, LanguageModel):
            return None
        _, state = self.module(x[:, :cut], state=self.module.init_state(len(x), dtype=self.dtype))
        first, _ = self.module(x[:, cut:], state=state)
        second, _ = self.module(x[:, cut:], state=state)
        return first, second

    def _cached_pieces(self, x: Tensor, sizes: list[int], mask: Tensor | None) -> tuple[Tensor, list[int]]:
        cache, done, outputs, sizes_of_cache = None, 0, [], []
        for piece in x.split(sizes, dim=1):
            done += piece.shape[1]
            so_far = None if mask is None else mask[:, :done]
            result = self._call(piece, so_far, past_key_values=cache, use_cache=True)
            cache = result.past_key_values
            outputs.append(_scores(result))
            sizes_of_cache += [cache.nbytes] if hasattr(cache, "nbytes") else []
        return torch.cat(outputs, dim=1), sizes_of_cache

    def _call(self, x: Tensor, mask: Tensor | None, **cache: Any) -> Any:
        if mask is None:
            return self.call(x, **(cache or self._uncached()))
        if self.ours:
            return self.call(x, mask)
        extras = dict(cache or self._uncached())
        if "position_ids" in self.takes:
            extras["position_ids"] = (mask.long().cumsum(1) - 1).clamp_min(0)[:, -x.shape[1] :]
        return self.call(x, attention_mask=mask, **extras)

    def _uncached(self) -> dict[str, Any]:
        return {"use_cache": False} if "use_cache" in self.takes else {}


def vocabulary_of(model: nn.Module | Callable[..., Any]) -> int:
    """Return a model's number of tokens, as its configuration or its embedding tells.

    Raises:
        ValueError: when neither does.
    """
    told = getattr(getattr(model, "config", None), "vocab_size", None)
    if isinstance(told, int):
        return told
    parts = model.modules() if isinstance(model, nn.Module) else []
    sizes = [part.num_embeddings for part in parts if isinstance(part, nn.Embedding)]
    if not sizes:
        raise ValueError("the model does not tell how many tokens it knows; give vocab_size")
    return sizes[0]


def _accepted(call: Callable[..., Any]) -> tuple[set[str], bool]:
    """Names of a model's arguments, and whether it takes any others too."""
    parameters = inspect.signature(call.forward if isinstance(call, nn.Module) else call).parameters
    return set(parameters), any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values())


def _embeddings(module: nn.Module | None) -> Sequence[nn.Module]:
    """Where token ids become vectors: packets, which may hold a table of their own, else tables."""
    parts = [] if module is None else list(module.modules())
    packets = [part for part in parts if isinstance(part, WavePacketEmbedding)]
    return packets or [part for part in parts if isinstance(part, nn.Embedding)]


def _longest(module: nn.Module | None) -> float:
    config = getattr(module, "config", None)
    limits = [getattr(config, name, None) for name in LIMITS]
    return next((limit for limit in limits if isinstance(limit, int)), math.inf)


def _scores(result: Any) -> Tensor:
    if isinstance(result, Tensor):
        return result
    logits = getattr(result, "logits", None)
    if logits is None and isinstance(result, tuple):
        logits = result[0]
    if not isinstance(logits, Tensor):
        raise ValueError(
            f"the model returned {type(result).__name__}; wanted scores (B, T, V), or .logits that holds them"
        )
    return logits
