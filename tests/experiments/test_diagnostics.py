"""Diagnostics of models: no argument needed, the model left as it was, and the answer can be no."""

import math

import numpy as np
import pytest
import torch

from tests.contract.cases import CAUSAL
from undula.experiments.diagnostics import WaveDiagnostics
from undula.models.config import BackboneConfig, ModelConfig
from undula.models.language_model import build_language_model
from undula.models.wave_gpt import WaveGPT, WaveGPTConfig

IDS = torch.randint(0, 30, (2, 12), generator=torch.Generator().manual_seed(1))
KEYS = [
    ["num_peaks", "peak_indices", "peak_magnitudes", "harmonic_ratios", "spectrum_mean", "spectrum_std", "p_value"],
    ["num_autocorr_peaks", "peak_lags", "fringe_period", "autocorr_mean", "autocorr_max", "depth", "p_value"],
    ["lyapunov_exponent", "max_norm", "min_norm", "mean_norm", "norm_ratio", "is_bounded"],
]


def model(mixer="attention", family="plain", layers=2):
    torch.manual_seed(0)
    backbone = BackboneConfig(d_model=24, num_layers=layers, num_heads=2, mixers=(mixer,), d_ff=32)
    return build_language_model(ModelConfig(family=family, vocab_size=30, backbone=backbone))


@pytest.mark.parametrize(("family", "mixer"), [*(("plain", name) for name in CAUSAL), ("wave", "fft_conv")])
def test_every_model_is_diagnosed_without_arguments_and_left_alone(family, mixer):
    subject = model(mixer, family).train()
    before = {name: value.clone() for name, value in subject.state_dict().items()}
    state, d = torch.get_rng_state(), WaveDiagnostics(subject)
    results = d.analyze_spectrum(), d.visualize_interference(), d.analyze_trajectories(num_steps=5)
    assert [type(verdict) for verdict, _ in results] == [bool] * 3
    assert [list(metrics) for _, metrics in results] == KEYS
    assert results[2][0] is True
    assert results[2][1]["is_bounded"] is True
    assert all(module.training for module in subject.modules())
    assert all(p.grad is None for p in subject.parameters())
    after = subject.state_dict()
    assert all(torch.equal(value, after[name]) and value.dtype == after[name].dtype for name, value in before.items())
    assert torch.equal(state, torch.get_rng_state())
    assert not any(module._forward_pre_hooks for module in subject.modules())


@pytest.mark.parametrize("kind", ["wave", "standard"])
def test_wave_gpt_is_diagnosed_within_its_block_size(kind):
    sizes = {"vocab_size": 30, "d_model": 24, "num_layers": 2, "num_heads": 2, "num_waves": 3}
    subject = WaveGPT(WaveGPTConfig(**sizes, block_size=24, model_type=kind))
    d = WaveDiagnostics(subject)
    assert not d.analyze_spectrum()[0]
    assert not d.visualize_interference()[0]
    assert d.analyze_trajectories(IDS, num_steps=5)[0]
    rows = subject.embedding(torch.arange(30)[:, None])[:, 0].detach()
    assert d.analyze_spectrum() == d.analyze_spectrum(rows)


def test_default_embeddings_are_those_of_every_token():
    subject = model()
    default, given = (WaveDiagnostics(subject).analyze_spectrum(*x) for x in ((), (subject.embedding.weight,)))
    assert default == given


def test_harmonics_planted_in_the_embeddings_are_found():
    t = torch.arange(24) / 24
    subject = model()
    wave = sum(torch.sin(2 * math.pi * 3 * n * t + n) / n for n in (1, 2, 3))
    with torch.no_grad():
        subject.embedding.weight.mul_(5).add_(wave)
    found, metrics = WaveDiagnostics(subject).analyze_spectrum()
    assert found
    assert metrics["harmonic_ratios"] == [2, 3]
    assert metrics["peak_indices"][:2] == [3, 6]
    assert metrics["peak_magnitudes"][0] == pytest.approx(144, rel=0.2)


def test_captured_weights_are_the_influence_of_each_position():
    """For one layer the estimate is the norm of the exact Jacobian of its mixer, up to the few directions tried."""
    subject = model(layers=1).eval()
    with torch.no_grad():
        for p in subject.parameters():
            p.mul_(8)
    d = WaveDiagnostics(subject)
    got = d._weights(None)[0, 0]
    mixer = subject.backbone.layers[0].attn
    x = subject.backbone.layers[0].norm(subject.embedding(d._prompt())).detach()
    exact = torch.autograd.functional.jacobian(lambda x: mixer(x)[0, [5, 40]], x)[:, :, 0].square().sum((1, 3)).sqrt()
    assert not got.triu(1).any()
    np.testing.assert_allclose(got[[5, 40]].norm(dim=1), exact.norm(dim=1), rtol=0.35)
    assert np.corrcoef(got[40, :41], exact[1, :41])[0, 1] > 0.9


def test_a_threshold_is_read():
    lag = (torch.arange(48)[:, None] - torch.arange(48)).float()
    weights = (0.5 * (1 + 0.4 * torch.cos(2 * math.pi * lag / 6))).expand(1, 2, 48, 48)
    d = WaveDiagnostics(model())
    found, metrics = d.visualize_interference(weights)
    assert found
    assert metrics["fringe_period"] == pytest.approx(6)
    assert metrics["peak_lags"] == [6, 12, 18]
    assert metrics["num_autocorr_peaks"] == 3
    assert metrics["autocorr_max"] == pytest.approx(1, abs=0.1)
    found, metrics = d.visualize_interference(weights, fringe_threshold=0.5)
    assert not found
    assert math.isnan(metrics["fringe_period"])
    assert metrics["depth"] == pytest.approx(0.4, rel=0.02)


class Doubling(torch.nn.Module):
    """A layer whose exponent is known: it multiplies by `factor`."""

    def __init__(self, attn, factor):
        super().__init__()
        self.attn, self.factor = attn, factor

    def forward(self, x, causal=True, attention_mask=None, *, state=None):
        return self.factor * x


@pytest.mark.parametrize(("factor", "stable"), [(0.5, True), (2.6, True), (2.8, False), (-4.0, False)])
def test_the_exponent_is_the_logarithm_of_the_growth(factor, stable):
    subject = model(layers=3)
    for index, layer in enumerate(subject.backbone.layers):
        subject.backbone.layers[index] = Doubling(layer.attn, factor)
    for scale in (1e-7, 1e-4):
        verdict, metrics = WaveDiagnostics(subject).analyze_trajectories(IDS, num_steps=3, perturbation_scale=scale)
        assert verdict is stable
        assert metrics["lyapunov_exponent"] == pytest.approx(math.log(abs(factor)), abs=1e-6)
    rms = subject.embedding(IDS).detach().square().mean().sqrt().item()
    sizes = [rms * abs(factor) ** n for n in range(4)]
    assert metrics["max_norm"] == pytest.approx(max(sizes))
    assert metrics["min_norm"] == pytest.approx(min(sizes))
    assert metrics["mean_norm"] == pytest.approx(sum(sizes) / 4)
    assert metrics["norm_ratio"] == pytest.approx(abs(factor) ** (3 if abs(factor) > 1 else -3))


def test_the_exponent_is_that_of_the_exact_derivative_whatever_the_batch():
    subject = model(layers=2).double()
    x = subject.embedding(IDS[:1]).detach()
    rates = []
    for layer in subject.backbone.layers:
        derivative = torch.autograd.functional.jacobian(layer, x).reshape(x.numel(), x.numel())
        moved = [(derivative @ v).norm() / v.norm() for v in torch.randn(60, x.numel(), dtype=torch.float64)]
        rates.append(torch.stack(moved).log().mean())
        x = layer(x)
    got = WaveDiagnostics(subject).analyze_trajectories(IDS[:1], num_steps=60)[1]["lyapunov_exponent"]
    assert got == pytest.approx(torch.stack(rates).mean().item(), abs=0.02)
    twice = WaveDiagnostics(subject).analyze_trajectories(IDS[:1].repeat(3, 1), num_steps=60)[1]["lyapunov_exponent"]
    assert twice == pytest.approx(got, abs=0.02)


def test_heavy_blocks_are_unstable():
    subject = model(layers=3)
    with torch.no_grad():
        for p in subject.backbone.layers.parameters():
            p.mul_(40)
    stable, metrics = WaveDiagnostics(subject).analyze_trajectories(IDS)
    assert not stable
    assert metrics["lyapunov_exponent"] > 1
    assert metrics["is_bounded"] is False


def test_pictures_hold_what_was_measured(tmp_path):
    subject = model()
    d = WaveDiagnostics(subject)
    figures = d.generate_visualizations(input_sequence=IDS, save_path=tmp_path / "new" / "wave")
    assert list(figures) == ["spectrum", "interference", "trajectory"]
    files = [f"wave_{name}.png" for name in sorted(figures)]
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == files
    assert all(p.read_bytes().startswith(b"\x89PNG") for p in (tmp_path / "new").iterdir())
    drawn = figures["spectrum"].axes[0].lines[0].get_ydata()
    want = torch.fft.rfft(subject.embedding.weight.detach().double()).abs().square().mean(0)[1:]
    np.testing.assert_allclose(10 ** (drawn / 10), want, rtol=1e-4)
    np.testing.assert_allclose(figures["interference"].axes[0].images[0].get_array(), d._weights(None).mean((0, 1)))
    rates = [bar.get_height() for bar in figures["trajectory"].axes[1].patches]
    assert np.mean(rates) == pytest.approx(d.analyze_trajectories(IDS)[1]["lyapunov_exponent"])


def test_impossible_requests_are_refused():
    with pytest.raises(ValueError, match="Linear has no list of layers that hold a mixer"):
        WaveDiagnostics(torch.nn.Linear(2, 2))
    d = WaveDiagnostics(model())
    with pytest.raises(ValueError, match="16 columns or more"):
        d.analyze_spectrum(torch.randn(4, 7))
    with pytest.raises(ValueError, match=r"embeddings of shape \(4,\)"):
        d.analyze_spectrum(torch.randn(4))
    with pytest.raises(ValueError, match=r"wanted floats \(B, heads, T, T\)"):
        d.visualize_interference(torch.rand(2, 30, 30))
    with pytest.raises(ValueError, match="22 positions or more"):
        d.visualize_interference(torch.rand(1, 1, 8, 8))
    with pytest.raises(ValueError, match="weights that are not finite"):
        d.visualize_interference(torch.full((1, 1, 30, 30), torch.nan))
    with pytest.raises(ValueError, match=r"wanted token ids \(B, T\)"):
        d.analyze_trajectories(torch.arange(4))
    with pytest.raises(ValueError, match="num_steps=0"):
        d.analyze_trajectories(IDS, num_steps=0)
