"""Encoders of texts as Hugging Face knows them: features, classes, numbers, tags; registered by importing this file."""

from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification
from transformers.modeling_outputs import BaseModelOutputWithPooling, SequenceClassifierOutput, TokenClassifierOutput
from transformers.utils.generic import can_return_tuple

from undula.hf.encoder_configuration import UndulaEncoderConfig
from undula.hf.inputs import padding_mask, refuse_unsupported
from undula.hf.loading import WholeModel
from undula.hf.told import scaled, told_loss
from undula.models.spectral_encoder import SpectralClassifier, SpectralEncoder, SpectralTokenClassifier
from undula.nn.pooling import build_pooling
from undula.ops.metrics import IGNORED
from undula.shapes import TokenIds


class UndulaEncoderModel(WholeModel):
    """An encoder of texts: features of each token, and one vector for each text; every token sees all."""

    config_class = UndulaEncoderConfig
    base_model_prefix = "encoder"
    main_input_name = "input_ids"

    def __init__(self, config: UndulaEncoderConfig) -> None:
        super().__init__(config)
        self.encoder = SpectralEncoder(config.model_config)
        self.pooling = build_pooling(config.pooling, config.hidden_size)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPooling:
        """Return the features (B, T, D) and their pooling (B, D).

        Args:
            input_ids: tokens.
            attention_mask: 1 = real token, padding on either side; None: all are real.
            inputs_embeds: refused.
            kwargs: anything else that asks for something is refused.
        """
        mask = _mask(input_ids, attention_mask, inputs_embeds, kwargs)
        features = self.encoder(input_ids, mask)
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=self.pooling(features, mask))

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.encoder.body.embedding.table


class UndulaForSequenceClassification(WholeModel):
    """What is told of a whole text: one class, several labels, or numbers, as `problem_type` says."""

    config_class = UndulaEncoderConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    accepts_loss_kwargs = False

    def __init__(self, config: UndulaEncoderConfig) -> None:
        super().__init__(config)
        self.model = SpectralClassifier(config.model_config, config.num_labels, config.pooling)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        **kwargs: Any,
    ) -> SequenceClassifierOutput:
        """Return scores (B, labels), and the loss where labels are given.

        Args:
            input_ids: tokens.
            attention_mask: 1 = real token, padding on either side; None: all are real.
            inputs_embeds: refused.
            labels: see `told_loss`.
            kwargs: anything else that asks for something is refused.
        """
        mask = _mask(input_ids, attention_mask, inputs_embeds, kwargs)
        logits = scaled(self.model(input_ids, mask), self.config)
        return SequenceClassifierOutput(
            loss=None if labels is None else told_loss(logits, labels, self.config), logits=logits
        )

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.model.encoder.body.embedding.table


class UndulaForTokenClassification(WholeModel):
    """The class of each token of a text."""

    config_class = UndulaEncoderConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    accepts_loss_kwargs = False

    def __init__(self, config: UndulaEncoderConfig) -> None:
        super().__init__(config)
        self.model = SpectralTokenClassifier(config.model_config, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Int[Tensor, "B T"] | None = None,
        **kwargs: Any,
    ) -> TokenClassifierOutput:
        """Return scores (B, T, labels), and the mean loss of the tokens that have a label.

        Args:
            input_ids: tokens.
            attention_mask: 1 = real token, padding on either side; None: all are real.
            inputs_embeds: refused.
            labels: the class of each token, -100 where none is asked.
            kwargs: anything else that asks for something is refused.
        """
        mask = _mask(input_ids, attention_mask, inputs_embeds, kwargs)
        logits = self.model(input_ids, mask)
        loss = None
        if labels is not None:
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            loss = F.cross_entropy(wide.flatten(0, 1), labels.to(wide.device).flatten(), ignore_index=IGNORED)
        return TokenClassifierOutput(loss=loss, logits=logits)

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.model.encoder.body.embedding.table


PASSIVE = ("return_dict", "output_hidden_states", "output_attentions", "token_type_ids")
"""What transformers sends along with every call, and what changes nothing here."""


def _mask(input_ids: TokenIds, mask: Tensor | None, embeds: Tensor | None, extras: dict[str, Any]) -> Tensor | None:
    refuse_unsupported(embeds, {name: value for name, value in extras.items() if name not in PASSIVE})
    return padding_mask(mask, input_ids, 0)


AutoModel.register(UndulaEncoderConfig, UndulaEncoderModel, exist_ok=True)
AutoModelForSequenceClassification.register(UndulaEncoderConfig, UndulaForSequenceClassification, exist_ok=True)
AutoModelForTokenClassification.register(UndulaEncoderConfig, UndulaForTokenClassification, exist_ok=True)
