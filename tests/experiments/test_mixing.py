"""How much positions count: a mixer's own weights, or how its outputs answer to its inputs."""

import pytest
import torch
from torch import nn

from tests.experiments.test_diagnostics import model
from undula.experiments.mixing import first_input, layers_of, mixing_weights

IDS = torch.tensor([[3, 1, 4, 1, 5]])


def test_own_weights_are_taken_from_the_inputs_of_their_layer():
    subject = model("interference").eval()
    weights = mixing_weights(subject, IDS)
    first = layers_of(subject)[0]
    wanted = first.attn.get_interference_weights(first.norm(subject.embedding(IDS)))
    assert len(weights) == 2
    torch.testing.assert_close(weights[0], wanted.detach())


@pytest.mark.parametrize("mixer", ["attention", "fft_conv"])
def test_others_are_measured_and_causal(mixer):
    for layer in mixing_weights(model(mixer).eval(), IDS):
        assert layer.shape == (1, 1, 5, 5)
        # What a transform leaves in front of the diagonal is rounding.
        assert layer.triu(1).abs().max() < 1e-6 * layer.max()
        assert layer.diagonal(dim1=-2, dim2=-1).min() > 0


def test_first_input_is_the_embedding():
    subject = model()
    assert torch.equal(first_input(subject, IDS), subject.embedding(IDS).detach())


def test_a_model_without_mixers_is_refused():
    with pytest.raises(ValueError, match="Linear has no list of layers that hold a mixer"):
        layers_of(nn.Linear(2, 2))
