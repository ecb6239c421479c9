"""Scores of batches: tokens weigh the same, padding does not count, and nothing is invented."""

import math

import pytest
import torch
from torch import nn

from undula.validation.batches import Scorer, bootstrap, evaluate_batches, logits_of


class Table(nn.Module):
    """Scores by the last token alone, as a dictionary."""

    def __init__(self, size=5):
        super().__init__()
        self.scores = nn.Parameter(torch.randn(size, size))

    def forward(self, ids):
        return {"logits": self.scores[ids]}


def test_every_token_weighs_the_same():
    model = Table()
    batches = [
        (torch.randint(5, (3, 4)), torch.randint(5, (3, 4))),
        (torch.randint(5, (1, 2)), torch.randint(5, (1, 2))),
    ]
    batches[0][1][1, 2:] = -100
    found = evaluate_batches(model, batches)
    logs = model.scores.log_softmax(-1)
    nats = [-logs[x, y].item() for a, b in batches for x, y in zip(a.flatten(), b.flatten(), strict=True) if y >= 0]
    assert found.metrics.num_tokens == 12
    assert found.metrics.loss == pytest.approx(sum(nats) / 12, rel=1e-6)
    assert found.sequence_tokens.tolist() == [4, 2, 4, 2]
    assert found.sequence_nats.sum() == pytest.approx(sum(nats), rel=1e-6)
    best = model.scores.argmax(-1)
    right = sum(int(best[x] == y) for a, b in batches for x, y in zip(a.flatten(), b.flatten(), strict=True))
    assert found.accuracy == right / 12


def test_the_score_of_nothing_is_nan():
    found = evaluate_batches(Table(), [])
    assert all(math.isnan(value) for value in found.to_dict().values())
    assert all(math.isnan(value) for value in found.interval())


def test_errors_are_not_turned_into_numbers():
    class Broken(Table):
        def forward(self, ids):
            raise RuntimeError("broken")

    pair = (torch.zeros(2, 3, dtype=torch.long), torch.zeros(2, 3, dtype=torch.long))
    with pytest.raises(RuntimeError, match="broken"):
        evaluate_batches(Broken(), [pair])
    with pytest.raises(ValueError, match="a batch is a Tensor"):
        evaluate_batches(Table(), [pair[0]])
    with pytest.raises(ValueError, match=r"inputs \(2, 3\) and targets \(2, 2\)"):
        evaluate_batches(Table(), [(pair[0], pair[1][:, 1:])])
    with pytest.raises(ValueError, match="the model returned NoneType"):
        logits_of(None)


def test_the_model_may_answer_in_any_usual_way():
    scores = torch.randn(1, 2, 3)
    for answer in (scores, (scores, None), {"logits": scores}):
        assert logits_of(answer) is scores
    ids = torch.randint(5, (2, 3))
    model = Table()
    assert torch.equal(Scorer(model)(ids).logits, model(ids)["logits"])


def test_the_interval_holds_the_mean_and_shrinks_with_more_sequences():
    draw = torch.Generator().manual_seed(0)
    few, many = (torch.randn(n, generator=draw).numpy() + 3 for n in (20, 2000))
    low, high = bootstrap(few, few * 0 + 1)
    assert low < few.mean() < high
    narrow = bootstrap(many, many * 0 + 1)
    # 1.96 standard errors on both sides.
    assert narrow[1] - narrow[0] == pytest.approx(2 * 1.96 / math.sqrt(2000), rel=0.1)
    assert high - low > 5 * (narrow[1] - narrow[0])
