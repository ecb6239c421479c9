"""The coherence loss: equal to its definition, smooth where it must be, silent where nothing counts."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.reference import coherence as reference
from undula.losses.coherence import (
    QuantumFieldEntanglementLoss,
    WaveCoherenceLoss,
    create_physics_loss,
    energy_drift,
    harmonic_drift,
    phase_disorder,
)
from undula.ops.metrics import IGNORED

PARTS = ("phase", "energy", "harmonic")


def only(part, **options):
    return WaveCoherenceLoss(**{f"lambda_{name}": float(name == part) for name in PARTS}, **options)


def everything(*shape):
    return torch.ones(shape, dtype=torch.bool)


@pytest.mark.parametrize(("length", "width", "window", "bins"), [(16, 8, 8, None), (19, 7, 8, None), (5, 12, 3, 2)])
def test_disorder_of_phases_is_its_definition(length, width, window, bins):
    x = torch.randn(2, length, width, dtype=torch.float64)
    kept = torch.rand(2, length) > 0.3
    got = phase_disorder(x, kept, window, 0.1, bins)
    want = reference.phase_disorder(x.numpy(), kept.numpy(), window, 0.1, bins)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_drift_of_energy_is_its_definition():
    layers = [torch.randn(2, 7, 5, dtype=torch.float64) * (i + 1) for i in range(3)]
    kept = torch.rand(2, 7) > 0.3
    want = reference.energy_drift([x.numpy() for x in layers], kept.numpy())
    np.testing.assert_allclose(energy_drift(layers, kept), want, rtol=1e-12)


@pytest.mark.parametrize("shape", [(4,), (1,), (6, 4)])
def test_drift_of_harmonics_is_its_definition(shape):
    amplitudes = torch.rand(shape, dtype=torch.float64)
    np.testing.assert_allclose(harmonic_drift(amplitudes), reference.harmonic_drift(amplitudes.numpy()), atol=1e-15)


def test_gradients_are_those_of_finite_differences():
    x = torch.randn(1, 5, 6, dtype=torch.float64, requires_grad=True)
    y = torch.randn(1, 5, 6, dtype=torch.float64, requires_grad=True)
    amplitudes = torch.rand(2, 3, dtype=torch.float64, requires_grad=True)
    kept = torch.tensor([[True, True, False, True, True]])
    assert torch.autograd.gradcheck(lambda x: phase_disorder(x, kept, 3, 0.1), x)
    assert torch.autograd.gradcheck(lambda x, y: energy_drift([x, y], kept), (x, y))
    assert torch.autograd.gradcheck(harmonic_drift, amplitudes)


def test_total_is_the_sum_of_what_it_reports():
    logits, targets = torch.randn(2, 11, 9), torch.randint(0, 9, (2, 11))
    layers, amplitudes = [torch.randn(2, 11, 8) for _ in range(3)], torch.rand(6, 4)
    got = WaveCoherenceLoss(0.1, 0.2, 0.3, 4)(logits, targets, layers, amplitudes)
    assert list(got) == ["total", "ce", "coherence", *PARTS]
    kept = everything(2, 11)
    want = {
        "ce": F.cross_entropy(logits.flatten(0, 1), targets.flatten()),
        "phase": torch.stack([phase_disorder(x, kept, 4) for x in layers]).mean(),
        "energy": energy_drift(layers, kept),
        "harmonic": harmonic_drift(amplitudes),
    }
    for name, value in want.items():
        torch.testing.assert_close(got[name], value)
    torch.testing.assert_close(got["coherence"], 0.1 * got["phase"] + 0.2 * got["energy"] + 0.3 * got["harmonic"])
    torch.testing.assert_close(got["total"], got["ce"] + got["coherence"])


def test_without_layers_the_loss_is_cross_entropy_alone():
    logits, targets = torch.randn(2, 5, 9, requires_grad=True), torch.randint(0, 9, (2, 5))
    for layers in (None, []):
        got = WaveCoherenceLoss()(logits, targets, layers)
        assert got["coherence"].item() == 0
        assert torch.equal(got["total"], got["ce"])
    one = only("energy")(logits, targets, [torch.randn(2, 5, 8)])
    assert one["total"].item() == one["ce"].item()


def test_a_term_of_weight_zero_is_not_computed():
    lost, amplitudes = [torch.full((2, 5, 8), math.nan)] * 2, torch.full((4,), math.nan)
    got = create_physics_loss(use_qfe=False)(torch.randn(2, 5, 9), torch.randint(0, 9, (2, 5)), lost, amplitudes)
    assert torch.equal(got["total"], got["ce"])
    assert [got[name].item() for name in PARTS] == [0, 0, 0]


def turned(angles, bins=5, width=16):
    """Positions whose spectrum has one loud bin with these phases."""
    j = torch.arange(width, dtype=torch.float64)
    return torch.cos(2 * math.pi * bins * j / width + angles[:, None])[None]


def test_phases_are_points_on_a_circle():
    # Phases scattered about pi are as ordered as the same about 0; the variance of angles calls them most disordered.
    scatter = 0.05 * torch.randn(8, dtype=torch.float64)
    seam, zero = (phase_disorder(turned(at + scatter), everything(1, 8), 8) for at in (math.pi, 0.0))
    torch.testing.assert_close(seam, zero, rtol=1e-6, atol=0)
    assert 0 < zero.item() * 7 < 0.02  # 7 bins, 6 of them silent
    linear = torch.fft.rfft(turned(math.pi + scatter))[0, :, 5].angle().var()
    assert linear > 1


def test_random_phases_score_one_and_half_turns_two():
    assert phase_disorder(torch.randn(64, 64, 32), everything(64, 64), 8).item() == pytest.approx(1, abs=0.01)
    apart = turned(torch.tensor([0.0, math.pi], dtype=torch.float64))
    assert 7 * phase_disorder(apart, everything(1, 2), 8).item() == pytest.approx(2, rel=1e-3)


def test_bins_without_a_phase_do_not_count():
    # The constant and the Nyquist bin flip their sign from position to position; all others stand still.
    j = torch.arange(16, dtype=torch.float64)
    flips = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(4)[:, None]
    x = (turned(torch.zeros(8, dtype=torch.float64)) + flips * (0.3 + 0.2 * (-1) ** j)).requires_grad_()
    got = phase_disorder(x, everything(1, 8), 8)
    assert got.item() < 1e-12
    with pytest.raises(ValueError, match="2 features; the phase of a spectrum needs 3"):
        phase_disorder(torch.randn(1, 8, 2), everything(1, 8), 8)


def test_a_short_tail_expects_the_same_as_a_whole_window():
    x = torch.randn(2000, 10, 8)
    kept = everything(2000, 10)
    whole, both = phase_disorder(x[:, :8], kept[:, :8], 8), phase_disorder(x, kept, 8)
    tail = phase_disorder(x[:, 8:], kept[:, 8:], 8)
    assert whole.item() == pytest.approx(tail.item(), rel=0.02)
    torch.testing.assert_close(both, (7 * whole + tail) / 8)
    alone = torch.cat([x[:, :8], x[:, :1]], 1)
    torch.testing.assert_close(phase_disorder(alone, kept[:, :9], 8), whole)


def test_padding_counts_in_no_term():
    targets = torch.randint(0, 9, (2, 13))
    logits, layers = torch.randn(2, 13, 9), [torch.randn(2, 13, 8) for _ in range(2)]
    want = WaveCoherenceLoss(1, 1, 1)(logits, targets, layers)
    padded = F.pad(targets, (0, 6), value=IGNORED)
    tails = [F.pad(x, (0, 0, 0, 6), value=float("nan")).requires_grad_() for x in (logits, *layers)]
    got = WaveCoherenceLoss(1, 1, 1)(tails[0].nan_to_num(), padded, tails[1:])
    for name, value in want.items():
        torch.testing.assert_close(got[name], value)
    (got["phase"] + got["energy"]).backward()
    for x in tails[1:]:
        assert x.grad.isfinite().all()
        assert x.grad[:, 13:].abs().max() == 0


def test_a_batch_without_targets_has_no_coherence():
    layers = [torch.randn(2, 5, 8) for _ in range(2)]
    got = WaveCoherenceLoss(1, 1, 1)(torch.randn(2, 5, 9), torch.full((2, 5), IGNORED), layers)
    assert [got[name].item() for name in PARTS] == [0, 0, 0]


def test_silence_has_finite_gradients():
    for size in (0.0, 1e-20, 1e-6):
        layers = [(size * torch.randn(1, 9, 8)).requires_grad_() for _ in range(2)]
        got = WaveCoherenceLoss(1, 1, 1)(torch.randn(1, 9, 5), torch.zeros(1, 9, dtype=torch.long), layers)
        got["coherence"].backward()
        assert got["coherence"].isfinite()
        assert all(x.grad.isfinite().all() for x in layers)
    amplitudes = torch.tensor([1.0, 0.0, 0.5], requires_grad=True)
    harmonic_drift(amplitudes).backward()
    assert amplitudes.grad.isfinite().all()


def test_scale_and_width_do_not_matter():
    x, y, kept = torch.randn(2, 8, 16), torch.randn(2, 8, 16), everything(2, 8)
    torch.testing.assert_close(energy_drift([100 * x, 100 * y], kept), energy_drift([x, y], kept))
    torch.testing.assert_close(energy_drift([x.repeat(1, 1, 4), y.repeat(1, 1, 4)], kept), energy_drift([x, y], kept))
    torch.testing.assert_close(energy_drift([x, 3 * x], kept).item(), math.log(3) ** 2)
    torch.testing.assert_close(phase_disorder(100 * x, kept, 8), phase_disorder(x, kept, 8))
    a = torch.rand(3, 4)
    torch.testing.assert_close(harmonic_drift(7 * a), harmonic_drift(a))


def test_amplitudes_learn_to_fall_as_one_over_n():
    raw = torch.randn(6, 4, requires_grad=True)
    optimizer = torch.optim.Adam([raw], lr=0.05)
    for _ in range(300):
        optimizer.zero_grad()
        harmonic_drift(F.softplus(raw)).backward()
        optimizer.step()
    a = F.softplus(raw).detach()
    torch.testing.assert_close(a / a[:, :1], (1 / torch.arange(1.0, 5.0)).expand(6, 4), atol=0.02, rtol=0)


def test_half_precision_is_computed_in_single():
    x, y = torch.randn(2, 16, 32).bfloat16(), torch.randn(2, 16, 32).bfloat16()
    targets, amplitudes = torch.randint(0, 9, (2, 16)), torch.rand(6, 4).bfloat16()
    logits = torch.randn(2, 16, 9).bfloat16()
    half = WaveCoherenceLoss(1, 1, 1)(logits, targets, [x, y], amplitudes)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = WaveCoherenceLoss(1, 1, 1)(logits, targets, [x, y], amplitudes)
    single = WaveCoherenceLoss(1, 1, 1)(logits.float(), targets, [x.float(), y.float()], amplitudes.float())
    for name, value in single.items():
        assert half[name].dtype is torch.float32
        torch.testing.assert_close(half[name], value)
        torch.testing.assert_close(mixed[name], value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lambda_phase": -0.1}, "lambda_phase=-0.1"),
        ({"lambda_energy": math.nan}, "lambda_energy=nan"),
        ({"window_size": 1}, "window_size=1; wanted 2 or more"),
        ({"amplitude_threshold": 0.0}, "amplitude_threshold=0.0"),
        ({"max_bins": 0}, "0 bins; wanted 1 or more"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        WaveCoherenceLoss(**options)


def test_older_interface_reads_all_its_arguments():
    logits, targets = torch.randn(2, 16, 9), torch.randint(0, 9, (2, 16))
    layers, amplitudes = [torch.randn(2, 16, 32) for _ in range(2)], torch.rand(4)

    def coherence(**options):
        return create_physics_loss(**options)(logits, targets, layers, amplitudes)["coherence"].item()

    assert coherence(use_qfe=False) == 0
    usual = coherence()
    parts = WaveCoherenceLoss()(logits, targets, layers, amplitudes)
    assert usual == pytest.approx(0.05 / 3 * sum(parts[name].item() for name in PARTS))
    assert coherence(lambda_coherence=0.1) == pytest.approx(2 * usual)
    assert coherence(amplitude_threshold=1.0) < 0.99 * usual
    assert coherence(projection_dim=2) != pytest.approx(usual)


def test_deprecated_name_warns_when_it_is_built():
    with pytest.warns(DeprecationWarning, match="use WaveCoherenceLoss"):
        old = QuantumFieldEntanglementLoss(lambda_coherence=0.3, amplitude_threshold=0.2, projection_dim=7)
    new = create_physics_loss(lambda_coherence=0.3, amplitude_threshold=0.2, projection_dim=7)
    assert (old.weights, old.amplitude_threshold, old.max_bins) == (new.weights, 0.2, 7)
