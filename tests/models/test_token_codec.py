"""Tokens to waves and back."""

import math

import pytest
import torch

from undula.mixers.fft_conv import FFTConv
from undula.models.token_codec import FASTEST, NYQUIST, SLOWEST, TokenDecoder, TokenEncoder
from undula.models.wave_transformer import WaveTransformer
from undula.wave import Wave

SIZES = {"vocab_size": 11, "num_harmonics": 5, "d_model": 8, "num_heads": 2, "num_heads_kv": 2, "num_layers": 1}
IDS = torch.tensor([[1, 4, 2, 9, 0, 3], [3, 3, 7, 10, 6, 5]])


def encoder(**changes):
    return TokenEncoder(**{**SIZES, **changes}).double().eval()


def decoder(**changes):
    return TokenDecoder(**{**SIZES, **changes}).double().eval()


@pytest.mark.parametrize("causal", [True, False])
def test_the_context_layers_look_ahead_only_when_told(causal):
    """An encoder that is not told sees the whole sequence, and a language model built on it leaks."""
    first = encoder()
    other = IDS.clone()
    other[:, -1] = (other[:, -1] + 1) % 11
    change = (first(IDS, causal=causal).phases - first(other, causal=causal).phases)[:, :-1].abs().max()
    assert bool(change > 1e-8) is not causal
    last = decoder()
    x = torch.randn(2, 6, 15, dtype=torch.float64)
    y = x.clone()
    y[:, -1] += 1
    change = (last(x, causal=causal) - last(y, causal=causal))[:, :-1].abs().max()
    assert bool(change > 1e-8) is not causal


@pytest.mark.parametrize("shared", [True, False])
def test_waves_are_physical(shared):
    wave = encoder(shared_projector=shared)(IDS)
    assert isinstance(wave, Wave)
    assert wave.shape == (2, 6, 5)
    assert 0 < wave.frequencies.min() < wave.frequencies.max() < NYQUIST
    assert wave.amplitudes.min() > 0


def test_phases_turn_past_half_a_turn_without_saturating():
    """pi tanh(x) stops at half a turn; a phase must go on turning."""
    built = encoder(num_heads=0)
    before = built(IDS).phases
    with torch.no_grad():
        built.base_phase += 10.0
    torch.testing.assert_close(built(IDS).phases, before + 10.0, atol=1e-12, rtol=0)
    assert built(IDS).phases.min() > math.pi


def test_at_the_start_frequencies_rise_by_equal_ratios_from_slowest_to_fastest():
    f = NYQUIST * torch.sigmoid(encoder(num_harmonics=20).base_frequency)
    assert (f.diff() > 0).all()
    torch.testing.assert_close(f[1:] / f[:-1], (f[1] / f[0]).expand(19), atol=1e-5, rtol=0)
    assert (f[0].item(), f[-1].item()) == pytest.approx((SLOWEST, FASTEST), rel=1e-5)


def test_at_the_start_no_part_of_a_wave_drowns_another():
    """Frequencies up to 20 beside phases up to 3 made one third of the representation dominate its norm."""
    wave = TokenEncoder(50, 64, num_heads=0, dropout=0.0)(torch.arange(50)[None])
    spread = [part.std(1).square().mean().sqrt().item() for part in (wave.frequencies, wave.amplitudes, wave.phases)]
    assert max(spread) < 6 * min(spread)
    assert wave.to_representation().square().mean().sqrt() < 0.1


def test_a_trained_codec_keeps_its_weights_in_a_transformer():
    built = encoder()
    before = {name: value.clone() for name, value in built.state_dict().items()}
    WaveTransformer(built, TokenDecoder(9, 5), num_harmonics=5, transformer_num_heads=1, transformer_heads_kv=1)
    assert all(torch.equal(value, before[name]) for name, value in built.state_dict().items())


def test_one_projector_or_three_compute_alike():
    three, one = encoder(), encoder(shared_projector=True)
    assert [p.out_features for p in three.to_wave] == [5, 5, 5]
    assert [p.out_features for p in one.to_wave] == [15]
    weights = {k: v for k, v in three.state_dict().items() if not k.startswith("to_wave")}
    one.load_state_dict({**weights, "to_wave.0.weight": torch.cat([p.weight for p in three.to_wave])})
    torch.testing.assert_close(one(IDS).to_representation(), three(IDS).to_representation(), atol=1e-12, rtol=0)


def test_tokens_have_two_names_and_need_one():
    built = encoder()
    assert torch.equal(built(token_ids=IDS).phases, built(IDS).phases)
    for wrong in ({}, {"input_ids": IDS, "token_ids": IDS}):
        with pytest.raises(ValueError, match="both or neither of input_ids and token_ids; give one of them"):
            built(**wrong)


def test_padding_is_not_seen():
    mask = torch.tensor([[0, 0, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1]])
    built, last = encoder(), decoder()
    other = torch.where(mask.bool(), IDS, 8)
    for causal in (True, False):
        a, b = (built(ids, mask, causal).to_representation() for ids in (IDS, other))
        assert torch.equal(a[mask.bool()], b[mask.bool()])
        x = torch.randn(2, 6, 15, dtype=torch.float64)
        y = torch.where(mask[..., None].bool(), x, 3.0)
        assert torch.equal(last(x, mask, causal)[mask.bool()], last(y, mask, causal)[mask.bool()])


def test_options_reach_their_places():
    built = encoder(num_heads=4, num_heads_kv=1, rotary=True, hidden_mult=3.0, num_layers=2, dropout=0.4)
    assert (built.stack.mixer.n_heads, built.stack.mixer.n_heads_kv) == (4, 1)
    assert built.stack.mixer.rotary_base == 10000.0
    assert built.stack.expand.out_features == 24
    assert len(built.stack.linears) == 2
    assert built.stack.dropout.p == built.stack.mixer.dropout_p == 0.4
    assert encoder().stack.mixer.rotary_base is None
    assert encoder(num_heads=0).stack.mixer is None
    assert isinstance(encoder(mixer=FFTConv(8)).stack.mixer, FFTConv)


def test_scores_may_go_through_a_bottleneck():
    x = torch.randn(2, 3, 15, dtype=torch.float64)
    plain, narrow = decoder(), decoder(low_rank_output=2)
    assert plain(x).shape == narrow(x).shape == (2, 3, 11)
    narrow.head[2].weight.data.fill_(0)
    torch.testing.assert_close(narrow(x), narrow.head[2].bias.expand(2, 3, 11))
    assert narrow.head[0].out_features == 2


@pytest.mark.parametrize("changes", [{}, {"num_heads": 0}, {"rotary": True}, {"mixer": "fft_conv"}])
def test_codecs_stream(changes):
    if changes.get("mixer"):
        changes = {"mixer": FFTConv(8)}
    built, last = encoder(**changes), decoder(**changes)
    want = built(IDS)
    state, pieces = built.init_state(2), []
    for piece in IDS.split([3, 1, 2], dim=1):
        wave, state = built(piece, state=state)
        pieces.append(wave.to_representation())
    x = torch.cat(pieces, dim=1)
    torch.testing.assert_close(x, want.to_representation(), atol=1e-10, rtol=0)
    a, state = last(x[:, :2], state=last.init_state(2))
    b, _ = last(x[:, 2:], state=state)
    torch.testing.assert_close(torch.cat([a, b], dim=1), last(x), atol=1e-10, rtol=0)


def test_encoder_and_decoder_learn():
    built, last = encoder(), decoder()
    with torch.no_grad():
        for p in [*built.parameters(), *last.parameters()]:
            p.add_(0.1 * torch.randn_like(p))
    loss = last(built(IDS).to_representation()).square().sum()
    named = [*built.named_parameters(), *last.named_parameters()]
    grads = torch.autograd.grad(loss, [p for _, p in named])
    assert [n for (n, _), g in zip(named, grads, strict=True) if not g.isfinite().all() or g.abs().max() == 0] == []
