"""Tables of tokens that are narrower than the model, and scores that may be products with them."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.shapes import Logits, Sequence, TokenIds


class TokenTable(nn.Module):
    """The vector of each token: expand(table[id]).

    Args:
        vocab_size: number of tokens.
        d_model: width of the vectors.
        width: of the table; with the same width as the vectors nothing expands them.

    Source: Lan et al., "ALBERT", arXiv 1909.11942, section 3.1.
    """

    def __init__(self, vocab_size: int, d_model: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, width)
        self.expand = None if width == d_model else nn.Linear(width, d_model, bias=False)

    def forward(self, input_ids: TokenIds) -> Sequence:
        """Return the vectors of tokens."""
        x = self.table(input_ids)
        return x if self.expand is None else self.expand(x)


class TokenHead(nn.Module):
    """The score of each token: reduce(x) . table[id], with the embedding's table or one of its own.

    Args:
        vocab_size: number of tokens.
        d_model: width of x.
        width: of the table.
        tied: use the embedding's table.

    Source: Press and Wolf, "Using the Output Embedding to Improve Language Models", arXiv 1608.05859.
    """

    def __init__(self, vocab_size: int, d_model: int, width: int, *, tied: bool) -> None:
        super().__init__()
        self.reduce = None if width == d_model else nn.Linear(d_model, width, bias=False)
        self.own = None if tied else nn.Linear(width, vocab_size, bias=False)

    def forward(self, x: Sequence, table: Float[Tensor, "V width"]) -> Logits:
        """Return the scores; `table` is the embedding's."""
        x = x if self.reduce is None else self.reduce(x)
        return F.linear(x, table) if self.own is None else self.own(x)
