"""Further tokens from a language model's state, one position a step, for the `generate` of documented models."""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor

from undula.models.base import LanguageModel
from undula.ops.sampling import drawn, less_repetition
from undula.shapes import PaddingMask, TokenIds


class Request(NamedTuple):
    """What is wanted; the arguments of `generate`."""

    max_length: int
    temperature: float
    top_k: int | None
    top_p: float
    repetition_penalty: float
    do_sample: bool
    eos_token_id: int | None

    def check(self, prompt: int, longest: int | None) -> None:
        """Raise a ValueError for a number out of range, or a prompt that leaves no room.

        Args:
            prompt: its tokens.
            longest: sequence that the model accepts; None: no limit.
        """
        if not 1 <= prompt < self.max_length or (longest is not None and self.max_length > longest):
            raise ValueError(
                f"got a prompt of {prompt} tokens and max_length={self.max_length}, which counts both; wanted at least "
                f"one token, room for another, and at most max_seq_len={longest}"
            )
        if not (self.temperature > 0 and 0 < self.top_p <= 1 and self.repetition_penalty > 0) or (
            self.top_k is not None and self.top_k < 1
        ):
            raise ValueError(
                f"got temperature={self.temperature}, top_k={self.top_k}, top_p={self.top_p}, "
                f"repetition_penalty={self.repetition_penalty}; wanted numbers above 0, top_p at most 1"
            )


@torch.no_grad()
def generate_tokens(
    model: LanguageModel,
    input_ids: TokenIds,
    request: Request,
    longest: int | None,
    attention_mask: PaddingMask | None = None,
    generator: torch.Generator | None = None,
) -> Int[Tensor, "B longer"]:
    """Return the tokens with new ones after them, in evaluation mode; each step computes one position.

    Args:
        model: what is asked; it is left in the mode that it was in.
        input_ids: the prompts.
        request: what is wanted.
        longest: sequence that the model accepts; None: no limit.
        attention_mask: 1 = real token, where prompts of unequal length are padded on the left.
        generator: of the random numbers.

    Raises:
        ValueError: for a number out of range, or a prompt that leaves no room.
    """
    request.check(input_ids.shape[1], longest)
    top_k, end = request.top_k if request.do_sample else 1, request.eos_token_id
    real = torch.ones_like(input_ids).bool() if attention_mask is None else attention_mask.bool()
    was_training = model.training
    model.eval()
    try:
        state, ids, fresh, mask = model.init_state(len(input_ids)), input_ids, input_ids, attention_mask
        ended = torch.zeros_like(input_ids[:, :1]).bool()
        while ids.shape[1] < request.max_length and not (end is not None and bool(ended.all())):
            logits, state = model(fresh, mask, state=state)
            last = less_repetition(logits[:, -1], ids, request.repetition_penalty, real)
            fresh = drawn(last, request.temperature, top_k, request.top_p, generator=generator)
            if end is not None:
                fresh = torch.where(ended, end, fresh)
                ended = fresh == end
            ids, mask = torch.cat([ids, fresh], dim=1), None
            real = torch.cat([real, torch.ones_like(fresh).bool()], dim=1)
    finally:
        model.train(was_training)
    return ids
