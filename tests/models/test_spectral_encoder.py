"""Encoders and their heads: both directions, no trace of padding, one body."""

import pytest
import torch

from tests.contract.cases import moved
from tests.models.test_spectral_config import small
from undula.models.spectral import SpectralBackbone
from undula.models.spectral_config import LayerType
from undula.models.spectral_encoder import (
    SpectralClassifier,
    SpectralEncoder,
    SpectralRegressor,
    SpectralTokenClassifier,
)

TYPES = [kind.value for kind in LayerType]
MODELS = {
    "encoder": SpectralEncoder,
    "normalised": lambda c: SpectralEncoder(c, normalise=True),
    **{pooling: lambda c, p=pooling: SpectralEncoder(c, p, True) for pooling in ("mean", "attention", "first")},
    "classifier": lambda c: SpectralClassifier(c, 3),
    "tokens": lambda c: SpectralTokenClassifier(c, 3),
    "regressor": lambda c: SpectralRegressor(c, 2, "attention"),
}


def made(name, **changes):
    return moved(MODELS[name](small(num_layers=2, **changes))).double().eval()


def tokens(*shape):
    return torch.randint(40, shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_is_not_there(name, side):
    """The page's encoder changed with the length of the transform, its classifier pooled padding."""
    built, ids = made(name), tokens(3, 41)
    real = torch.arange(41) >= 12 if side == "left" else torch.arange(41) < 29
    mask = torch.stack([real, torch.ones(41).bool(), torch.zeros(41).bool()]).long()
    other = torch.where(mask.bool(), ids, (ids + 7) % 40)
    got = built(other, mask)
    assert torch.isfinite(got).all()
    alone, whole = built(ids[:1, real])[0], built(ids[1:2])[0]
    here = got[0, real] if got.ndim == 3 else got[0]
    torch.testing.assert_close(here, alone, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(got[1], whole, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_sees_both_directions_and_no_padding(kind):
    built, ids = made("encoder", layer_type=kind), tokens(1, 70)
    x = built(ids)
    for place in (0, 69):
        changed = ids.clone()
        changed[:, place] = (changed[:, place] + 1) % 40
        assert (built(changed) - x)[0, 69 - place].abs().max() > 1e-7
    mask = (torch.arange(80) < 70).long()[None]
    padded = torch.nn.functional.pad(ids, (0, 10), value=3)
    torch.testing.assert_close(built(padded, mask)[:, :70], x, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_has_a_gradient(name):
    built, ids = made(name).train(), tokens(3, 41)
    mask = (torch.arange(41) < torch.tensor([[41], [30], [12]])).long()
    out = built(ids, mask)
    (out * torch.randn_like(out)).sum().backward()
    assert [n for n, p in built.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_heads_share_one_body_and_have_no_other():
    """The page's classifier had a copy of the encoder and carried a language model's head."""
    sizes = sum(p.numel() for p in SpectralBackbone(small()).parameters())
    for built, head in ((SpectralClassifier(small(), 3), 99), (SpectralTokenClassifier(small(), 3), 99)):
        assert sum(p.numel() for p in built.parameters()) == sizes + head
        assert sum(isinstance(part, SpectralBackbone) for part in built.modules()) == 1
    encoder = made("mean")
    classifier = made("classifier")
    classifier.encoder.load_state_dict(encoder.state_dict())
    encoder.normalise = False
    ids = tokens(2, 9)
    torch.testing.assert_close(classifier(ids), classifier.head(encoder(ids)))


def test_normalised_vectors_have_length_1():
    ids = tokens(2, 9)
    torch.testing.assert_close(made("mean")(ids).norm(dim=-1), torch.ones(2).double())
    torch.testing.assert_close(made("normalised")(ids).norm(dim=-1), torch.ones(2, 9).double())


def test_poolings_start_as_different_functions_where_they_are():
    ids, config = tokens(2, 9), small(num_layers=2)
    outputs = {}
    for pooling in ("mean", "first"):
        torch.manual_seed(0)
        outputs[pooling] = SpectralEncoder(config, pooling).eval()(ids)
    assert not torch.allclose(outputs["mean"], outputs["first"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: SpectralEncoder(small(), "cls"), "unknown pooling 'cls'; known: attention, first, mean"),
        (lambda: SpectralClassifier(small(), 0), "num_classes=0; wanted at least 1"),
        (lambda: SpectralRegressor(small(), 0), "num_values=0; wanted at least 1"),
        (lambda: SpectralEncoder(small(modality="audio")), "modality='audio', but this model reads tokens"),
    ],
)
def test_mistakes_are_answered_with_the_fix(make, message):
    with pytest.raises(ValueError, match=message):
        make()
