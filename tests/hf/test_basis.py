"""Another basis in the same model: nothing else changes, and what is left out is not computed."""

import pytest
import torch

from tests.contract.cases import moved
from undula.hf.basis import basis_of, with_basis
from undula.hf.configuration import UndulaConfig
from undula.hf.modeling import UndulaForCausalLM
from undula.models.config import BackboneConfig, ModelConfig
from undula.nn.wavelet_basis import WaveletBasis
from undula.optim.basis import BasisFunction

TREE = {"levels": 3, "wavelets": ["db2", "sym4"]}


def model(*mixers, tree=TREE):
    mixers = mixers or ("wavelet_attention", "stochastic_wavelet")
    options = {name: {**tree, **({"window": 8} if name == "wavelet_attention" else {})} for name in mixers}
    backbone = BackboneConfig(d_model=16, num_layers=2, num_heads=2, d_ff=16, mixers=mixers, mixer_options=options)
    config = UndulaConfig(model=ModelConfig(vocab_size=11, backbone=backbone), pad_token_id=0)
    torch.manual_seed(0)
    return moved(UndulaForCausalLM(config)).eval()


def changed(basis, **params):
    return BasisFunction(basis.type_name, {**basis.params, **params})


IDS = torch.randint(11, (2, 40), generator=torch.Generator().manual_seed(1))


def test_its_own_basis_changes_nothing_and_another_one_does(tmp_path):
    """A change of the basis did not change any output."""
    given = model()
    basis = basis_of(given)
    assert (basis.type_name, basis.levels, basis.angles.shape) == ("db2", 3, (2, 3))
    same = with_basis(given, basis)
    torch.testing.assert_close(same(IDS).logits, given(IDS).logits, atol=1e-5, rtol=1e-5)
    assert basis_of(same).angles == pytest.approx(basis.angles, abs=1e-6)
    other = with_basis(given, changed(basis, angles=basis.angles + 0.3))
    assert (other(IDS).logits - given(IDS).logits).abs().max() > 1e-3
    other.save_pretrained(tmp_path)
    loaded = UndulaForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(loaded(IDS).logits, other(IDS).logits)
    assert basis_of(loaded).same_as(basis_of(other))
    # The old one is left as it was.
    assert basis_of(given).same_as(basis)


def test_angles_that_training_has_turned_are_those_that_are_read():
    given = with_basis(model(), basis_of(model()))
    for part in given.modules():
        if isinstance(part, WaveletBasis):
            part.angles += 0.25
    assert basis_of(given).angles == pytest.approx(basis_of(model()).angles + 0.25, abs=1e-6)


@pytest.mark.parametrize("levels", [1, 2])
def test_fewer_levels_are_a_smaller_model(levels):
    given = model()
    small = with_basis(given, changed(basis_of(given), levels=levels))
    assert {part.levels for part in small.modules() if isinstance(part, WaveletBasis)} == {levels}
    assert sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in given.parameters())
    kept = {name: p for name, p in given.named_parameters() if small.state_dict()[name].shape == p.shape}
    assert all(torch.equal(small.state_dict()[name], p) for name, p in kept.items())
    attention, bands = (layer.attn for layer in small.model.backbone.layers)
    old_attention, old_bands = (layer.attn for layer in given.model.backbone.layers)
    assert torch.equal(attention.detail, old_attention.detail[:levels])
    assert torch.equal(attention.level_key, old_attention.level_key[: levels + 1])
    assert torch.equal(bands.band_weight[:-1], old_bands.band_weight[:levels])
    assert torch.equal(bands.band_weight[-1], old_bands.band_weight[-1])
    assert torch.equal(attention.basis.mix, old_attention.basis.mix[:levels])
    assert small(IDS).logits.isfinite().all()


def test_sparsity_sees_and_keeps_less():
    """A mask on a dense product was called sparse: here as many coefficients are looked up and kept as are left."""
    given, sizes = model("wavelet_attention"), []
    basis = basis_of(given)
    for share in (0.0, 0.75):
        sparse = with_basis(given, changed(basis, sparsity=share))
        sizes.append(sparse.model.init_state(1)[0].window.shape[2])
        short = IDS[:, :2]
        torch.testing.assert_close(sparse(short).logits, given(short).logits, atol=1e-5, rtol=1e-5)
    assert sizes == [8, 2]
    assert (sparse(IDS).logits - given(IDS).logits)[:, 10:].abs().max() > 1e-3


def test_what_has_no_basis_or_several_is_refused():
    plain = UndulaForCausalLM(UndulaConfig(model=ModelConfig(vocab_size=11), pad_token_id=0))
    with pytest.raises(ValueError, match="have no wavelets that could evolve"):
        basis_of(plain)
    with pytest.raises(ValueError, match=r"a basis of \(1, 3\) angles; wavelet_attention has 2 wavelets of 3"):
        with_basis(model(), BasisFunction("db4"))
    twofold = with_basis(model(), basis_of(model()))
    next(part for part in twofold.modules() if isinstance(part, WaveletBasis)).angles += 0.1
    with pytest.raises(ValueError, match="2 layers have different wavelets"):
        basis_of(twofold)
