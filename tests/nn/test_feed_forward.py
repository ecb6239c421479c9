"""Feed-forwards against their definitions."""

import numpy as np
import pytest
import torch

from tests.reference import blocks
from undula.nn.feed_forward import PositionWiseFeedForward, SwiGLU

CASES = [(SwiGLU, blocks.swiglu, 0.0), (PositionWiseFeedForward, blocks.position_wise, 0.1)]


@pytest.mark.parametrize(("layer", "definition", "dropout"), CASES)
def test_equals_the_definition_and_its_gradients(layer, definition, dropout):
    built = layer(6, 10).double().eval()
    assert built.dropout.p == dropout
    x = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    named = dict(built.named_parameters())
    want = definition(x.detach().numpy(), {name: p.detach().numpy() for name, p in named.items()})
    np.testing.assert_allclose(built(x).detach().numpy(), want, atol=1e-12)

    def run(x, *values):
        return torch.func.functional_call(built, dict(zip(named, values, strict=True)), x)

    assert torch.autograd.gradcheck(run, (x, *named.values()), fast_mode=True)


def test_which_projections_have_biases():
    assert {name for name, _ in SwiGLU(4, 8).named_parameters()} == {"w1.weight", "w2.weight", "w3.weight"}
    names = {name for name, _ in PositionWiseFeedForward(4, 8).named_parameters()}
    assert names == {"linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias"}


@pytest.mark.parametrize("layer", [SwiGLU, PositionWiseFeedForward])
def test_dropout_is_between_the_gate_and_the_last_projection(layer):
    built = layer(6, 4000, dropout=0.5)
    last = built.w2 if layer is SwiGLU else built.linear2
    seen = []
    last.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    x = torch.randn(6)
    trained, kept = built(x), built.eval()(x)
    assert not torch.allclose(trained, kept)
    alive = seen[1] != 0
    share = (seen[0][alive] != 0).float().mean().item()
    assert share == pytest.approx(0.5, abs=0.05)
    both = (seen[0] != 0) & alive
    torch.testing.assert_close(seen[0][both], 2 * seen[1][both])
