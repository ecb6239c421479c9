import math

import numpy as np
import pytest
import torch

from undula.ops.metrics import IGNORED, Metrics, mean_nats, summed_nats


def by_definition(logits, labels):
    """Sum of -ln softmax(logits)[label] in float64, one position at a time."""
    total, count = 0.0, 0
    for row, label in zip(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), strict=True):
        if label != IGNORED:
            total += math.log(np.exp(row.astype(np.float64)).sum()) - float(row[label])
            count += 1
    return total, count


@pytest.fixture
def batch():
    logits = torch.randn(3, 5, 7)
    labels = torch.randint(7, (3, 5))
    labels[0, 3:] = IGNORED
    labels[2] = IGNORED
    return logits, labels


def test_sum_and_mean_are_those_of_the_definition(batch):
    logits, labels = batch
    nats, count = summed_nats(logits, labels)
    wanted, tokens = by_definition(logits.numpy(), labels.numpy())
    assert tokens == int(count) == 8
    assert float(nats) == pytest.approx(wanted, rel=1e-6)
    assert float(mean_nats(logits, labels)) == pytest.approx(wanted / 8, rel=1e-6)


def test_half_precision_scores_are_summed_in_float32(batch):
    logits, labels = batch[0].bfloat16(), batch[1]
    nats, _ = summed_nats(logits, labels)
    assert nats.dtype is torch.float32
    assert float(nats) == pytest.approx(by_definition(logits.float().numpy(), labels.numpy())[0], rel=1e-6)
    assert summed_nats(batch[0].double(), labels)[0].dtype is torch.float64


def test_a_batch_in_parts_scores_as_the_whole_although_the_parts_have_unequal_numbers_of_tokens(batch):
    logits, labels = batch
    whole = Metrics(float(summed_nats(logits, labels)[0]), 8, 20)
    parts = [summed_nats(logits[i], labels[i]) for i in range(3)]
    added = sum((Metrics(float(n), int(c), b) for (n, c), b in zip(parts, (5, 15, 0), strict=True)), Metrics())
    assert added.loss == pytest.approx(whole.loss, rel=1e-6)
    assert (added.num_tokens, added.num_bytes) == (8, 20)
    # The mean of the parts' means is another number: it would weigh three tokens as much as five.
    means = [float(n) / int(c) for n, c in parts[:2]]
    assert abs(sum(means) / 2 - whole.loss) > 1e-3


def test_uniform_guessing_costs_the_logarithm_of_the_vocabulary():
    nats, count = summed_nats(torch.zeros(2, 4, 256), torch.randint(256, (2, 4)))
    score = Metrics(float(nats), int(count), num_bytes=8)
    assert score.loss == pytest.approx(math.log(256))
    assert score.perplexity == pytest.approx(256)
    assert score.bits_per_byte == pytest.approx(8)
    # Tokens of two bytes each: half the bits for each byte, the same loss.
    assert Metrics(score.nats, 8, 16).bits_per_byte == pytest.approx(4)


def test_the_score_of_nothing_is_nan_never_zero():
    nothing = Metrics()
    assert all(math.isnan(value) for value in nothing.to_dict().values())
    assert math.isnan(float(mean_nats(torch.zeros(1, 2, 3), torch.full((1, 2), IGNORED))))
    assert math.isnan(Metrics(nats=3.0, num_tokens=2).bits_per_byte)


def test_a_perplexity_beyond_all_numbers_is_infinite():
    assert Metrics(nats=1000.0, num_tokens=1).perplexity == math.inf
