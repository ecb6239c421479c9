import numpy as np
import pytest
import torch

from tests.reference import overlap as reference
from undula.ops import overlap as ops

SIZES = [(8, 7), (8, 6), (8, 4), (9, 5), (7, 4)]
"""Width and hop; frames share between an eighth and a half."""

WINDOWS = [(0.54, 0.46, 0.0), (20.0, 0.0, 0.0), (0.0, 20.0, 0.0), (0.0, 0.0, 20.0), (-3.0, 2.0, 1.0)]


@pytest.mark.parametrize(("width", "hop"), [*SIZES, (8, 3)])
@pytest.mark.parametrize("length", [1, 2, 7, 8, 23])
def test_frames_by_definition(width, hop, length):
    x = torch.randn(2, 3, length, dtype=torch.float64)
    got = ops.framed(x, width, hop)
    assert got.shape == (2, 3, ops.frame_count(length, width, hop), width)
    np.testing.assert_array_equal(got[1, 2].numpy(), reference.framed(x[1, 2].numpy(), width, hop))
    cover = ops.unframed(torch.ones_like(got), hop, length)
    if width % hop == 0:
        assert (cover == width // hop).all()
    assert cover.shape == x.shape


def test_frames_share_memory():
    frames = ops.framed(torch.randn(4, 1000), 64, 56)
    assert frames.untyped_storage().nbytes() < 1.2 * 4 * 1000 * 4


@pytest.mark.parametrize(("width", "hop"), [(8, 4), (8, 3), (8, 8), (5, 2), (1, 1)])
def test_overlap_add_by_definition(width, hop):
    frames = torch.randn(2, 3, 6, width, dtype=torch.float64)
    got = ops.overlap_add(frames, hop)
    for i in range(2):
        for k in range(3):
            np.testing.assert_allclose(got[i, k].numpy(), reference.overlap_add(frames[i, k].numpy(), hop), atol=1e-14)
    assert ops.overlap_add(frames[..., :0, :], hop).shape == (2, 3, 0)


@pytest.mark.parametrize(("width", "hop"), [*SIZES, (8, 3)])
@pytest.mark.parametrize("logits", WINDOWS)
def test_mixed_windows_by_definition_are_made_tight(width, hop, logits):
    window = ops.mixed_window(torch.tensor(logits, dtype=torch.float64), width)
    np.testing.assert_allclose(window.numpy(), reference.mixed_window(np.array(logits), width), atol=1e-14)
    got = ops.tight(window, hop)
    np.testing.assert_allclose(got.numpy(), reference.tight(window.numpy(), hop), atol=1e-14)
    assert _cover_error(got, hop) < 1e-14


@pytest.mark.parametrize(("width", "overlap"), [(8, 1), (8, 2), (8, 4), (9, 3), (64, 20)])
def test_fades_by_definition_are_tight_and_symmetric(width, overlap):
    steps = 3 * torch.randn(4, dtype=torch.float64)
    window = ops.power_fades(steps, overlap, width)
    np.testing.assert_allclose(window.numpy(), reference.power_fades(steps.numpy(), overlap, width), atol=1e-14)
    assert _cover_error(window, width - overlap) < 1e-14
    torch.testing.assert_close(window, window.flip(0), atol=1e-14, rtol=0)
    assert (window[:overlap].diff() > 0).all()


def test_windows_learn():
    weights = torch.randn(64, dtype=torch.float64)
    for make in (lambda p: ops.tight(ops.mixed_window(p, 64), 56), lambda p: ops.power_fades(p, 20, 64)):
        p = torch.randn(3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(lambda p, make=make: make(p) * weights, p)
    p = torch.tensor([800.0, 0.0, 0.0], requires_grad=True)  # Hann alone: zero at its edge
    (ops.tight(ops.mixed_window(p, 64), 56) * weights).sum().backward()
    assert p.grad.isfinite().all()


def _cover_error(window, hop):
    frames = window.square().expand(20, -1)
    cover = ops.overlap_add(frames, hop)[len(window) : -len(window)]
    return (cover - 1).abs().max().item()
