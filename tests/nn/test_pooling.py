"""One vector for a sequence, whatever is at padding."""

import pytest
import torch

from undula.nn.pooling import POOLINGS, build_pooling


def pooling(name):
    built = build_pooling(name, 6).double()
    with torch.no_grad():
        for p in built.parameters():
            p.normal_()
    return built


@pytest.mark.parametrize("name", POOLINGS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_not_there(name, side):
    built, x = pooling(name), torch.randn(2, 9, 6, dtype=torch.float64)
    real = torch.arange(9) >= 4 if side == "left" else torch.arange(9) < 5
    mask = torch.stack([real, torch.ones(9).bool()])
    poisoned = torch.where(mask[..., None], x, float("nan"))
    got = built(poisoned, mask)
    torch.testing.assert_close(got[0], built(x[:1, real])[0], atol=1e-12, rtol=0)
    torch.testing.assert_close(got[1], built(x[1:])[0], atol=1e-12, rtol=0)


@pytest.mark.parametrize("name", POOLINGS)
def test_nothing_but_padding_is_nothing_and_has_finite_gradients(name):
    built, x = pooling(name), torch.randn(1, 4, 6, dtype=torch.float64, requires_grad=True)
    got = built(x, torch.zeros(1, 4))
    assert torch.equal(got, torch.zeros(1, 6, dtype=torch.float64))
    got.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_each_by_definition():
    x = torch.randn(1, 5, 6, dtype=torch.float64)
    torch.testing.assert_close(pooling("mean")(x), x.mean(1))
    assert torch.equal(pooling("first")(x), x[:, 0])
    torch.testing.assert_close(build_pooling("attention", 6).double()(x), x.mean(1))
    attends = pooling("attention")
    powers = [torch.exp(x[0, t] @ attends.query / 6**0.5) for t in range(5)]
    want = sum(w * x[0, t] for t, w in enumerate(powers)) / sum(powers)
    torch.testing.assert_close(attends(x)[0], want)


def test_unknown_pooling():
    with pytest.raises(ValueError, match="unknown pooling 'maen'; did you mean 'mean'"):
        build_pooling("maen", 6)
