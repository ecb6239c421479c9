"""Online convolution: in any pieces the same as the sum over the whole past."""

import numpy as np
import pytest
import torch

from tests.reference.convolution import causal_conv as definition
from undula.ops import online_conv
from undula.ops.online_conv import LEAF, nothing, resume

STEPS = 7 * LEAF + 9
SPLITS = {
    "one by one": [1] * STEPS,
    "whole": [STEPS],
    "a prompt, then one by one": [3 * LEAF + 5] + [1] * (STEPS - 3 * LEAF - 5),
    "pieces": [LEAF, 1, LEAF - 1, 2 * LEAF, 2 * LEAF + 3, LEAF + 6],
    "odd pieces": [7] * (STEPS // 7) + [STEPS % 7],
}


def signals(taps, steps=STEPS):
    u, h = torch.randn(2, 3, steps, dtype=torch.float64), torch.randn(3, taps, dtype=torch.float64)
    padded = np.pad(h.numpy(), ((0, 0), (0, max(0, steps - taps))))
    return u, h, definition(u.numpy(), padded[:, :steps])


def run(u, h, sizes, past=None):
    past, done = nothing(u) if past is None else past, []
    for piece in u.split(sizes, dim=-1):
        y, past = resume(piece, lambda length: h[:, :length], h.shape[-1], past)
        done.append(y)
    return torch.cat(done, dim=-1), past


@pytest.mark.parametrize("taps", [1, 5, LEAF, LEAF + 1, 3 * LEAF, STEPS, 2 * STEPS])
@pytest.mark.parametrize("sizes", [s for s in SPLITS.values() if sum(s) == STEPS], ids=SPLITS)
def test_pieces_equal_the_sum(taps, sizes):
    u, h, want = signals(taps)
    y, _ = run(u, h, sizes)
    np.testing.assert_allclose(y.numpy(), want, atol=1e-11)


def test_blocks_are_the_binary_digits_of_the_past():
    u, h, _ = signals(STEPS)
    _, (recent, blocks) = run(u, h, [1] * STEPS)
    assert [ahead.shape[-1] for _, ahead in blocks] == [4 * LEAF, 2 * LEAF, LEAF]
    assert [inputs.shape[-1] for inputs, _ in blocks] == [4 * LEAF, 2 * LEAF, LEAF]
    assert recent.shape[-1] == 9


def test_a_prompt_leaves_the_same_past_as_single_steps():
    u, h, _ = signals(3 * LEAF)
    _, (recent, blocks) = run(u, h, [1] * STEPS)
    _, (prompt_recent, prompt_blocks) = run(u, h, [STEPS])
    assert torch.equal(recent, prompt_recent)
    for one, other in zip(blocks, prompt_blocks, strict=True):
        for a, b in zip(one, other, strict=True):
            torch.testing.assert_close(a, b, atol=1e-12, rtol=0)


def test_the_past_does_not_outgrow_the_filter():
    u, h, _ = signals(2 * LEAF)
    numbers = []
    past = nothing(u)
    for _ in range(6):
        _, past = run(u, h, [STEPS], past)
        numbers.append(past[0].numel() + sum(part.numel() for block in past[1] for part in block))
    assert max(numbers) <= 2 * 3 * (6 * LEAF)


def test_a_past_can_be_continued_twice():
    u, h, want = signals(3 * LEAF)
    _, past = run(u[..., : 4 * LEAF - 1], h, [1] * (4 * LEAF - 1))
    for _ in range(2):
        y, _ = run(u[..., 4 * LEAF - 1 :], h, [1] * (STEPS - 4 * LEAF + 1), past)
        np.testing.assert_allclose(y.numpy(), want[..., 4 * LEAF - 1 :], atol=1e-11)


def test_work_grows_slowly(monkeypatch):
    """Numbers transformed for each step: as many again only when the length is squared."""
    work = []
    plain = online_conv.cyclic_conv

    def counted(u, h, points):
        work.append(points)
        return plain(u, h, points)

    monkeypatch.setattr(online_conv, "cyclic_conv", counted)
    spent = []
    for steps in (16 * LEAF, 64 * LEAF):
        work.clear()
        u, h, _ = torch.randn(1, 1, steps), torch.randn(1, steps), None
        run(u, h, [1] * steps)
        spent.append(sum(work) / steps)
    assert spent[0] == pytest.approx(2 * 3, abs=1.5)
    assert spent[1] == pytest.approx(2 * 4, abs=1.5)


def test_gradients_reach_inputs_filters_and_the_past():
    u = torch.randn(1, 2, 2 * LEAF + 3, dtype=torch.float64, requires_grad=True)
    h = torch.randn(2, LEAF + 9, dtype=torch.float64, requires_grad=True)

    def pieces(u, h):
        y, _ = run(u, h, [LEAF + 2, 1, LEAF])
        return y

    assert torch.autograd.gradcheck(pieces, (u, h), fast_mode=True)
