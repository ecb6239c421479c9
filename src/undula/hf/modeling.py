"""`UndulaForCausalLM`: our language models as ordinary Hugging Face ones; importing this file registers it.

`AutoModelForCausalLM.from_pretrained(folder)` works once this file, or the name `undula.UndulaForCausalLM`, has been
imported. Folders hold weights and JSON, no code: loading one never runs any.
"""

from dataclasses import replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers import AutoModelForCausalLM, GenerationConfig, GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast, MoeCausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from undula.config import to_dict
from undula.hf.cache import UndulaCache
from undula.hf.configuration import UndulaConfig
from undula.hf.decoding import Decoding
from undula.hf.inputs import document_lengths, own_cache, padding_mask, refuse_unsupported
from undula.hf.loading import WholeModel
from undula.models.backbone import Backbone, LayerHook, collector
from undula.models.language_model import build_language_model
from undula.models.pieces import loss_in_pieces
from undula.ops.metrics import IGNORED, summed_nats
from undula.ops.packing import Lengths, repack, starts, unpack
from undula.shapes import Logits, TokenIds


class UndulaForCausalLM(WholeModel, Decoding, GenerationMixin):
    """A causal language model with transformers' interface: Trainer, `generate`, PEFT, pipelines.

    Start values are those of the model itself; weights that a checkpoint lacks are an error, not random numbers.
    """

    config_class = UndulaConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    accepts_loss_kwargs = True
    supports_gradient_checkpointing = True
    gradient_checkpointing = False
    _no_split_modules = ["PreNormBlock", "ParallelBlock", "DeepNormParallelBlock", "MultiResolutionWavePyramid"]
    _supports_sdpa = True
    # States cannot be turned back, so generate refuses assisted decoding.
    _is_stateful = True

    def __init__(self, config: UndulaConfig) -> None:
        super().__init__(config)
        self.model = build_language_model(config.model_config)
        self.context_length = config.model_config.context_length
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: TokenIds | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Int[Tensor, "#B T"] | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Int[Tensor, "B T"] | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        logits_to_keep: int | Int[Tensor, " kept"] = 0,
        num_items_in_batch: Tensor | int | None = None,
        seq_idx: Int[Tensor, "B T"] | None = None,
        cu_seq_lens_q: Int[Tensor, " bounds"] | None = None,
        cu_seq_lens_k: Int[Tensor, " bounds"] | None = None,
        max_length_q: int | None = None,
        max_length_k: int | None = None,
        piece: int = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast | MoeCausalLMOutputWithPast:
        """Return scores, and the loss where labels are given.

        Args:
            input_ids: tokens.
            attention_mask: 1 = real token; (B, T), or with a cache (B, tokens before + T).
            position_ids: read only to find packed documents where there is no mask: mixers count positions themselves.
            past_key_values: an `UndulaCache` that the tokens continue; it is brought forward.
            inputs_embeds: refused.
            labels: the tokens themselves, -100 where the loss leaves them out; position t is held against label t + 1.
            use_cache: True makes a cache where none is given. By default none is made.
            output_hidden_states: also return the residual stream before the first block and after each.
            logits_to_keep: return the scores of this many last positions, or of these positions; 0: all.
            num_items_in_batch: what the summed loss is divided by, instead of the labels of this call.
            seq_idx, cu_seq_lens_q: documents of packed rows, which then do not see each other.
            cu_seq_lens_k, max_length_q, max_length_k: say the same again.
            piece: tokens that are read at a time, see `loss_in_pieces`; gives `loss` and `aux_loss` alone. 0: all.
            kwargs: shift_labels, (B, T): labels that are shifted already; position t is held against label t.

        Raises:
            ValueError: for too long a sequence, a packed row with a cache, or what is not supported; says what to do.
        """
        shift_labels = kwargs.pop("shift_labels", None)
        refuse_unsupported(inputs_embeds, kwargs)
        if input_ids is None:
            raise ValueError("got no input_ids; give the tokens")
        cache = UndulaCache() if use_cache and past_key_values is None else own_cache(past_key_values)
        mask = padding_mask(attention_mask, input_ids, 0 if cache is None else cache.seen_tokens)
        positions = position_ids if attention_mask is None else None
        lengths = document_lengths(input_ids, positions, seq_idx, cu_seq_lens_q, cache)
        targets = _targets(labels, shift_labels, lengths)
        if piece:
            alone = cache is None and lengths is None and not output_hidden_states
            return self._in_pieces(input_ids, mask, targets if alone else None, piece, num_items_in_batch)
        layers: list[Tensor] = []
        logits = self._scores(input_ids, mask, lengths, cache, collector(layers) if output_hidden_states else None)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        loss = _loss(logits, targets, num_items_in_batch)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits[:, kept], past_key_values=cache, hidden_states=tuple(layers) or None
        )

    def _in_pieces(
        self, ids: TokenIds, mask: Tensor | None, targets: Tensor | None, piece: int, num_items: Tensor | int | None
    ) -> MoeCausalLMOutputWithPast:
        if targets is None:
            raise ValueError(
                f"piece={piece} gives the loss alone: it needs labels, and neither a cache nor packed rows nor "
                "output_hidden_states; or leave piece out"
            )
        self._check_length(ids.shape[1])
        got = loss_in_pieces(self.model, ids, targets.to(ids.device), piece, mask)
        return MoeCausalLMOutputWithPast(loss=_mean(got.nats, got.count, num_items), aux_loss=got.aux)

    def _scores(
        self,
        input_ids: TokenIds,
        mask: Tensor | None,
        lengths: Lengths | None,
        cache: UndulaCache | None,
        on_layer: LayerHook | None,
    ) -> Logits:
        """Scores of all positions, packed documents apart from each other, the cache brought forward."""
        if lengths is not None:
            if on_layer is not None:
                raise ValueError(
                    "got output_hidden_states with packed rows, which are taken apart; give one or the other"
                )
            rows = [input_ids] if mask is None else [input_ids, mask.to(input_ids.dtype)]
            present, (documents, *unpadded) = unpack(lengths, *rows)
            self._check_length(documents.shape[1])
            return repack(self.model(documents, unpadded[0] if unpadded else present), present, len(input_ids))
        self._check_length(input_ids.shape[1] + (0 if cache is None else cache.seen_tokens))
        if cache is None:
            return self.model(input_ids, mask, on_layer=on_layer)
        return cache.advance(self.model, input_ids, mask, on_layer)

    def _check_length(self, tokens: int) -> None:
        if self.context_length is not None and tokens > self.context_length:
            raise ValueError(
                f"got {tokens} tokens (prompt and new ones together), more than the model's context_length="
                f"{self.context_length}; shorten them, or train with context_length=None, which has no limit"
            )

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return next(module for module in self.model.modules() if isinstance(module, nn.Embedding))

    def resize_token_embeddings(
        self, new_num_tokens: int | None = None, pad_to_multiple_of: int | None = None, mean_resizing: bool = True
    ) -> nn.Embedding:
        """Return the embeddings if nothing is to change.

        Raises:
            ValueError: for another number of tokens: the vocabulary is part of the model's configuration.
        """
        del mean_resizing
        now = self.config.vocab_size
        wanted = new_num_tokens or now
        if pad_to_multiple_of:
            wanted = -(-wanted // pad_to_multiple_of) * pad_to_multiple_of
        if wanted != now:
            raise ValueError(
                f"got {wanted} tokens, the model has {now}; build a new one with model.vocab_size={wanted}"
            )
        return self.get_input_embeddings()

    def after_loading(self) -> None:
        """Compute again what follows from the weights."""
        self.model.after_loading()

    def finalize_annealing(self) -> None:
        """Give free what training faded out to nothing; what is saved from now on is smaller, and scores the same."""
        if self.model.finalize_annealing():
            config = self.config.model_config
            packets = replace(config.packets, annealed=False)
            self.config.model = to_dict(replace(config, packets=packets))

    def _set_gradient_checkpointing(
        self, enable: bool = True, gradient_checkpointing_func: Any = checkpoint, every_n_layers: int = 1
    ) -> None:
        """Keep only the input of each block and pyramid and compute the rest again in the backward pass."""
        self.gradient_checkpointing = enable
        stacks = [m for m in self.model.modules() if isinstance(m, Backbone)]
        blocks = [block for m in stacks for block in (*m.layers, *m.pyramids)]
        for index, block in enumerate(blocks):
            vars(block).pop("forward", None)
            if enable and index % every_n_layers == 0:
                block.forward = partial(_checkpointed, block.forward, gradient_checkpointing_func)

    def _validate_generated_length(
        self, generation_config: GenerationConfig, input_ids_length: int, has_default_max_length: bool
    ) -> None:
        """Refuse a prompt that leaves no room, before the first token is computed."""
        self._check_length(max(input_ids_length, generation_config.max_length or 0))
        base: Any = super()
        base._validate_generated_length(generation_config, input_ids_length, has_default_max_length)


def _targets(labels: Tensor | None, shift_labels: Tensor | None, lengths: Lengths | None) -> Tensor | None:
    """The token after each position, where the loss counts it.

    shift_labels is no named argument of `forward`: Trainer would take it for a label that every batch has.
    """
    if shift_labels is not None or labels is None:
        return shift_labels
    if lengths is not None:
        # The first token of a document is no continuation of the document before.
        labels = labels.masked_fill(starts(lengths, *labels.shape), IGNORED)
    return F.pad(labels[:, 1:], (0, 1), value=IGNORED)


def _loss(logits: Logits, targets: Tensor | None, num_items: Tensor | int | None) -> Tensor | None:
    return None if targets is None else _mean(*summed_nats(logits, targets.to(logits.device)), num_items)


def _mean(nats: Tensor, count: Tensor, num_items: Tensor | int | None) -> Tensor:
    return nats / (count if num_items is None else num_items)


def _checkpointed(forward: Any, run: Any, *args: Any, **kwargs: Any) -> Any:
    return run(forward, *args, **kwargs) if torch.is_grad_enabled() else forward(*args, **kwargs)


AutoModelForCausalLM.register(UndulaConfig, UndulaForCausalLM, exist_ok=True)
