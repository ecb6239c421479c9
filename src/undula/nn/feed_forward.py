"""Feed-forward layers: what happens to each position on its own."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F


class SwiGLU(nn.Module):
    """Gated feed-forward: w2(dropout(silu(w1 x) * w3 x)), no biases.

    Source: Shazeer, "GLU Variants Improve Transformer", arXiv 2002.05202.
    """

    def __init__(self, d_model: int, d_ff: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.w1 = nn.Linear(d_model, d_ff, bias=False)
        self.w2 = nn.Linear(d_ff, d_model, bias=False)
        self.w3 = nn.Linear(d_model, d_ff, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*rest D"]) -> Float[Tensor, "*rest D"]:
        """Return the gated projection of each position."""
        return self.w2(self.dropout(F.silu(self.w1(x)) * self.w3(x)))


class PositionWiseFeedForward(nn.Module):
    """The first transformer's feed-forward: linear2(dropout(relu(linear1 x))), with biases.

    Source: Vaswani et al., "Attention Is All You Need", arXiv 1706.03762.
    """

    def __init__(self, d_model: int, d_ff: int, dropout: float = 0.1) -> None:
        super().__init__()
        self.linear1 = nn.Linear(d_model, d_ff)
        self.linear2 = nn.Linear(d_ff, d_model)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Float[Tensor, "*rest D"]) -> Float[Tensor, "*rest D"]:
        """Return the projection of each position."""
        return self.linear2(self.dropout(F.relu(self.linear1(x))))
