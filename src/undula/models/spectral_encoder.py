"""Spectral models that read whole sequences: an encoder, and heads for what is asked about a text."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.models.config import ModelConfig
from undula.models.init import initialise
from undula.models.spectral import SpectralBackbone
from undula.models.spectral_config import SpectralConfig
from undula.nn.pooling import build_pooling
from undula.shapes import PaddingMask, Sequence, TokenIds

Config = SpectralConfig | ModelConfig


class SpectralEncoder(nn.Module):
    """Features of each token (B, T, D), or one vector (B, D) for each text; every token sees all.

    Args:
        config: the model, as documented or as plain data.
        pooling: "mean", "attention" or "first" for one vector a text, over its real tokens alone; None: each token's.
        normalise: divide vectors by their length, so that products are cosines.

    Raises:
        ValueError: for an unknown pooling, or as `SpectralBackbone` does.

    Attributes: body, pooling (None for none).
    """

    def __init__(self, config: Config, pooling: str | None = None, normalise: bool = False) -> None:
        super().__init__()
        plan = config.model(causal=False) if isinstance(config, SpectralConfig) else config
        self.body = SpectralBackbone(plan)
        self.d_model, self.normalise = plan.backbone.d_model, normalise
        self.pooling = None if pooling is None else build_pooling(pooling, self.d_model)
        initialise(self, plan.backbone.num_layers)

    def forward(
        self, input_ids: TokenIds, attention_mask: PaddingMask | None = None
    ) -> Sequence | Float[Tensor, "B D"]:
        """Return the features; nothing depends on what stands at padding, nor on how much of it there is."""
        x = self.body(input_ids, attention_mask)
        if self.pooling is not None:
            x = self.pooling(x, attention_mask)
        return F.normalize(x, dim=-1) if self.normalise else x


class SpectralClassifier(nn.Module):
    """The scores (B, classes) of a text's classes: head(dropout(encoder(tokens))).

    Args:
        config: the encoder.
        num_classes: how many there are.
        pooling: as in `SpectralEncoder`.

    Raises:
        ValueError: as `SpectralEncoder` does, or for less than one class.
    """

    def __init__(self, config: Config, num_classes: int, pooling: str = "mean") -> None:
        super().__init__()
        self.encoder = SpectralEncoder(config, pooling)
        self.dropout, self.head = _head(config, self.encoder.d_model, "num_classes", num_classes)

    def forward(self, input_ids: TokenIds, attention_mask: PaddingMask | None = None) -> Float[Tensor, "B classes"]:
        """Return the scores of the classes."""
        return self.head(self.dropout(self.encoder(input_ids, attention_mask)))


class SpectralTokenClassifier(nn.Module):
    """The scores (B, T, classes) of each token's classes: head(dropout(encoder(tokens))).

    Args:
        config: the encoder.
        num_classes: how many there are.

    Raises:
        ValueError: as `SpectralEncoder` does, or for less than one class.
    """

    def __init__(self, config: Config, num_classes: int) -> None:
        super().__init__()
        self.encoder = SpectralEncoder(config)
        self.dropout, self.head = _head(config, self.encoder.d_model, "num_classes", num_classes)

    def forward(self, input_ids: TokenIds, attention_mask: PaddingMask | None = None) -> Float[Tensor, "B T classes"]:
        """Return the scores of the classes at each token."""
        return self.head(self.dropout(self.encoder(input_ids, attention_mask)))


class SpectralRegressor(nn.Module):
    """Numbers (B, values) that a text is to be told: head(dropout(encoder(tokens))).

    Args:
        config: the encoder.
        num_values: how many numbers.
        pooling: as in `SpectralEncoder`.

    Raises:
        ValueError: as `SpectralEncoder` does, or for less than one value.
    """

    def __init__(self, config: Config, num_values: int = 1, pooling: str = "mean") -> None:
        super().__init__()
        self.encoder = SpectralEncoder(config, pooling)
        self.dropout, self.head = _head(config, self.encoder.d_model, "num_values", num_values)

    def forward(self, input_ids: TokenIds, attention_mask: PaddingMask | None = None) -> Float[Tensor, "B values"]:
        """Return the numbers."""
        return self.head(self.dropout(self.encoder(input_ids, attention_mask)))


def _head(config: Config, width: int, name: str, outputs: int) -> tuple[nn.Dropout, nn.Linear]:
    if outputs < 1:
        raise ValueError(f"{name}={outputs}; wanted at least 1")
    plan = config if isinstance(config, SpectralConfig) else config.backbone
    head = nn.Linear(width, outputs)
    initialise(head, 1)
    return nn.Dropout(plan.dropout), head
