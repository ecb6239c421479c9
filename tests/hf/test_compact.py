"""A compacted model is the old one without the channels of what was dropped: smaller, trainable, loadable."""

import pytest
import torch

from tests.hf.tiny import tiny
from undula.hf.compact import compact
from undula.hf.modeling import UndulaForCausalLM
from undula.models.config import BackboneConfig, CodecConfig, ModelConfig, SparsityConfig

H, V = 8, 41


def sparse(mixers=("attention", "fft_conv"), block="parallel", ratio=0.5, **more):
    backbone = BackboneConfig(d_model=3 * H, num_layers=len(mixers), num_heads=4, d_ff=32, mixers=mixers, block=block)
    codec = CodecConfig(d_model=16, num_heads=2, ordered=more.pop("ordered", False))
    limit = more.pop("limit", "slice" if codec.ordered else "none")
    sparsity = SparsityConfig(k_ratio=ratio, min_k=1, **more)
    return tiny(
        ModelConfig(family="wave", vocab_size=V, backbone=backbone, codec=codec, sparsity=sparsity, freq_limit=limit)
    ).eval()


def ids():
    return torch.randint(V, (2, 9), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("block", ["parallel", "pre_norm"])
def test_with_all_harmonics_kept_nothing_changes(block):
    model = sparse(block=block, mixers=("attention", "fft_conv", "short_conv"))
    with torch.no_grad():
        model.model.reduction.selector.score[-1].weight.zero_()
    model.model.reduction.selector.base_k = H
    torch.testing.assert_close(compact(model, H)(ids()).logits, model(ids()).logits)


def test_the_harmonics_that_were_kept_most_are_left_where_they_belong():
    model = sparse()
    use = torch.tensor([0.1, 0.9, 0.2, 0.8, 0.7, 0.1, 0.6, 0.3])
    model.model.reduction.selector.ema_use.copy_(use)
    small, kept = compact(model, d_ff=32), [1, 3, 4, 6]
    old, new = model.model.transformer, small.model.transformer
    assert torch.equal(new.wave_encoder.base_phase, old.wave_encoder.base_phase[kept])
    assert torch.equal(new.wave_encoder.to_wave[1].weight, old.wave_encoder.to_wave[1].weight[kept])
    channels = [c * H + k for c in range(3) for k in kept]
    assert torch.equal(new.layers[1].attn.gate.in_proj.weight, old.layers[1].attn.gate.in_proj.weight[:, channels])
    assert torch.equal(new.layers[0].ffn.w2.weight, old.layers[0].ffn.w2.weight[channels])
    assert torch.equal(new.wave_decoder.from_wave.weight, old.wave_decoder.from_wave.weight[:, channels])
    assert (compact(model, 2).config.hidden_size, small.config.hidden_size, model.config.hidden_size) == (6, 12, 24)


@pytest.mark.parametrize("inside", [{}, {"hidden_ratio": 0.5, "inner_ratio": 2.0}])
def test_a_settled_model_compacts_to_the_same_function(inside):
    model = sparse(settles=True, **inside)
    model.model.settle()
    small = compact(model)
    assert (small.config.hidden_size, small.config.model_config.backbone.d_ff) == (12, 16)
    torch.testing.assert_close(small(ids()).logits, model(ids()).logits, atol=1e-12, rtol=0)
    use, settled = model.model.reduction.selector.ema_use, model.model.reduction.settled
    use.copy_(torch.where(settled, 0.1, 0.9))
    torch.testing.assert_close(compact(model)(ids()).logits, model(ids()).logits, atol=1e-12, rtol=0)
    assert compact(model, d_ff=8).config.model_config.backbone.d_ff == 8


def test_of_each_feed_forward_the_units_with_the_largest_weights_are_left():
    model = sparse()
    old = model.model.transformer.layers[1].ffn
    with torch.no_grad():
        for j in (3, 4, 20):
            old.w1.weight[j] *= 100
    small = compact(model, H, d_ff=3).model.transformer.layers[1].ffn
    assert torch.equal(small.w2.weight, old.w2.weight[:, [3, 4, 20]])
    assert torch.equal(small.w3.weight, old.w3.weight[[3, 4, 20]])
    assert compact(model).config.model_config.backbone.d_ff == 16


def test_a_compacted_model_can_be_trained_saved_and_loaded(tmp_path):
    small = compact(sparse())
    small.save_pretrained(tmp_path)
    loaded = UndulaForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    torch.testing.assert_close(loaded(ids()).logits, small(ids()).logits)
    loaded.train()(ids(), labels=ids()).loss.backward()
    assert all(p.grad is not None and p.grad.any() for p in loaded.parameters())


@pytest.mark.parametrize(
    ("make", "keep", "message"),
    [
        (lambda: tiny("wave"), None, "trained with a selector"),
        (lambda: tiny("attention"), None, "trained with a selector"),
        (lambda: sparse(("fft_conv",), gather=True), None, "sparsity.gather"),
        (lambda: sparse(ordered=True), None, "codec.ordered"),
        (sparse, 9, "keep=9 of 8"),
        (lambda: torch.nn.Linear(2, 2), None, "compact needs a language model, UndulaForCausalLM; got Linear"),
        (lambda: low(sparse(limit="mask")), None, "whose curriculum has ended: its freq_limit is below 1"),
        (lambda: sparse(("interference",)), None, "InterferenceAttention does not say"),
    ],
)
def test_what_cannot_be_compacted_is_refused(make, keep, message):
    with pytest.raises(ValueError, match=message):
        compact(make(), keep)


def low(model):
    model.model.set_freq_limit(0.5)
    return model


@pytest.mark.parametrize("units", [0, 33])
def test_feed_forwards_keep_what_they_have_at_most(units):
    with pytest.raises(ValueError, match=f"d_ff={units} of 32; wanted 1 up to all of them"):
        compact(sparse(), d_ff=units)


def test_with_a_dynamic_k_as_many_are_left_as_were_kept_on_average():
    model = sparse(dynamic_k=True)
    model.model.reduction.selector.ema_k.fill_(5.2)
    assert compact(model).config.hidden_size == 15
