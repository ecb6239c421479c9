"""Wave packet embedding: the stated physics, the definition, what each branch costs and who learns."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from tests.reference import wave_packet as reference
from undula.nn.wave_packet import SMALL, WavePacketEmbedding
from undula.ops.phase import wrap_phase

IDS = torch.tensor([[3, 0, 3, 8, 5], [1, 1, 1, 8, 2]])


def small(**options):
    """Nine tokens with ranks of their own, every parameter moved away from its start."""
    embedding = WavePacketEmbedding.from_counts(torch.tensor([5, 9, 0, 2, 7, 7, 1, 30, 4]), 6, 3, 4, **options).double()
    with torch.no_grad():
        for parameter in (embedding.raw_amplitudes, embedding.ln.weight, embedding.ln.bias):
            parameter.add_(0.3 * torch.randn_like(parameter))
    return embedding


def defined(embedding, token_ids, positions, ratio):
    values = {name: tensor.detach().numpy() for name, tensor in embedding.state_dict().items()}
    return reference.embed(
        token_ids.numpy(),
        positions.numpy(),
        ratio,
        ranks=values["ranks"],
        phases=values["phases"],
        pos_freq=values["pos_freq"].ravel(),
        amplitudes=np.log1p(np.exp(values["raw_amplitudes"])),
        projection=values["wave_to_embed.weight"],
        table=values["simple_embed.weight"],
        gain=values["ln.weight"],
        bias=values["ln.bias"],
    )


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_vectors_are_their_definition(ratio):
    embedding = small()
    here = torch.arange(5).expand(2, 5)
    np.testing.assert_allclose(embedding(IDS, ratio).detach(), defined(embedding, IDS, here, ratio), atol=1e-13)
    away = torch.tensor([[7, 8, 9, 10, 11], [0, 0, 0, 1, 2]])
    got = embedding(IDS, ratio, positions=away).detach()
    np.testing.assert_allclose(got, defined(embedding, IDS, away, ratio), atol=1e-13)


@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_a_ratio_as_a_tensor_is_the_same_number(ratio):
    embedding = small()
    tensor = torch.tensor(ratio, dtype=torch.float64)
    torch.testing.assert_close(embedding(IDS, tensor), embedding(IDS, ratio), atol=1e-15, rtol=0)


def test_mass_and_frequency_follow_the_rank_of_the_counts():
    counts = torch.tensor([5, 9, 0, 2, 7, 7, 0, 30, 4])
    embedding = WavePacketEmbedding.from_counts(counts, 6, 3, 4)
    # 30, 9, then the two sevens in their order, 5, 4, 2, and the two that were never seen
    assert embedding.ranks.tolist() == [4, 1, 7, 6, 2, 3, 8, 0, 5]
    torch.testing.assert_close(embedding.masses, 1 / (embedding.ranks + 1.0))
    for token in range(9):
        mass, omega = embedding.get_token_mass(token), embedding.get_base_frequency(token)
        assert omega.item() == pytest.approx(mass.item() ** -0.5, rel=1e-6)
        assert torch.equal(embedding.get_harmonic_frequencies(token), torch.arange(1.0, 5.0) * omega)
        assert torch.equal(embedding.base_freqs[token], omega.expand(3))
    # common = heavy = slow
    assert embedding.rates[counts.argsort(descending=True, stable=True)].diff().min() > 0
    assert WavePacketEmbedding(9, 6).ranks.tolist() == list(range(9))


def test_of_equal_counts_the_lower_number_comes_first():
    # Many, because sorting a few keeps their order anyway.
    assert WavePacketEmbedding.from_counts(torch.full((300,), 7), 2, 1, 1).ranks.tolist() == list(range(300))


def test_amplitudes_start_at_one_over_n_and_learn():
    embedding = WavePacketEmbedding(9, 6, 3, 5)
    torch.testing.assert_close(embedding.get_harmonic_amplitudes(), 1 / torch.arange(1.0, 6.0))
    embedding(IDS).pow(3).sum().backward()
    assert embedding.raw_amplitudes.grad.abs().min() > 0


def test_no_two_frequencies_are_aliases():
    # sqrt(rank + 1) turns for each step of nothing: whole turns, so nothing, at perfect squares.
    embedding = WavePacketEmbedding(1024, 6, 2, 4)
    highest = 4 * embedding.rates
    assert highest.min() > 0
    assert highest.max().item() == pytest.approx(0.25)
    assert highest.diff().min() > 0
    nn.init.constant_(embedding.phases, 0.3)
    tokens = torch.arange(1024)[:, None].expand(1024, 2)
    seen = embedding(tokens).detach()[:, 1]
    neighbours = (seen[1:] - seen[:-1]).norm(dim=-1)
    assert neighbours.min() > 1e-2 * neighbours.median()


def packet_alone(embedding, ids, **options):
    """P packet: without the carrier, the table and the norm."""
    embedding.ln = nn.Identity()
    with torch.no_grad():
        return embedding(ids, 0.0, **options) - embedding(ids, 1.0, **options) + embedding.simple_embed(ids)


def test_position_turns_harmonic_n_by_n_times_the_angle():
    embedding = WavePacketEmbedding(9, 6, 1, 3).double()
    with torch.no_grad():
        embedding.wave_to_embed.weight.copy_(torch.eye(6))
    sines, cosines = packet_alone(embedding, torch.full((1, 5), 4))[0].chunk(2, dim=-1)
    turned = wrap_phase(torch.atan2(sines, cosines).diff(dim=0))
    step = 2 * math.pi * embedding.rates[4] + embedding.pos_freq.detach().squeeze()
    assert step.abs() > 0.1
    torch.testing.assert_close(turned, wrap_phase(torch.arange(1, 4) * step).expand(4, 3))


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
def test_equal_tokens_differ_by_position_in_both_branches(ratio):
    x = WavePacketEmbedding(40, 32, 6, 4)(torch.full((1, 6), 7), ratio).detach()[0]
    apart = torch.cdist(x, x) + torch.eye(6)
    assert apart.min() > 0.02 * x.norm(dim=-1).mean()


@pytest.mark.parametrize(("ratio", "idle"), [(0.0, ["simple_embed.weight"]), (0.5, []), (1.0, ["phases"])])
def test_only_the_branch_that_counts_is_computed_and_learns(ratio, idle):
    embedding = WavePacketEmbedding(9, 6, 3, 4)
    for name in idle:
        nn.init.constant_(embedding.get_parameter(name), math.nan)
    x = embedding(IDS, ratio)
    assert x.isfinite().all()
    x.pow(3).sum().backward()
    assert [name for name, p in embedding.named_parameters() if p.grad is None] == idle
    assert all(p.grad.abs().max() > 0 for p in embedding.parameters() if p.grad is not None)


def test_the_end_of_annealing_frees_the_table():
    embedding = WavePacketEmbedding(9, 6, 3, 4)
    before = embedding(IDS)
    embedding.finalize_annealing()
    embedding.finalize_annealing()
    assert torch.equal(embedding(IDS), before)
    assert torch.equal(embedding(IDS, torch.tensor(0.0)), before)
    assert sum(p.numel() for p in embedding.parameters()) == 9 * 3 + 3 + 4 + 24 * 6 + 12
    for ratio in (0.5, torch.tensor(0.5)):
        with pytest.raises(ValueError, match="finalize_annealing gave the standard table free; pass 0.0"):
            embedding(IDS, ratio)


def test_no_buffer_grows_with_waves_or_harmonics():
    embedding = WavePacketEmbedding(1000, 8, 48, 4)
    assert [(name, b.numel()) for name, b in embedding.named_buffers()] == [("ranks", 1000)]


def test_angles_are_exact_far_out():
    embedding = WavePacketEmbedding(50_000, 6, 8, 4)
    ids, far = torch.tensor([[49_999, 7]]), torch.tensor([[1_000_000, 1_000_001]])
    single = embedding(ids, positions=far).double()
    double = embedding.double()(ids, positions=far)
    torch.testing.assert_close(single, double, atol=SMALL * 2e-5, rtol=0)


def test_mixed_and_half_precision_keep_ranks_and_angles():
    embedding = WavePacketEmbedding(50_000, 64, 16, 4)
    ids, far = torch.tensor([[49_999, 49_998, 7]]), torch.tensor([[5000, 5001, 5002]])
    want = embedding(ids, positions=far)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(embedding(ids, positions=far).float(), want, atol=SMALL * 0.05, rtol=0)
    # What a half type does to the parameters is the rounding of what is stored, no more.
    embedding.bfloat16()
    assert torch.equal(embedding.ranks, torch.arange(50_000))
    half = embedding(ids, positions=far)
    assert half.dtype is torch.bfloat16
    stored = embedding.float()(ids, positions=far)
    torch.testing.assert_close(half.float(), stored, atol=SMALL * 0.05, rtol=0)


def test_rows_start_as_large_as_those_of_a_table():
    embedding = WavePacketEmbedding(500, 64, 16, 4)
    for ratio in (0.0, 0.5, 1.0):
        sizes = embedding(torch.arange(500)[None], ratio).square().mean(-1).sqrt()
        torch.testing.assert_close(sizes, torch.full_like(sizes, SMALL), rtol=0.05, atol=0)
    # Before the norm, the packet is as loud as the table.
    packet = packet_alone(embedding, torch.arange(500)[None])
    assert packet.std().item() == pytest.approx(embedding.simple_embed.weight.std().item(), rel=0.1)


def test_a_token_is_found_wherever_it_stands():
    # By a linear reading learned from other rows; on one clock for all waves, packets turn out of sight.
    embedding = WavePacketEmbedding(65, 128, 48, 4)
    tokens = torch.randint(0, 65, (96, 256))
    x = embedding(tokens).detach() / SMALL
    truth = nn.functional.one_hot(tokens, 65).float()
    read = torch.linalg.lstsq(x[:32].flatten(0, 1), truth[:32].flatten(0, 1)).solution
    assert ((x[32:] @ read).argmax(-1) == tokens[32:]).float().mean() > 0.99


def test_gradients_are_those_of_finite_differences():
    embedding = small()
    ratio = torch.tensor(0.4, dtype=torch.float64)
    names = ["phases", "pos_freq", "raw_amplitudes", "wave_to_embed.weight"]
    values = [embedding.get_parameter(name).detach().clone().requires_grad_() for name in names]

    def run(*values):
        return torch.func.functional_call(embedding, dict(zip(names, values, strict=True)), (IDS, ratio))

    assert torch.autograd.gradcheck(run, values, fast_mode=True)


def test_one_token_and_one_wave():
    embedding = WavePacketEmbedding.from_counts(torch.tensor([0]), 4, 1, 1)
    x = embedding(torch.zeros(1, 3, dtype=torch.long))
    assert x.isfinite().all()
    assert embedding.rates.tolist() == [0.25]
    assert embedding(torch.zeros(2, 0, dtype=torch.long)).shape == (2, 0, 4)


def test_continuing_a_row_is_the_whole_row():
    embedding = small()
    rest = embedding(IDS[:, 2:], positions=torch.arange(2, 5)[None])
    torch.testing.assert_close(rest, embedding(IDS)[:, 2:], atol=1e-14, rtol=0)


def test_state_of_one_loads_into_another():
    embedding, other = small(), WavePacketEmbedding(9, 6, 3, 4).double()
    other.load_state_dict(embedding.state_dict())
    assert torch.equal(other(IDS, 0.5), embedding(IDS, 0.5))


@pytest.mark.parametrize("name", ["vocab_size", "d_model", "num_waves", "num_harmonics"])
def test_sizes_must_be_positive(name):
    sizes = {"vocab_size": 9, "d_model": 6, "num_waves": 3, "num_harmonics": 4, name: 0}
    with pytest.raises(ValueError, match=f"{name}=0; wanted 1 or more"):
        WavePacketEmbedding(**sizes)


@pytest.mark.parametrize("ratio", [-0.1, 1.1, math.nan])
def test_ratio_out_of_range(ratio):
    with pytest.raises(ValueError, match="wanted 0 .* to 1"):
        WavePacketEmbedding(9, 6)(IDS, ratio)


def test_wrong_counts():
    embedding = WavePacketEmbedding(9, 6)
    with pytest.raises(ValueError, match="got 4 counts for 9 tokens"):
        embedding.set_counts(torch.tensor([1, 2, 3, 4]))
    with pytest.raises(ValueError, match="got a count of -2"):
        embedding.set_counts(torch.tensor([1, 2, 3, 4, 5, 6, 7, 8, -2]))


def test_waves_are_the_packets_over_their_carrier():
    """At time 0 the harmonics of a token's wave are the sines of its packet there, up to one common factor."""
    embedding = small()
    wave = embedding.waves(IDS)
    assert wave.shape == (2, 5, 3 * 4)
    now = (wave.amplitudes * wave.phases.sin()).detach()
    tau = torch.arange(5, dtype=torch.float64)[:, None] * embedding._clocks()
    speed = 2 * math.pi * embedding.rates[IDS][..., None] + embedding.pos_freq
    packet = embedding._packet(tau * speed + embedding.phases[IDS])[..., :12].detach()
    torch.testing.assert_close(now / now.norm(), packet / packet.norm(), atol=1e-12, rtol=0)
    # A moment later each has turned by its frequency.
    later = embedding._packet((tau + 1e-4 * embedding._clocks()) * speed + embedding.phases[IDS])[..., :12].detach()
    angles = wave.phases + 2 * math.pi * wave.frequencies * 1e-4
    turned = (wave.amplitudes * angles.sin()).detach()
    torch.testing.assert_close(turned / turned.norm(), later / later.norm(), atol=1e-9, rtol=0)
