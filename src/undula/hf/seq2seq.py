"""`UndulaForSeq2SeqLM`: our encoder-decoders as ordinary Hugging Face ones; importing this file registers them."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForSeq2SeqLM, GenerationMixin, PreTrainedConfig
from transformers.cache_utils import Cache
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.utils.generic import ModelOutput, can_return_tuple

from undula.config import from_dict, to_dict
from undula.hf.cache import UndulaCache
from undula.hf.decoding import Decoding
from undula.hf.inputs import own_cache, padding_mask, refuse_unsupported
from undula.hf.loading import WholeModel
from undula.mixers.cross import Memory
from undula.models.backbone import States
from undula.models.config import EncoderDecoderConfig
from undula.models.encoder_decoder import EncoderDecoder
from undula.ops.metrics import IGNORED, summed_nats
from undula.shapes import SourceIds, TokenIds


class UndulaSeq2SeqConfig(PreTrainedConfig):
    """Configuration of an encoder-decoder as Hugging Face knows it; the architecture stands in `model` alone.

    Args:
        model: an `EncoderDecoderConfig`, or the nested dictionary of one; what is not given keeps its default.
        pad_token_id: fills batches of sources; what has it is padding, where no attention_mask says otherwise.
        bos_token_id: begins every target.
        eos_token_id: ends every target.

    Raises:
        ValueError: for an unknown key in `model` (names the nearest), or a value of the wrong type.
    """

    model_type = "undula_seq2seq"
    keys_to_ignore_at_inference = ["past_key_values"]

    # The constructor that transformers generates takes more than its signature says; a checker of calls is misled.
    __no_type_check__ = True

    model: Any = None
    is_encoder_decoder: bool = True
    pad_token_id: int | None = 0
    bos_token_id: int | None = 1
    eos_token_id: int | list[int] | None = 2
    decoder_start_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        given = {} if self.model is None else self.model
        plan = given if isinstance(given, EncoderDecoderConfig) else from_dict(EncoderDecoderConfig, given, "model")
        self.model = to_dict(plan)
        if self.decoder_start_token_id is None:
            self.decoder_start_token_id = self.bos_token_id
        super().__post_init__(**kwargs)

    @property
    def model_config(self) -> EncoderDecoderConfig:
        """The architecture as a typed, frozen configuration."""
        return from_dict(EncoderDecoderConfig, self.model, "model")

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return self.model_config.vocab_size


@dataclass
class SourceOutput(ModelOutput):
    """What an encoder has read, and which positions of it are real."""

    last_hidden_state: Float[Tensor, "B S D"] | None = None
    mask: Int[Tensor, "B S"] | None = None


class SourceReader(nn.Module):
    """The encoder as `generate` calls it, once for all steps and beams.

    Args:
        model: what it belongs to.
        pad_token_id: what padding is, where no mask says it.
    """

    main_input_name = "input_ids"

    def __init__(self, model: EncoderDecoder, pad_token_id: int | None) -> None:
        super().__init__()
        self.model, self.pad_token_id = model, pad_token_id

    def forward(
        self,
        input_ids: SourceIds,
        attention_mask: Tensor | None = None,
        return_dict: bool | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> SourceOutput:
        """Return what the decoder reads; the last three arguments change nothing."""
        del return_dict, output_attentions, output_hidden_states
        if attention_mask is None:
            attention_mask = torch.ones_like(input_ids)
            if self.pad_token_id is not None:
                attention_mask = (input_ids != self.pad_token_id).long()
        memory = self.model.encode(input_ids, attention_mask)
        return SourceOutput(last_hidden_state=memory.hidden, mask=attention_mask)


class UndulaForSeq2SeqLM(WholeModel, Decoding, GenerationMixin):
    """An encoder-decoder with transformers' interface: Trainer, `generate` with beams, groups and coverage.

    Start values are those of the model itself; weights that a checkpoint lacks are an error, not random numbers.
    """

    config_class = UndulaSeq2SeqConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    accepts_loss_kwargs = True
    _no_split_modules = ["PreNormBlock"]
    # States cannot be turned back, so generate refuses assisted decoding.
    _is_stateful = True

    def __init__(self, config: UndulaSeq2SeqConfig) -> None:
        super().__init__(config)
        self.model = EncoderDecoder(config.model_config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: SourceIds | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: TokenIds | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Cache | None = None,
        labels: Int[Tensor, "B T"] | None = None,
        use_cache: bool | None = None,
        output_attentions: bool | None = None,
        num_items_in_batch: Tensor | int | None = None,
        **kwargs: Any,
    ) -> Seq2SeqLMOutput:
        """Return scores, and the loss where labels are given.

        Args:
            input_ids: sources.
            attention_mask: 1 = real token of a source; None: all but pad_token_id.
            decoder_input_ids: targets so far, the start token first; by default the labels, shifted.
            decoder_attention_mask: 1 = real token of a target; padding on the left.
            encoder_outputs: from an earlier call of the encoder, instead of sources.
            past_key_values: an `UndulaCache` that the targets continue; it is brought forward.
            labels: the targets with their end, -100 where the loss leaves them out.
            use_cache: True makes a cache where none is given.
            output_attentions: also return the weights (B, N, T, S) of source positions, by blocks.
            num_items_in_batch: what the summed loss is divided by, instead of the labels of this call.
            kwargs: anything else that asks for something is refused.

        Raises:
            ValueError: without a source or a target, or for what is not supported; says what to do.
        """
        refuse_unsupported(None, {k: v for k, v in kwargs.items() if k not in ("return_dict", "output_hidden_states")})
        source = self._source(input_ids, attention_mask, encoder_outputs)
        if decoder_input_ids is None:
            if labels is None:
                raise ValueError("got neither decoder_input_ids nor labels; give one of them")
            decoder_input_ids = self.prepare_decoder_input_ids_from_labels(labels)
        cache = UndulaCache() if use_cache and past_key_values is None else own_cache(past_key_values)
        seen = 0 if cache is None else cache.seen_tokens
        mask = padding_mask(decoder_attention_mask, decoder_input_ids, seen)
        alignments: list[Tensor] | None = [] if output_attentions else None
        logits = self._scores(source, decoder_input_ids, mask, cache, alignments)
        return Seq2SeqLMOutput(
            loss=None if labels is None else _loss(logits, labels, num_items_in_batch),
            logits=logits,
            past_key_values=cast(Any, cache),
            cross_attentions=None if alignments is None else tuple(alignments),
            encoder_last_hidden_state=source.last_hidden_state,
        )

    def _source(self, input_ids: Tensor | None, mask: Tensor | None, given: Any) -> SourceOutput:
        if given is None:
            if input_ids is None:
                raise ValueError("got neither input_ids nor encoder_outputs; give the sources")
            return self.get_encoder()(input_ids, mask)
        hidden = given[0] if isinstance(given, tuple) else given["last_hidden_state"]
        own = given.get("mask") if isinstance(given, SourceOutput) else None
        return SourceOutput(last_hidden_state=hidden, mask=mask if own is None else own)

    def _scores(
        self,
        source: SourceOutput,
        target: TokenIds,
        mask: Tensor | None,
        cache: UndulaCache | None,
        alignments: list[Tensor] | None,
    ) -> Tensor:
        hidden, real = source.last_hidden_state, source.mask
        if hidden is None:
            raise ValueError("encoder_outputs hold no last_hidden_state; give what the encoder returned")
        if len(hidden) != len(target):
            raise ValueError(f"got {len(hidden)} sources and {len(target)} targets; give one target to each")
        # A compiled graph must not depend on the values.
        whole = real is None or (not torch.compiler.is_compiling() and bool(real.all()))
        memory = Memory(hidden, None if real is None or whole else real.bool())
        decode: Any = self.model.decode
        if cache is None:
            return decode(target, memory, target_mask=mask, alignments=alignments)

        def run(before: States) -> tuple[Tensor, States]:
            return decode(target, target_mask=mask, state=before, alignments=alignments)

        return cache.bring_forward(len(target), target.shape[1], lambda: self.model.init_state(memory), run)

    def get_encoder(self, modality: str | None = None) -> SourceReader:
        """Return the encoder, which `generate` calls once."""
        del modality
        return SourceReader(self.model, self.config.pad_token_id)

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.model.embedding.table

    def prepare_decoder_input_ids_from_labels(self, labels: Int[Tensor, "B T"]) -> Int[Tensor, "B T"]:
        """Return the targets that the labels follow: the start token, then all labels but the last."""
        start = labels.new_full((len(labels), 1), self.config.decoder_start_token_id)
        before = torch.cat([start, labels[:, :-1]], dim=1)
        return before.masked_fill(before == IGNORED, self.config.pad_token_id or 0)


def _loss(logits: Tensor, labels: Tensor, num_items: Tensor | int | None) -> Tensor:
    nats, counted = summed_nats(logits, labels.to(logits.device))
    return nats / (counted if num_items is None else num_items)


AutoConfig.register(UndulaSeq2SeqConfig.model_type, UndulaSeq2SeqConfig, exist_ok=True)
AutoModelForSeq2SeqLM.register(UndulaSeq2SeqConfig, UndulaForSeq2SeqLM, exist_ok=True)
