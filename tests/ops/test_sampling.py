"""From scores to tokens."""

import pytest
import torch

from undula.ops.sampling import drawn, less_repetition


def shares(chances, draws=20_000, **options):
    rows = torch.tensor(chances).log().expand(draws, -1)
    tokens = drawn(rows, **options, generator=torch.Generator().manual_seed(0))[:, 0]
    return [(tokens == t).float().mean().item() for t in range(len(chances))]


CHANCES = [0.1, 0.4, 0.2, 0.3]


@pytest.mark.parametrize(
    ("options", "want"),
    [
        ({}, CHANCES),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 9}, CHANCES),
        # The token that crosses the sum is kept; the document's rule would drop it.
        ({"top_p": 0.5}, [0, 4 / 7, 0, 3 / 7]),
        # Nor does a best token that alone exceeds the sum leave nothing.
        ({"top_p": 0.3}, [0, 1, 0, 0]),
        ({"top_p": 1e-9}, [0, 1, 0, 0]),
        ({"top_k": 3, "top_p": 0.5}, [0, 4 / 7, 0, 3 / 7]),
        ({"temperature": 1e-6}, [0, 1, 0, 0]),
        ({"temperature": 0.5}, [1 / 30, 16 / 30, 4 / 30, 9 / 30]),
    ],
    ids=str,
)
def test_tokens_come_as_often_as_they_should(options, want):
    assert shares(CHANCES, **options) == pytest.approx(want, abs=0.02)


def test_what_occurred_becomes_less_likely_whatever_its_sign():
    logits = torch.tensor([[2.0, -2.0, 1.0, -1.0], [2.0, -2.0, 1.0, -1.0]])
    tokens = torch.tensor([[0, 1, 1], [2, 3, 3]])
    got = less_repetition(logits, tokens, 2.0)
    assert got.tolist() == [[1.0, -4.0, 1.0, -1.0], [2.0, -2.0, 0.5, -2.0]]
    real = torch.tensor([[False, True, True], [True, False, False]])
    assert less_repetition(logits, tokens, 2.0, real).tolist() == [[2.0, -4.0, 1.0, -1.0], [2.0, -2.0, 0.5, -1.0]]
    assert torch.equal(less_repetition(logits, tokens, 1.0), logits)
