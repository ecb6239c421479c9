"""Speed of cached generation behind contexts of several lengths."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from undula.bench.cases import DecodeCase
from undula.bench.environment import make_records
from undula.bench.harness import Contestant, interleaved, measuring, precision, speedup
from undula.bench.peers import DECODE_PEERS, PACKAGES, cache_bytes
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.hf.cache import UndulaCache
from undula.hf.configuration import UndulaConfig
from undula.hf.modeling import UndulaForCausalLM

PREFILL = 512
"""Tokens of a context that go through a model at once."""


def bench_decode(name: str, case: DecodeCase, setting: BenchSetting) -> list[Record]:
    """Return a record for each model and context: tokens per second of greedy decoding, one sequence at a time.

    All models go through one loop, each with the cache of its own library. `growth` is the time of a token behind this
    context over that behind the shortest.

    Args:
        name: the case's name, for the records.
        case: models, contexts and the number of new tokens.
        setting: how to measure.

    Raises:
        ValueError: for an unknown peer, or a device that is not there.
    """
    measured = []
    shortest: dict[str, float] = {}
    peer = case.peers[0] if case.peers else None
    with measuring(setting) as device:
        models = _models(case, device)
        for context in sorted(case.contexts):
            tokens = _tokens(case, context).to(device)
            runs = {model: Decoding(built, tokens, case.new_tokens, setting) for model, built in models.items()}
            times = interleaved({m: Contestant(run.decode, before=run.rewind) for m, run in runs.items()}, setting)
            for model, timing in times.items():
                per_token = timing.median / case.new_tokens
                shortest.setdefault(model, per_token)
                figures = {
                    **timing.figures(),
                    "tokens_per_second": 1 / per_token,
                    "seconds_per_token": per_token,
                    "growth": per_token / shortest[model],
                    "ratio": None if peer is None else speedup(timing, times[peer]),
                    "parameters": sum(p.numel() for p in models[model].parameters()),
                    "cache_bytes": runs[model].cache_bytes,
                }
                config = {"case": name, "model": model, "peer": peer, "context": context}
                config |= {"new_tokens": case.new_tokens, "sizes": to_dict(case)["models"].get(model)}
                measured.append((config, figures))
    return make_records("decode", measured, setting, peers=[PACKAGES[peer] for peer in case.peers])


class Decoding:
    """A model with a context in its cache, ready to decode from it again and again.

    Args:
        model: with the interface of Hugging Face's causal models.
        tokens: the context, (1, T).
        new_tokens: tokens that `decode` adds.
        setting: precision and device.
    """

    def __init__(self, model: nn.Module, tokens: Tensor, new_tokens: int, setting: BenchSetting) -> None:
        self.model, self.new_tokens, self.setting = model, new_tokens, setting
        self.first, self.filled = self._prefill(tokens)
        self.cache = copy.deepcopy(self.filled)

    @property
    def cache_bytes(self) -> int:
        """Memory of the cache behind the context, in bytes."""
        return self.filled.nbytes if isinstance(self.filled, UndulaCache) else cache_bytes(self.filled)

    def rewind(self) -> None:
        """Have the cache hold the context alone."""
        self.cache = copy.deepcopy(self.filled)

    @torch.no_grad()
    def decode(self) -> Tensor:
        """Return the next tokens, (1, new_tokens)."""
        token, found = self.first, []
        with precision(self.setting):
            for _ in range(self.new_tokens):
                token = self._next(token)
                found.append(token)
        return torch.cat(found, dim=1)

    def _next(self, token: Tensor) -> Tensor:
        scores = self.model(input_ids=token, past_key_values=self.cache, use_cache=True).logits
        return scores[:, -1:].argmax(-1)

    @torch.no_grad()
    def _prefill(self, tokens: Tensor) -> tuple[Tensor, Any]:
        output = None
        with precision(self.setting):
            for piece in tokens.split(PREFILL, dim=1):
                past = None if output is None else output.past_key_values
                output = self.model(input_ids=piece, past_key_values=past, use_cache=True)
        if output is None:
            raise ValueError("context=0; wanted at least 1 token")
        return output.logits[:, -1:].argmax(-1), output.past_key_values


def _tokens(case: DecodeCase, context: int) -> Tensor:
    """A context of tokens that all models know."""
    vocabulary = min(model.vocab_size for model in case.models.values())
    return torch.randint(vocabulary, (1, context), generator=torch.Generator().manual_seed(0))


def _models(case: DecodeCase, device: torch.device) -> dict[str, nn.Module]:
    longest = max(case.contexts) + case.new_tokens
    first = next(iter(case.models.values()))
    models: dict[str, nn.Module] = {peer: DECODE_PEERS[peer](first, longest) for peer in case.peers}
    models |= {name: UndulaForCausalLM(UndulaConfig(model=config)) for name, config in case.models.items()}
    return {name: model.to(device).eval() for name, model in models.items()}
