"""Text from a trained model."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import torch
from tokenizers.decoders import DecodeStream
from torch import Tensor
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from undula.data.tokenizers import encoder_of
from undula.experiments.run import Run


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is chosen.

    Args:
        max_new_tokens: length of the continuation, unless the model ends the text before.
        temperature: scores are divided by it; 0 takes the likeliest token always.
        top_k: only the k likeliest tokens; 0: all.
        top_p: only the likeliest tokens whose probabilities add up to this.
        seed: of the choice.

    Raises:
        ValueError: for a value out of range.
    """

    max_new_tokens: int = 300
    temperature: float = 0.8
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens={self.max_new_tokens}; wanted at least 1")
        if not self.temperature >= 0:
            raise ValueError(f"temperature={self.temperature}; wanted 0 or more, such as 0.8")
        if self.top_k < 0:
            raise ValueError(f"top_k={self.top_k}; wanted 0 (all tokens) or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p={self.top_p}; wanted a share above 0, up to 1 (all tokens)")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}; wanted 0 or more")

    def generation_config(self) -> GenerationConfig:
        """Return the same for transformers' `generate`."""
        drawn = self.temperature > 0
        choice = {"temperature": self.temperature, "top_k": self.top_k, "top_p": self.top_p} if drawn else {}
        return GenerationConfig(max_new_tokens=self.max_new_tokens, do_sample=drawn, **choice)


class _Teller(BaseStreamer):
    """Tells each piece of text as soon as its tokens make whole characters."""

    def __init__(self, run: Run, on_text: Callable[[str], None]) -> None:
        self.tokenizer, self.on_text = run.tokenizer.backend_tokenizer, on_text
        self.stream = DecodeStream(skip_special_tokens=True)

    def put(self, value: Tensor) -> None:
        """Take tokens: first the prompt's, then one at a time."""
        for token in value.flatten().tolist():
            text = self.stream.step(self.tokenizer, token)
            if text:
                self.on_text(text)

    def end(self) -> None:
        """Do nothing more: what is left makes no whole character."""


def continuation(
    run: Run, prompt: str, sampling: Sampling, *, on_text: Callable[[str], None] | None = None
) -> list[int]:
    """Return the tokens of a prompt and its continuation; torch's random generator is left as it was.

    Args:
        run: model and tokenizer.
        prompt: the text to continue; empty for the start of a document.
        sampling: how to choose.
        on_text: told every piece of text as it is made, the prompt first.

    Raises:
        ValueError: when the prompt has characters that the tokenizer does not know, or is too long for the model.
    """
    ids = prompt_tokens(run, prompt)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(sampling.seed)
        made = run.model.generate(  # pyright: ignore[reportAttributeAccessIssue]
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            generation_config=sampling.generation_config(),
            pad_token_id=run.tokenizer.pad_token_id,
            eos_token_id=run.tokenizer.eos_token_id,
            streamer=None if on_text is None else _Teller(run, on_text),
        )
    return made[0].tolist()


def prompt_tokens(run: Run, prompt: str) -> list[int]:
    """Return the tokens of a prompt; of an empty one, the border between two documents.

    Raises:
        ValueError: when it has characters that the tokenizer does not know.
    """
    ids = encoder_of(run.tokenizer).encode(prompt).ids
    if run.tokenizer.unk_token_id is not None and run.tokenizer.unk_token_id in ids:
        vocabulary = run.tokenizer.get_vocab()
        strange = sorted({letter for letter in prompt if letter not in vocabulary})
        raise ValueError(f"the text of {run.folder} has no {', '.join(map(repr, strange))}; leave it out of the prompt")
    return ids or [cast(int, run.tokenizer.eos_token_id)]
