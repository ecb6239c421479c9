import random

import numpy as np
import pytest
import torch
from torch import nn

from undula.data.stream import EvalWindows, TokenStream
from undula.validation.evaluate import evaluate

VOCABULARY = 11


@pytest.fixture
def stream():
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, 100).astype(np.uint8)
    sizes = np.arange(VOCABULARY) % 3 + 1
    return TokenStream(tokens, np.array([0, 100]), sizes)


class Bigram(nn.Module):
    """Scores of the next token from the last one alone, with a dropout and a part that is frozen."""

    def __init__(self):
        super().__init__()
        self.table = nn.Embedding(VOCABULARY, VOCABULARY)
        self.dropout = nn.Dropout(0.5)
        self.frozen = nn.Dropout(0.5).eval()

    def forward(self, input_ids):
        return self.frozen(self.dropout(self.table(input_ids)))


def test_the_score_is_that_of_all_held_out_tokens_at_any_batch_and_block_size(stream):
    model = Bigram()
    table = model.table.weight.detach().double().log_softmax(-1).numpy()
    tokens = stream.tokens.astype(int)
    wanted = -sum(table[a, b] for a, b in zip(tokens, tokens[1:], strict=False))
    for block, batch in ((8, 1), (8, 3), (8, 64), (7, 4), (99, 2)):
        score = evaluate(model, EvalWindows(stream, block), batch)
        assert score.num_tokens == 99
        assert score.num_bytes == int(stream.token_bytes[tokens[1:]].sum())
        assert score.nats == pytest.approx(wanted, rel=1e-6)


def test_the_model_and_the_generators_are_left_as_they_were(stream):
    model = Bigram()
    model.frozen.eval()
    before = random.getstate(), np.random.get_state()[1].copy(), torch.get_rng_state()
    evaluate(model, EvalWindows(stream, 8))
    assert [m.training for m in (model, model.table, model.dropout, model.frozen)] == [True, True, True, False]
    assert model.table.weight.grad is None
    assert random.getstate() == before[0]
    assert (np.random.get_state()[1] == before[1]).all()
    assert torch.equal(torch.get_rng_state(), before[2])


def test_modes_come_back_and_random_numbers_too_when_the_model_fails(stream):
    class Failing(Bigram):
        def forward(self, input_ids):
            torch.rand(1)
            raise RuntimeError("no")

    model, before = Failing(), torch.get_rng_state()
    with pytest.raises(RuntimeError, match="no"):
        evaluate(model, EvalWindows(stream, 8))
    assert model.training
    assert torch.equal(torch.get_rng_state(), before)


def test_a_batch_of_no_windows_is_refused(stream):
    with pytest.raises(ValueError, match="batch_size=0"):
        evaluate(Bigram(), EvalWindows(stream, 8), 0)
