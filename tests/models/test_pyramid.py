"""The pyramid against its definition, and each fault that an earlier one had."""

import inspect

import numpy as np
import pytest
import torch

from tests.contract.cases import moved
from tests.reference import pyramid as reference
from undula.mixers.attention import FlashAttention
from undula.mixers.base import map_state, reorder_state, state_bytes
from undula.models.bands import BandProcessor
from undula.models.cross_band import CrossBandAttention
from undula.models.pyramid import MultiResolutionWavePyramid

H = 16
BOUNDARIES, LAYERS = [0.25, 0.5], [2, 1, 1]
STRIDES = [None, [4, 2, 1], [1, 3, 5]]
strides = pytest.mark.parametrize("strides", STRIDES)


def a_pyramid(dtype=torch.float64, **changes):
    sizes = {"band_boundaries": BOUNDARIES, "band_num_layers": LAYERS, "n_heads_q": 4, "n_heads_kv": 2, "dropout": 0.0}
    return moved(MultiResolutionWavePyramid(H, **{**sizes, "d_ff_multi": 2, **changes})).to(dtype).eval()


def waves(batch=2, steps=13, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, steps, 3 * H, generator=generator, dtype=torch.float64)


def pieces(module, x, sizes, mask=None):
    state, outputs = module.init_state(len(x)), []
    masks = [None] * len(sizes) if mask is None else mask.split(sizes, dim=1)
    for piece, real in zip(x.split(sizes, dim=1), masks, strict=True):
        y, state = module(piece, attention_mask=real, state=state)
        outputs.append(y)
    return torch.cat(outputs, dim=1), state


def test_defaults_are_the_documented_ones():
    parameters = inspect.signature(MultiResolutionWavePyramid).parameters
    assert {n: p.default for n, p in parameters.items() if p.default is not inspect.Parameter.empty} == {
        "band_boundaries": (0.2, 0.6),
        "band_num_layers": (8, 6, 4),
        "n_heads_q": 8,
        "n_heads_kv": 4,
        "d_ff_multi": 4,
        "dropout": 0.1,
        "use_cross_band_attn": True,
        "use_yarn": True,
        "use_flash": True,
        "band_strides": None,
        "mixer": "attention",
        "mixer_options": None,
    }
    assert list(inspect.signature(BandProcessor).parameters)[:5] == [
        "d_model", "num_layers", "n_heads_q", "n_heads_kv", "d_ff_multi"
    ]  # fmt: skip
    assert list(inspect.signature(CrossBandAttention).parameters)[:4] == [
        "d_model", "n_heads", "dropout", "bidirectional"
    ]  # fmt: skip


def definition(model, x, values, kinds, causal):
    heads = [band.processor.layers[0].attn.n_heads_kv for band in model.bands]
    return np.stack([reference.pyramid(row, values, BOUNDARIES, 12, heads, kinds or [1, 1, 1], causal) for row in x])


@strides
@pytest.mark.parametrize("cross", [True, False])
@pytest.mark.parametrize("causal", [True, False])
def test_values_and_gradients_equal_the_definition(strides, cross, causal):
    model = a_pyramid(band_strides=strides, use_cross_band_attn=cross)
    x = waves(1, 9).requires_grad_()
    named = {"x": x, **dict(model.named_parameters())}
    numbers = {key: tensor.detach().numpy() for key, tensor in named.items()}
    rng = np.random.default_rng(0)
    weights = rng.standard_normal(x.shape)

    def loss(values):
        return (weights * definition(model, values["x"], values, strides, causal)).sum()

    y = model(x, causal)
    # The windows are kept in float32.
    np.testing.assert_allclose(
        y.detach().numpy(), definition(model, numbers["x"], numbers, strides, causal), atol=2e-6, rtol=0
    )
    grads = torch.autograd.grad(y, list(named.values()), torch.from_numpy(weights))
    along = {key: rng.standard_normal(value.shape) for key, value in numbers.items()}
    slope = sum((grad.numpy() * along[key]).sum() for key, grad in zip(named, grads, strict=True))
    up, down = (loss({key: value + s * along[key] for key, value in numbers.items()}) for s in (1e-5, -1e-5))
    assert slope == pytest.approx((up - down) / 2e-5, rel=1e-5)


@strides
def test_a_new_pyramid_is_the_identity_and_learns_through_its_gate(strides):
    model = MultiResolutionWavePyramid(
        H, BOUNDARIES, LAYERS, n_heads_q=4, n_heads_kv=2, band_strides=strides, dropout=0.1
    )
    x = torch.randn(2, 13, 3 * H)
    y = model(x)
    assert torch.equal(y, x)
    y.square().sum().backward()
    assert model.gate.grad.abs().min() > 1e-4
    others = [p.grad.abs().max().item() for name, p in model.named_parameters() if name != "gate"]
    assert max(others) == 0.0


@strides
def test_every_parameter_learns(strides):
    model = a_pyramid(band_strides=strides)
    weights = torch.randn(2, 13, 3 * H, dtype=torch.float64)
    grads = torch.autograd.grad(model(waves()), list(model.parameters()), weights)
    assert [n for (n, _), g in zip(model.named_parameters(), grads, strict=True) if not g.abs().max() > 1e-10] == []


@strides
@pytest.mark.parametrize("training", [False, True])
def test_the_past_does_not_know_the_future(strides, training):
    """Attention between bands without a causal mask moved past outputs by half their size."""
    model = a_pyramid(band_strides=strides, dropout=0.2).train(training)
    x = waves(1)

    def run(x, causal=True):
        torch.manual_seed(0)  # the same dropout in both
        return model(x, causal)

    y = run(x)
    for cut in range(1, 13):
        other = torch.cat([x[:, :cut], waves(1, seed=1)[:, cut:]], dim=1)
        assert torch.equal(run(other)[:, :cut], y[:, :cut])
        assert (run(other)[:, cut] - y[:, cut]).abs().max() > 1e-3
        if not training:
            torch.testing.assert_close(model(x[:, :cut]), y[:, :cut], atol=1e-10, rtol=0)
    assert (run(other, False) - run(x, False))[:, 0].abs().max() > 1e-6


@strides
def test_the_newest_position_counts_for_what_is_held(strides):
    """Every position reaches a later output of every band, also where a band runs on every fifth only."""
    model = a_pyramid(band_strides=strides, use_cross_band_attn=False)
    x = waves(1, 23).requires_grad_()
    model.gate.data.fill_(1.0)
    (grad,) = torch.autograd.grad(model(x)[0, -1].unflatten(-1, (3, H)).sum(), x)
    assert (grad[0, :-1].unflatten(-1, (3, H)).abs().sum(1)[:, [0, 5, H - 1]][:-4] > 1e-9).all()


@strides
@pytest.mark.parametrize("sizes", [[23], [1] * 23, [1, 22], [22, 1], [2, 3, 1, 1, 5, 8, 3], [4, 4, 4, 11]])
def test_pieces_are_the_whole(strides, sizes):
    model, x = a_pyramid(band_strides=strides), waves(2, 23)
    with torch.no_grad():
        torch.testing.assert_close(pieces(model, x, sizes)[0], model(x), atol=1e-9, rtol=1e-9)


@strides
@pytest.mark.parametrize("sizes", [[23], [1] * 23, [6, 1, 1, 15], [2, 3, 1, 1, 5, 8, 3]])
def test_padded_pieces_are_the_unpadded_rows(strides, sizes):
    model, x = a_pyramid(band_strides=strides), waves(8, 23)
    mask = torch.arange(23) >= torch.arange(8)[:, None]
    with torch.no_grad():
        got, _ = pieces(model, torch.where(mask[..., None], x, torch.nan), sizes, mask)
        for row in range(8):
            torch.testing.assert_close(got[row : row + 1, row:], model(x[row : row + 1, row:]), atol=1e-9, rtol=1e-9)


@strides
def test_a_mask_may_come_late_or_end_early(strides):
    model, x = a_pyramid(band_strides=strides), waves(2, 12)
    mask = torch.ones(2, 12, dtype=torch.bool)
    mask[1, :3] = False
    with torch.no_grad():
        late, state = model(x[:, :6], state=model.init_state(2))
        rest, _ = model(x[:, 6:], attention_mask=mask[:, 6:], state=state)
        torch.testing.assert_close(torch.cat([late, rest], dim=1), model(x), atol=1e-9, rtol=0)
        early, state = model(x[:, :5], attention_mask=mask[:, :5], state=model.init_state(2))
        rest, _ = model(x[:, 5:], state=state)
        got = torch.cat([early, rest], dim=1)
    torch.testing.assert_close(got[:, 3:], model(x, attention_mask=mask)[:, 3:], atol=1e-9, rtol=0)


@strides
@pytest.mark.parametrize("causal", [True, False])
def test_padding_changes_nothing(strides, causal):
    model, x = a_pyramid(band_strides=strides), waves(5, 13)
    spans = [(0, 13), (5, 13), (0, 8), (3, 11), (0, 0)]
    mask = torch.zeros(5, 13, dtype=torch.long)
    for row, (first, end) in enumerate(spans):
        mask[row, first:end] = 1
    got = model(torch.where(mask[..., None].bool(), x, torch.nan), causal, mask)
    for row, (first, end) in enumerate(spans[:-1]):
        want = model(x[row : row + 1, first:end], causal)
        torch.testing.assert_close(got[row : row + 1, first:end], want, atol=1e-10, rtol=0)
    y = model(x, causal, mask)
    assert y.isfinite().all()
    grads = torch.autograd.grad(y.sum(), list(model.parameters()))
    assert all(grad.isfinite().all() for grad in grads)


@strides
def test_states_branch(strides):
    model, x, more = a_pyramid(band_strides=strides), waves(3, 7), waves(3, 6, seed=1)
    order = torch.tensor([2, 0, 0])
    with torch.no_grad():
        _, state = model(x, state=model.init_state(3))
        got, _ = model(more, state=reorder_state(state, order))
        want = model(torch.cat([x[order], more], dim=1))[:, 7:]
        kept, _ = model(more[:1], state=map_state(state, lambda t: t[:1]))
        whole = model(torch.cat([x, more], dim=1))[:1, 7:]
    torch.testing.assert_close(got, want, atol=1e-9, rtol=0)
    torch.testing.assert_close(kept, whole, atol=1e-9, rtol=0)
    keys = state.bands[2].stack.layers[0].keys
    assert state_bytes(state) > 2 * keys.numel() * 8
    assert state_bytes(map_state(state, torch.Tensor.float)) < state_bytes(state)


def test_a_slow_band_remembers_less():
    """Its keys are those of its own steps, not of all positions."""
    model = a_pyramid(band_strides=[4, 2, 1])
    _, state = pieces(model, waves(1, 23), [1] * 23)
    assert [band.stack.layers[0].keys.shape[2] for band in state.bands] == [6, 12, 23]


def test_bands_stay_apart_without_attention_between_them():
    """At full width, the first layer filled the silenced harmonics again."""
    alone, joined = a_pyramid(use_cross_band_attn=False), a_pyramid()
    x, y = waves(1), waves(1)
    y[:, 0, [H - 1, 2 * H - 1, 3 * H - 1]] += 1.0

    def moved_harmonics(model):
        return (model(x) - model(y))[0, 12].unflatten(-1, (3, H)).abs().amax(0)

    # Harmonics that one band holds alone; where two meet, the gates know of all bands.
    assert alone.decomposer.spans == ((0, 5), (3, 9), (7, 16))
    low, middle, high = slice(3), slice(5, 7), slice(9, 16)
    change = moved_harmonics(alone)
    assert change[low].max() == change[middle].max() == 0.0
    assert change[high].min() > 1e-6
    change = moved_harmonics(joined)
    assert change[low].max() == 0.0
    assert min(change[middle].min(), change[high].min()) > 1e-6


def test_neighbours_read_what_the_stacks_made():
    """In sequence, low to high, the third band would read a second one that has read the first already."""
    model = a_pyramid(band_num_layers=[1, 1, 1])
    x, y = waves(1), waves(1)
    y[:, :, [0, H, 2 * H]] += 1.0  # the lowest harmonic, which only the first band holds
    change = (model(x) - model(y))[0].unflatten(-1, (3, H)).abs().amax((0, 1))
    assert change[:9].min() > 1e-6
    assert change[9:].max() == 0.0


def test_depths_belong_to_bands_low_to_high():
    model = a_pyramid(band_num_layers=[3, 1, 2])
    assert [len(band.processor.layers) for band in model.bands] == [3, 1, 2]
    assert [band.width for band in model.bands] == [15, 18, 27]

    def size(layers):
        return sum(p.numel() for p in a_pyramid(band_num_layers=layers).parameters())

    assert size([2, 1, 1]) > size([1, 1, 1]) < size([1, 1, 2])
    assert size([2, 1, 1]) - size([1, 1, 1]) == sum(p.numel() for p in model.bands[0].processor.layers[0].parameters())


def test_the_default_is_lighter_than_six_layers_of_the_whole_width():
    model = MultiResolutionWavePyramid(64)
    six = 6 * (2 * 192 * 192 + 192 * 192 + 192 + 192 + 3 * 192 * 768)
    assert sum(p.numel() for p in model.parameters()) < 0.6 * six
    widths = [(band.d_model, band.processor.layers[0].attn.n_heads) for band in model.bands]
    assert widths == [(48, 2), (96, 4), (96, 4)]
    assert [band.processor.layers[0].attn.n_heads_kv for band in model.bands] == [1, 2, 2]
    assert [(pair.n_heads, pair.d_head) for pair in model.pairs] == [(1, 48), (2, 48)]


def test_arguments_reach_the_parts():
    model = a_pyramid(dropout=0.3, use_yarn=False, use_flash=False, d_ff_multi=3, n_heads_kv=4)
    attentions = [m for m in model.modules() if isinstance(m, FlashAttention)]
    assert len(attentions) == 4
    assert {(a.dropout_p, a.rotary_base, a.use_flash) for a in attentions} == {(0.3, None, False)}
    assert {(p.dropout_p, p.rotary, p.use_flash) for p in model.pairs} == {(0.3, False, False)}
    assert {m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)} == {0.0, 0.3}
    assert model.bands[0].processor.layers[0].ffn.w1.out_features == 3 * 24
    assert [band.processor.layers[0].attn.n_heads_kv for band in model.bands] == [2, 2, 3]
    fused = a_pyramid()
    plain = a_pyramid(use_flash=False)
    plain.load_state_dict(fused.state_dict())
    torch.testing.assert_close(plain(waves()), fused(waves()), atol=1e-12, rtol=0)
    plain = a_pyramid(use_yarn=False)
    plain.load_state_dict(fused.state_dict())
    assert (plain(waves()) - fused(waves())).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"band_boundaries": [0.6, 0.2]}, "increasing between 0 and 1"),
        ({"band_boundaries": [0.3, 0.31]}, "a band without any of the 16 harmonics"),
        ({"band_num_layers": [1, 1]}, r"band_num_layers=\[1, 1\]; wanted 3 numbers from 1 on"),
        ({"band_num_layers": [1, 0, 1]}, r"band_num_layers=\[1, 0, 1\]; wanted 3 numbers"),
        ({"band_strides": [1, 2]}, r"band_strides=\[1, 2\]; wanted 3 numbers"),
        ({"band_strides": [1, 2, 0]}, r"band_strides=\[1, 2, 0\]; wanted 3 numbers"),
        ({"n_heads_q": 5}, "3 x num_harmonics=48 is not a multiple of n_heads_q=5"),
        ({"n_heads_q": 0}, "n_heads_q=0"),
        ({"n_heads_kv": 3}, "n_heads_q=4 is not a multiple of n_heads_kv=3"),
        ({"n_heads_q": 16, "n_heads_kv": 1}, "head width 3 is odd"),
    ],
)
def test_mistakes_are_answered_with_the_fix(changes, message):
    with pytest.raises(ValueError, match=message):
        a_pyramid(**changes)


def test_one_seed_gives_one_pyramid():
    def values():
        torch.manual_seed(3)
        return MultiResolutionWavePyramid(H, BOUNDARIES, LAYERS, 4, 2).state_dict()

    first, second = values(), values()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_half_precision():
    model, x = a_pyramid(torch.float32, band_strides=[4, 2, 1]), waves().float()
    want = model(x)
    half = model.to(torch.bfloat16)
    y = half(x.bfloat16())
    streamed, _ = pieces(half, x.bfloat16(), [5, 1, 1, 6])
    for got in (y, streamed):
        assert got.dtype is torch.bfloat16
        assert (got.float() - want).square().mean().sqrt() / want.square().mean().sqrt() < 0.03


def test_a_band_is_a_stack_of_blocks_and_a_norm():
    stack = moved(BandProcessor(d_model=24, num_layers=2, n_heads_q=4, n_heads_kv=2)).double().eval()
    x = torch.randn(2, 5, 24, dtype=torch.float64)
    assert torch.equal(stack(x), stack.norm(stack.layers[1](stack.layers[0](x))))
    assert torch.equal(stack(x, False), stack.norm(stack.layers[1](stack.layers[0](x, False), False)))
    torch.testing.assert_close(pieces(stack, x, [2, 1, 2])[0], stack(x), atol=1e-10, rtol=0)
    with pytest.raises(ValueError, match="num_layers=0"):
        BandProcessor(24, 0, 4, 2)


@strides
def test_bands_take_any_mixer_and_its_options(strides):
    tuned = a_pyramid(band_strides=strides, mixer_options={"qk_norm": True, "rotary_base": 100.0})
    found = [layer.attn for band in tuned.bands for layer in band.processor.layers]
    assert [(m.q_norm is not None, m.rotary_base, m.n_heads_kv) for m in found] == [
        (True, 100.0, n) for n in (1, 1, 1, 3)
    ]
    built = a_pyramid(band_strides=strides, mixer="fft_conv", mixer_options={"num_modes": 3})
    assert {layer.attn.filter.modes for band in built.bands for layer in band.processor.layers} == {3}
    x, mask = waves(), torch.ones(2, 13, dtype=torch.bool)
    mask[0, :5] = False
    whole = built(x, attention_mask=mask)
    streamed, _ = pieces(built, x, [4, 1, 1, 7], mask)
    torch.testing.assert_close(streamed[mask], whole[mask], atol=1e-9, rtol=0)
    torch.testing.assert_close(whole[:1, 5:], built(x[:1, 5:]), atol=1e-9, rtol=0)
    later = built(torch.cat([x[:, :9], waves(seed=1)[:, 9:]], dim=1), attention_mask=mask)
    torch.testing.assert_close(later[:, :9], whole[:, :9], atol=1e-10, rtol=0)
    with pytest.raises(ValueError, match="did you mean 'fft_conv'"):
        a_pyramid(mixer="fft_con")


@pytest.mark.parametrize("rotary", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_attention_between_two_bands(bidirectional, rotary):
    pair = moved(CrossBandAttention(16, 4, 0.0, bidirectional, d_model_b=24, rotary=rotary)).double().eval()
    a, b = torch.randn(2, 7, 16, dtype=torch.float64), torch.randn(2, 7, 24, dtype=torch.float64)
    new_a, new_b = pair(a, b)
    values = {name: p.detach().numpy() for name, p in pair.named_parameters()}
    sides = [reference.part(values, f"readers.{i}.") for i in range(1 + bidirectional)]
    offers = [reference.part(values, f"offers.{i}.") for i in range(1 + bidirectional)]

    def got(own, other, side, offer):
        return np.stack(
            [
                reference.reads(x, z, reference.part(side, "query."), offer, reference.part(side, "out_proj."), 4, True)
                for x, z in zip(own.numpy(), other.numpy(), strict=True)
            ]
        )

    if rotary:
        np.testing.assert_allclose((new_b - b).detach(), got(b, a, sides[-1], offers[0]), atol=1e-10)
    if rotary and bidirectional:
        np.testing.assert_allclose((new_a - a).detach(), got(a, b, sides[0], offers[1]), atol=1e-10)
    assert torch.equal(new_a, a) is not bidirectional
    (state, outputs) = pair.init_state(2), []
    for first, end in [(0, 3), (3, 4), (4, 7)]:
        bands, state = pair(a[:, first:end], b[:, first:end], state=state)
        outputs.append(bands)
    for whole, parts in zip((new_a, new_b), zip(*outputs, strict=True), strict=True):
        torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-10, rtol=0)
    late_a, late_b = a.clone(), b.clone()
    late_a[:, 4:], late_b[:, 4:] = torch.nan, torch.nan
    mask = (torch.arange(7) < 4).expand(2, 7)
    for cut, whole in zip(pair(late_a, late_b, True, mask), (new_a, new_b), strict=True):
        torch.testing.assert_close(cut[:, :4], whole[:, :4], atol=1e-10, rtol=0)
    both = pair(a, b, False)
    assert (both[1] - new_b)[:, 0].abs().max() > 1e-4


def test_attention_between_bands_refuses_what_does_not_divide():
    with pytest.raises(ValueError, match="d_model=16 is not a multiple of n_heads=5"):
        CrossBandAttention(24, 5, d_model_b=16)
    with pytest.raises(ValueError, match="head width 3 is odd"):
        CrossBandAttention(24, rotary=True)
