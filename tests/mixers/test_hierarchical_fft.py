"""The causal mixer in chunks: what the contract does not ask for."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from undula.mixers.base import state_bytes
from undula.mixers.hierarchical_fft import HierarchicalFFTMixer
from undula.nn import chunk_memory
from undula.nn.chunk_plan import ChunkPlan

OPTIONS = [{}, {"sparsity": 0.4}, {"adaptive": True}, {"sparsity": 0.4, "phase_aware": False, "cross_frequency": False}]


def made(dtype=torch.float64, **options):
    torch.manual_seed(0)
    built = HierarchicalFFTMixer(8, 2, **{"chunk_size": 4, "num_modes": 6, **options})
    with torch.no_grad():
        for p in built.parameters():
            p.add_(0.2 * torch.randn_like(p))
    return built.to(dtype)


def rows(steps, dtype=torch.float64):
    return torch.randn(2, steps, 8, dtype=dtype, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("options", OPTIONS)
def test_long_sequences_in_pieces_are_the_whole(options, monkeypatch):
    mixer, x = made(**options), rows(103)
    mask = torch.ones(2, 103, dtype=torch.bool)
    mask[0, :37] = False
    want, want_padded = mixer(x), mixer(x, attention_mask=mask)
    for piece in (4, 7, 32):
        monkeypatch.setattr("undula.mixers.base.PIECE", piece)
        torch.testing.assert_close(mixer(x), want, atol=1e-12, rtol=0)
        torch.testing.assert_close(mixer(x, attention_mask=mask)[mask], want_padded[mask], atol=1e-12, rtol=0)


@pytest.mark.parametrize("options", OPTIONS)
def test_rows_that_stand_at_different_places_of_their_chunks_stream(options):
    mixer, x = made(**options), rows(41)
    mask = torch.ones(2, 41, dtype=torch.bool)
    mask[0, :6] = False
    want, state, pieces = mixer(x, attention_mask=mask), mixer.init_state(2), []
    at = 0
    for size in (3, 1, 1, 1, 1, 9, 1, 1, 2, 20, 1):
        y, state = mixer(x[:, at : at + size], attention_mask=mask[:, at : at + size], state=state)
        pieces.append(y)
        at += size
    torch.testing.assert_close(torch.cat(pieces, 1)[mask], want[mask], atol=1e-11, rtol=0)
    assert state.position.tolist() == [35 % 4, 41 % 4]


@pytest.mark.parametrize("options", OPTIONS)
def test_a_long_stream_in_single_precision(options):
    mixer, x = made(torch.float32, chunk_size=8, **options).eval(), rows(150, torch.float32)
    with torch.no_grad():
        whole, state, steps = mixer(x), mixer.init_state(2), []
        sizes = set()
        for t in range(150):
            y, state = mixer(x[:, t : t + 1], state=state)
            steps.append(y)
            sizes.add(state_bytes(state))
        double = mixer.double()(x.double())
    size = double.square().mean().sqrt()
    assert ((torch.cat(steps, 1) - whole).abs().max() / size).item() < 1e-4
    assert ((whole - double).square().mean().sqrt() / size).item() < 1e-4
    assert len(sizes) == 1


def test_gains_of_a_chunk_come_from_the_chunks_before_it():
    mixer = made(chunk_size=8)
    x = rows(32)
    other = torch.cat([rows(8).flip(0), x[:, 8:]], 1)
    plans = []
    for given in (x, other):
        _, state = mixer(given, state=mixer.init_state(2))
        plans.append(state.plan)
    assert (plans[0] - plans[1]).abs().max() > 1e-3  # the first chunk is still heard in the fifth
    _, state = mixer(x[:, :7], state=mixer.init_state(2))
    assert (state.plan == 0).all()


def test_what_is_kept_is_told():
    x = rows(21)
    every = made().kept(x)
    assert every.shape == (2, 6, 2, 6)
    assert every.all()
    some = made(sparsity=0.4)
    assert (some.kept(x).sum(-1) == 2).all()
    assert torch.equal(some.train().kept(x), some.eval().kept(x))
    assert (some.kept(x)[:, 1:] != some.kept(x)[:, :1]).any()  # the past decides
    assert made(sparsity=0.4).memory.selector.most == 2
    learned = made(adaptive=True).memory.selector
    torch.testing.assert_close(learned.shares(), 0.12 + 0.33 * learned.share_logit.sigmoid())


def test_a_selection_computes_less():
    """Operations fall with what is kept; multiplying by a mask of zeros would cost as much as before."""
    x = rows(512, torch.float32)
    counts = []
    for sparsity in (None, 0.5, 0.17):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            made(torch.float32, sparsity=sparsity, num_modes=12, chunk_size=32)(x)
        counts.append(counter.get_total_flops())
    whole, half, sixth = counts
    sounds = 2 * 2 * (2 * 512 * 8) * (2 * 12) * 1  # filters and ringing: two products of 2 M numbers for each output
    assert half == pytest.approx(whole - sounds / 2, rel=0.03)
    assert sixth == pytest.approx(whole - sounds * 5 / 6, rel=0.03)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"chunk_size": 0}, "chunk_size=0; wanted at least 1"),
        ({"num_modes": 0}, "num_modes=0; wanted at least 1"),
        ({"num_freq_bands": 0}, "num_freq_bands=0; wanted at least 1"),
        ({"sparsity": 0.0}, "sparsity=0.0; wanted the share"),
        ({"sparsity": 1.5}, "sparsity=1.5; wanted the share"),
    ],
)
def test_numbers_out_of_range_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        made(**options)


def test_heads_that_do_not_divide_the_width_are_refused():
    with pytest.raises(ValueError, match="d_model=8 is not a multiple of num_heads=3"):
        HierarchicalFFTMixer(8, 3)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_chunk_is_no_longer_than_what_is_heard_of_it(options, monkeypatch):
    """Ten steps of a chunk of 4,096 are ten steps of work, in a stream as well."""
    mixer, x, lengths = made(**{**options, "chunk_size": 4096}), rows(41), []
    whole = chunk_memory.conv_rows
    monkeypatch.setattr(chunk_memory, "conv_rows", lambda u, h: lengths.append(u.shape[-1]) or whole(u, h))
    mask = torch.ones(2, 41, dtype=torch.bool)
    mask[0, :6] = False
    want, state, pieces = mixer(x, attention_mask=mask), mixer.init_state(2), []
    for piece, there in zip(x.split([3, 7, 30, 1], 1), mask.split([3, 7, 30, 1], 1), strict=True):
        y, state = mixer(piece, attention_mask=there, state=state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1)[mask], want[mask], atol=1e-11, rtol=0)
    assert lengths == [41, 3, 10, 40]


def test_poles_are_the_same_in_single_precision():
    mixer = HierarchicalFFTMixer(256, 8)
    for single, double in zip(mixer.memory._poles(torch.float32), mixer.memory._poles(torch.float64), strict=True):
        torch.testing.assert_close(single.double(), double, atol=0, rtol=1e-7)


@pytest.mark.parametrize("sparsity", [0.05, 0.5])
def test_a_share_that_no_adaptive_head_can_begin_with_is_refused(sparsity):
    with pytest.raises(ValueError, match=f"sparsity={sparsity}; adaptive heads keep 0.12 to 0.45 of their modes"):
        HierarchicalFFTMixer(8, 2, sparsity=sparsity, adaptive=True)


def test_without_phases_a_chunk_sets_sizes_alone():
    for phase_aware in (True, False):
        mixer = made(phase_aware=phase_aware)
        _, state = mixer(rows(41), state=mixer.init_state(2))
        gains, _ = mixer.memory._gains(state.plan[:, None])
        assert (gains[:, 0].std() > 0, gains[:, 1].abs().max() > 0) == (True, phase_aware)


@pytest.mark.parametrize("cross_frequency", [True, False])
def test_without_crossing_the_score_of_a_mode_is_its_own_power(cross_frequency):
    plan = ChunkPlan(8, 2, 6, 4, 2, True, cross_frequency=cross_frequency).double()
    power = torch.rand(2, 6, 3, 5, 4, dtype=torch.float64)
    frequency, past = torch.rand(2, 6, dtype=torch.float64), plan.no_past(3, power.device, power.dtype)
    louder = power.clone()
    louder[1, 2] += 1
    before, after = (plan(given, frequency, *past)[0][..., -6:] for given in (power, louder))
    changed = (before != after).any((0, 1))
    assert changed.sum() == (12 if cross_frequency else 1)
    assert changed[1, 2]
