"""`generate` of our models: transformers' own, with a beam search of ours in its place for custom decoding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, GenerationMixin
from transformers.generation.logits_process import LogitsProcessorList
from transformers.generation.stopping_criteria import StoppingCriteriaList
from transformers.generation.utils import GenerateBeamDecoderOnlyOutput, GenerateBeamEncoderDecoderOutput

from undula.generation.beam_search import BeamPlan, beam_search
from undula.generation.checks import check_decoding
from undula.hf.cache import UndulaCache

READ = (
    *("num_beams", "num_beam_groups", "num_return_sequences", "diversity_penalty", "do_sample", "early_stopping"),
    *("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "no_repeat_ngram_size"),
    *("min_length", "max_length"),
)


class Decoding(GenerationMixin):
    """transformers' `generate`: greedy and sampling are its own, beams are searched by `generation.beam_search`.

    Group beam search has left transformers, and neither coverage nor exact bounds ever were in it, so that one search
    serves all: with neither groups nor coverage it finds what transformers' does.
    """

    def generate(
        self,
        inputs: Tensor | None = None,
        generation_config: GenerationConfig | None = None,
        *args: Any,
        coverage_penalty: float = 0.0,
        **kwargs: Any,
    ) -> Any:
        """Return tokens; see `GenerationMixin.generate` for what is not here.

        Args:
            inputs: prompts, or sources.
            generation_config: all options at once.
            args: as there.
            coverage_penalty: for beams of an encoder-decoder: beta sum_j log min(sum_t a_tj, 1) is added to a
                sequence's score, where a_tj is what step t reads of source position j, on average over layers and
                heads.
            kwargs: as there; num_beam_groups and diversity_penalty, too.

        Raises:
            ValueError: for options that are out of bounds or contradict each other.
        """
        model: Any = self
        options = _options(generation_config or model.generation_config, kwargs)
        options["coverage_penalty"] = coverage_penalty
        check_decoding(options)
        if coverage_penalty and not model.config.is_encoder_decoder:
            raise ValueError(f"coverage_penalty={coverage_penalty}, but there is no source to cover; leave it out")
        if (options["num_beams"] or 1) > 1 and kwargs.get("custom_generate") is None:
            if kwargs.get("streamer") is not None:
                raise ValueError("beams are known at their end alone; set num_beams=1, or leave out the streamer")
            kwargs["custom_generate"] = BeamDecoding(coverage_penalty)
        return super().generate(inputs, generation_config, *args, **kwargs)  # pyright: ignore

    def _prepare_cache_for_generation(
        self, generation_config: GenerationConfig, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Any:
        """Give `generate` a cache of our kind, the only one that there is."""
        kind = generation_config.cache_implementation
        if kind not in (None, "dynamic"):
            raise ValueError(f"cache_implementation={kind!r}: undula models have one kind of cache; leave it out")
        if generation_config.is_assistant:
            raise ValueError("an undula model cannot be an assistant: its states cannot be turned back")
        if generation_config.use_cache is not False and model_kwargs.get("past_key_values") is None:
            model_kwargs["past_key_values"] = UndulaCache()
        else:
            base: Any = super()
            base._prepare_cache_for_generation(generation_config, model_kwargs, *args, **kwargs)


def _options(config: GenerationConfig, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """What `generate` will go by; lengths that it computes itself are left to it."""
    options = {name: kwargs[name] if kwargs.get(name) is not None else getattr(config, name, None) for name in READ}
    if any(kwargs.get(name, getattr(config, name, None)) is not None for name in ("max_new_tokens", "min_new_tokens")):
        options["max_length"] = None
    return options


@dataclass(frozen=True)
class BeamDecoding:
    """What transformers' `generate` calls in place of its own loop, as `custom_generate`; works with any model of it.

    Args:
        coverage_penalty: see `Decoding.generate`.
    """

    coverage_penalty: float = 0.0

    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        logits_processor: LogitsProcessorList,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        synced_gpus: bool = False,
        streamer: Any = None,
        **model_kwargs: Any,
    ) -> Any:
        """Search, and return sequences, or the output object with their scores where one is asked for."""
        options: Any = generation_config
        pad, ends = options._pad_token_tensor, options._eos_token_tensor
        plan = BeamPlan(
            num_beams=options.num_beams,
            num_groups=options.num_beam_groups or 1,
            num_return=options.num_return_sequences or 1,
            max_length=options.max_length,
            diversity_penalty=options.diversity_penalty or 0.0,
            length_penalty=1.0 if options.length_penalty is None else options.length_penalty,
            coverage_penalty=self.coverage_penalty,
            early_stopping=options.early_stopping or False,
            do_sample=bool(options.do_sample),
            pad_token_id=0 if pad is None else int(pad),
        )
        step = _Steps(model, generation_config, model_kwargs, bool(self.coverage_penalty))
        found = beam_search(
            step,
            input_ids,
            plan,
            logits_processor,
            lambda tokens: stopping_criteria(tokens, None),  # pyright: ignore
            1 if ends is None else len(ends),
        )
        if not options.return_dict_in_generate:
            return found.sequences
        output: Any = GenerateBeamDecoderOnlyOutput
        if model.config.is_encoder_decoder:
            output = GenerateBeamEncoderDecoderOutput
        return output(sequences=found.sequences, sequences_scores=found.scores)


class _Steps:
    """A transformers model as the search asks it: a prefill, then a token at a time from its cache."""

    def __init__(self, model: Any, config: GenerationConfig, model_kwargs: dict[str, Any], aligned: bool) -> None:
        self.model, self.config, self.given, self.aligned = model, config, model_kwargs, aligned
        self.started = False
        if aligned:
            self.given["output_attentions"] = True

    def __call__(self, tokens: Tensor) -> tuple[Tensor, Tensor | None]:
        if not self.started:
            outputs = self.model._prefill(tokens, self.config, self.given, is_first_iteration=True)
        else:
            latest = 1 if self.given["use_cache"] else None
            inputs = self.model.prepare_inputs_for_generation(tokens, next_sequence_length=latest, **self.given)
            outputs = self.model(**inputs, return_dict=True)
        self.started = True
        encoder_decoder = self.model.config.is_encoder_decoder
        self.given = self.model._update_model_kwargs_for_generation(outputs, self.given, encoder_decoder)
        weights = None
        if self.aligned:
            weights = torch.stack([layer[:, :, -1] for layer in outputs.cross_attentions]).mean(dim=(0, 2))
            mask = getattr(self.given.get("encoder_outputs"), "mask", self.given.get("attention_mask"))
            weights = weights if mask is None else torch.where(mask.bool(), weights, 1.0)
        return outputs.logits[:, -1], weights

    def reorder(self, rows: Tensor) -> None:
        cache = self.given.get("past_key_values")
        if cache is not None:
            cache.reorder_cache(rows)
