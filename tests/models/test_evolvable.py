"""A model whose wavelets can evolve computes what it did before."""

import pytest
import torch

from tests.contract.cases import moved
from undula.config import from_dict, to_dict
from undula.models.config import BackboneConfig, ModelConfig
from undula.models.evolvable import evolvable, wavelet_mixers
from undula.models.language_model import build_language_model
from undula.models.spectral_llm_config import Config
from undula.nn.wavelet_basis import WaveletBasis


def plan(*mixers, **options):
    backbone = BackboneConfig(d_model=16, num_layers=2, num_heads=2, d_ff=16, mixers=mixers, mixer_options=options)
    return ModelConfig(vocab_size=11, backbone=backbone)


@pytest.mark.parametrize("wavelets", ["db4", ["db4"], ["db2", "sym4"]])
def test_it_is_the_same_model(wavelets):
    given = plan("wavelet_attention", "stochastic_wavelet", wavelet_attention={"wavelets": wavelets, "levels": 2})
    model = moved(build_language_model(given).double()).eval()
    twin = build_language_model(evolvable(given)).double().eval()
    found = twin.load_state_dict(model.state_dict(), strict=False)
    assert all(name.endswith("basis.angles") for name in found.missing_keys)
    assert (len(found.missing_keys), found.unexpected_keys) == (2, [])
    ids = torch.randint(11, (2, 40))
    torch.testing.assert_close(twin(ids), model(ids), atol=1e-5, rtol=0)
    assert sum(p.numel() for p in twin.parameters()) == sum(p.numel() for p in model.parameters())


def test_it_survives_json_and_itself():
    once = evolvable(plan("wavelet_attention", "attention"))
    assert from_dict(ModelConfig, to_dict(once)) == once == evolvable(once)
    assert wavelet_mixers(once)["wavelet_attention"]["levels"] == 4
    assert wavelet_mixers(once)["wavelet_attention"]["wavelets"] == [[pytest.approx(torch.pi / 12)]]


def test_the_documented_switch_gives_the_model_angles():
    """enable_evolution was read by nothing that a model is made of: a change of the basis changed no output."""
    size = {"vocab_size": 11, "embed_dim": 16, "num_heads": 2, "num_layers": 1, "harmonic_bases": 4}
    built = build_language_model(Config(**size, enable_evolution=True).model()).eval()
    (basis,) = (part for part in built.modules() if isinstance(part, WaveletBasis))
    assert basis.angles.shape == (2, 3)
    ids = torch.randint(11, (1, 30))
    before = moved(built)(ids)
    basis.angles += 0.3
    assert (built(ids) - before).abs().max() > 1e-4
    plain = build_language_model(Config(**size).model())
    assert not [name for name in plain.state_dict() if name.endswith("angles")]


@pytest.mark.parametrize(
    ("mixers", "options", "message"),
    [
        (("attention", "fft_conv"), {}, "mixers attention, fft_conv have no wavelets that could evolve; take"),
        (("wavelet_attention",), {"wavelet_attention": {"wavelets": ["db1"]}}, "have no angle; take longer ones"),
        (("wavelet_attention",), {"wavelet_attention": {"wavelets": ["bior2.2"]}}, "wanted orthogonal ones"),
    ],
)
def test_what_cannot_evolve_is_refused(mixers, options, message):
    with pytest.raises(ValueError, match=message):
        evolvable(plan(*mixers, **options))
