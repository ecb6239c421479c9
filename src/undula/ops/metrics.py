"""The one place that computes loss, perplexity and bits per byte; trainer, evaluation and audits all ask here."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

IGNORED = -100
"""The label of positions that no score counts."""


def summed_nats(
    logits: Float[Tensor, "*rest V"], labels: Int[Tensor, "*rest"]
) -> tuple[Float[Tensor, ""], Int[Tensor, ""]]:
    """Return the sum of -ln p(label) over all labels that count, and how many those are.

    Computed in float32 or wider; labels are not shifted here: labels[..., t] is what logits[..., t] predict.
    """
    wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
    nats = F.cross_entropy(wide.flatten(0, -2), labels.flatten(), ignore_index=IGNORED, reduction="sum")
    return nats, (labels != IGNORED).sum()


def mean_nats(logits: Float[Tensor, "*rest V"], labels: Int[Tensor, "*rest"]) -> Float[Tensor, ""]:
    """Return the mean of -ln p(label), in nats per token: what training makes small. NaN when no label counts."""
    nats, count = summed_nats(logits, labels)
    return nats / count


@dataclass(frozen=True)
class Metrics:
    """A score as sums, so that the scores of parts add up to the score of the whole. The score of nothing is NaN.

    Args:
        nats: sum of -ln p over all predicted tokens.
        num_tokens: how many tokens were predicted.
        num_bytes: UTF-8 bytes of text that those tokens stand for.
    """

    nats: float = 0.0
    num_tokens: int = 0
    num_bytes: int = 0

    @property
    def loss(self) -> float:
        """Nats per token: every token weighs the same, however the windows were batched."""
        return self.nats / self.num_tokens if self.num_tokens else math.nan

    @property
    def perplexity(self) -> float:
        """exp(loss); infinite where that is beyond a float."""
        return math.exp(self.loss) if not self.loss > 709 else math.inf

    @property
    def bits_per_byte(self) -> float:
        """Nats / (ln 2 bytes): comparable between tokenizers."""
        return self.nats / math.log(2) / self.num_bytes if self.num_bytes else math.nan

    def __add__(self, other: "Metrics") -> "Metrics":
        return Metrics(self.nats + other.nats, self.num_tokens + other.num_tokens, self.num_bytes + other.num_bytes)

    def to_dict(self) -> dict[str, float]:
        """Return loss, perplexity and bits per byte by name."""
        return {"loss": self.loss, "perplexity": self.perplexity, "bits_per_byte": self.bits_per_byte}
