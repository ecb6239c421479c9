import numpy as np
import pytest
import torch

from tests.reference.convolution import harmonic_states
from undula.ops import chunk_harmonics as ops

N, M, B, E, L = 2, 3, 2, 2, 5


def bank():
    torch.manual_seed(0)
    return torch.rand(N, M, dtype=torch.float64) * 0.4 + 0.01, torch.randn(N, M, dtype=torch.float64)


def table(length=L):
    return ops.power_pairs(*bank(), torch.arange(length))


def states_of(u):
    """All states (N, B, E, T, M) of inputs (N, B, C, E, L), by definition."""
    decay, frequency = (part.numpy() for part in bank())
    rows = u.transpose(2, 3).flatten(3).numpy()
    return np.stack(
        [
            [[harmonic_states(e[None, None], d[None], f[None])[0, 0] for e in b] for b in n]
            for n, d, f in zip(rows, decay, frequency, strict=True)
        ]
    )


@pytest.mark.parametrize("chunks", [1, 2, 15, 16, 17, 40, 300])
def test_states_between_chunks_are_those_of_the_recurrence(chunks):
    u = torch.randn(N, B, chunks, E, L, dtype=torch.float64)
    got = ops.carried(ops.absorbed(u, table()), *bank(), L)
    assert got.shape == (N, 2, M, B, chunks + 1, E)
    assert (got[:, :, :, :, 0] == 0).all()
    want = states_of(u)[..., L - 1 :: L, :]
    for part, values in zip(got[:, :, :, :, 1:].unbind(1), (want.real, want.imag), strict=True):
        np.testing.assert_allclose(part.permute(0, 2, 4, 3, 1).numpy(), values, atol=1e-12)


def test_a_thousand_chunks_in_single_precision():
    """Angles of late chunks are exact: they are not found by multiplying an earlier chunk's again and again."""
    decay, frequency = torch.full((1, 1), 1e-5), torch.full((1, 1), 1.234)
    added = torch.zeros(1, 2, 1, 1, 3000, 1)
    added[0, 0, 0, 0, 0] = 1.0
    got = ops.carried(added, decay, frequency, 64)[0, :, 0, 0, 3000, 0]
    angle = np.float64(np.float32(1.234)) * 64 * 2999
    want = np.exp(-np.float64(np.float32(1e-5)) * 64 * 2999) * np.array([np.cos(angle), np.sin(angle)])
    np.testing.assert_allclose(got.numpy(), want, atol=1e-5)


def test_sound_is_the_real_part_of_the_sum_of_modes():
    weights = torch.randn(N, 2, M, B, 4, E, dtype=torch.float64)
    got = ops.sounded(weights, table(7))
    decay, frequency = (part.numpy() for part in bank())
    z = np.exp(-decay + 1j * frequency)
    w = weights[:, 0].numpy() + 1j * weights[:, 1].numpy()
    for t in range(7):
        want = np.einsum("nmbce,nm->nbce", w, z**t).real
        np.testing.assert_allclose(got[..., t].numpy(), want, atol=1e-13)


def test_kept_modes_sound_as_if_the_others_were_silent():
    states = torch.randn(N, 2, M, B, 4, E, dtype=torch.float64)
    kept = torch.stack([torch.randperm(M)[:2] for _ in range(N * B * 4)], 0).view(N, B, 4, 2).permute(0, 3, 1, 2)
    some = ops.taken(states, kept)
    assert some.shape == (N, 2, 2, B, 4, E)
    silenced = torch.zeros_like(states).scatter(2, kept[:, None, ..., None].expand_as(some), some)
    torch.testing.assert_close(ops.sounded_kept(some, table(7), kept), ops.sounded(silenced, table(7)))


def test_products_are_complex():
    a, b = torch.randn(2, 3, 2, 4, dtype=torch.float64)
    want = torch.complex(a[:, 0], a[:, 1]) * torch.complex(b[:, 0], b[:, 1])
    got = ops.turned(a, b)
    torch.testing.assert_close(torch.complex(got[:, 0], got[:, 1]), want)
