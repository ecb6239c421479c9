"""Encoders of texts as Hugging Face knows them: features, classes, numbers, tags; registered by importing this file."""

from typing import cast

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
from undula.hf.told import outputs_of, scaled, told_loss
from undula.models.spectral_encoder import SpectralClassifier, SpectralEncoder, SpectralTokenClassifier
from undula.ops.metrics import IGNORED
from undula.shapes import TokenIds


class UndulaEncoderModel(WholeModel):
    """An encoder of texts: features of each token, and one vector for each text; every token sees all."""

    config_class = UndulaEncoderConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"

    def __init__(self, config: UndulaEncoderConfig) -> None:
        super().__init__(config)
        self.encoder = SpectralEncoder(config.model_config, config.pooling)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> BaseModelOutputWithPooling:
        """Return the features (B, T, D) and their pooling (B, D).

        Args:
            input_ids: tokens.
            attention_mask: 1 = real token, padding on either side; None: all are real.
            token_type_ids: change nothing.
            inputs_embeds, output_attentions, output_hidden_states: refused.
        """
        del token_type_ids
        mask = _mask(input_ids, attention_mask, inputs_embeds, output_attentions, output_hidden_states)
        features = self.encoder.body(input_ids, mask)
        pooling = cast(nn.Module, self.encoder.pooling)
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=pooling(features, mask))

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
        self.model = SpectralClassifier(config.model_config, outputs_of(config), config.pooling)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> SequenceClassifierOutput:
        """Return scores (B, labels), and the loss where labels are given.

        Args:
            input_ids: tokens.
            attention_mask: 1 = real token, padding on either side; None: all are real.
            token_type_ids: change nothing.
            inputs_embeds, output_attentions, output_hidden_states: refused.
            labels: see `told_loss`.
        """
        del token_type_ids
        mask = _mask(input_ids, attention_mask, inputs_embeds, output_attentions, output_hidden_states)
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
        self.model = SpectralTokenClassifier(config.model_config, outputs_of(config))
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: Tensor | None = None,
        token_type_ids: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Int[Tensor, "B T"] | None = None,
        output_attentions: bool | None = None,
        output_hidden_states: bool | None = None,
    ) -> TokenClassifierOutput:
        """Return scores (B, T, labels), and the mean loss of the tokens that have a label.

        Args:
            input_ids: tokens.
            attention_mask: 1 = real token, padding on either side; None: all are real.
            token_type_ids: change nothing.
            inputs_embeds, output_attentions, output_hidden_states: refused.
            labels: the class of each token, -100 where none is asked.
        """
        del token_type_ids
        mask = _mask(input_ids, attention_mask, inputs_embeds, output_attentions, output_hidden_states)
        logits = self.model(input_ids, mask)
        loss = None
        if labels is not None:
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            loss = F.cross_entropy(wide.flatten(0, 1), labels.to(wide.device).flatten(), ignore_index=IGNORED)
        return TokenClassifierOutput(loss=loss, logits=logits)

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the table of token embeddings."""
        return self.model.encoder.body.embedding.table


def _mask(
    input_ids: TokenIds, mask: Tensor | None, embeds: Tensor | None, attentions: bool | None, hidden: bool | None
) -> Tensor | None:
    refuse_unsupported(embeds, {"output_attentions": attentions, "output_hidden_states": hidden})
    return padding_mask(mask, input_ids, 0)


AutoModel.register(UndulaEncoderConfig, UndulaEncoderModel, exist_ok=True)
AutoModelForSequenceClassification.register(UndulaEncoderConfig, UndulaForSequenceClassification, exist_ok=True)
AutoModelForTokenClassification.register(UndulaEncoderConfig, UndulaForTokenClassification, exist_ok=True)
