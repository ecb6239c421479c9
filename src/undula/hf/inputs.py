"""What transformers and TRL send to a model's forward, brought to what our language models take."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor
from transformers.cache_utils import Cache

from undula.hf.cache import UndulaCache
from undula.ops.packing import Lengths, lengths_from_bounds, lengths_from_ids, lengths_from_positions
from undula.shapes import PaddingMask, TokenIds


def refuse_unsupported(inputs_embeds: Tensor | None, extras: Mapping[str, Any]) -> None:
    """Raise for what would otherwise be silently left out.

    Raises:
        ValueError: for embeddings, or for any other argument that asks for something.
    """
    if inputs_embeds is not None:
        raise ValueError("got inputs_embeds; undula models take tokens: give input_ids")
    asked = [name for name, value in extras.items() if value is not None and value is not False]
    if asked:
        raise ValueError(f"got {', '.join(asked)}, which undula models do not support; leave it out")


def own_cache(cache: Cache | None) -> UndulaCache | None:
    """Return the cache if it is of the only kind that can hold states.

    Raises:
        ValueError: for any other kind.
    """
    if cache is None or isinstance(cache, UndulaCache):
        return cache
    raise ValueError(f"got a {type(cache).__name__}; undula models continue an undula.hf.cache.UndulaCache")


def padding_mask(mask: Tensor | None, input_ids: TokenIds, seen: int) -> PaddingMask | None:
    """Return the mask of the tokens of this call; None when all are real, so that the fastest path is taken.

    Args:
        mask: (B, T), or (B, seen + T).
        input_ids: the tokens of this call.
        seen: tokens before them.

    Raises:
        ValueError: for a mask of any other shape.
    """
    if mask is None:
        return None
    rows, steps = input_ids.shape
    if mask.shape not in ((rows, steps), (rows, seen + steps)):
        raise ValueError(
            f"attention_mask has the shape {tuple(mask.shape)}; wanted ({rows}, {steps}) for the tokens"
            + (f", or ({rows}, {seen + steps}) for these and the {seen} before" if seen else "")
        )
    mask = mask[:, -steps:]
    # A compiled graph must not depend on the values.
    return None if not torch.compiler.is_compiling() and bool(mask.all()) else mask


def document_lengths(
    input_ids: TokenIds,
    position_ids: Int[Tensor, "#B T"] | None,
    seq_idx: Int[Tensor, "B T"] | None,
    bounds: Int[Tensor, " bounds"] | None,
    cache: UndulaCache | None,
) -> Lengths | None:
    """Return the lengths of packed documents; None where every row is one document.

    Raises:
        ValueError: for packed rows that are to fill a cache.
    """
    rows, steps = input_ids.shape
    if bounds is not None:
        lengths = lengths_from_bounds(bounds, rows * steps)
    elif seq_idx is not None:
        lengths = lengths_from_ids(seq_idx)
    elif position_ids is not None and steps > 1 and not torch.compiler.is_compiling():
        lengths = lengths_from_positions(position_ids.expand(rows, steps))
    else:
        return None
    if len(lengths) == rows and bool((lengths == steps).all()):
        return None
    if cache is not None:
        raise ValueError(
            f"got a cache and {len(lengths)} documents packed in {rows} row(s); pack for training only, generate from "
            "a padded batch with an attention_mask"
        )
    return lengths.to(input_ids.device)
