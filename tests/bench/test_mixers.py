"""Every registered mixer is measured, and a wrong one shows in its error."""

import copy
import dataclasses

import pytest
import torch

from undula.bench import mixers
from undula.bench.cases import MIXER_CASES, PHASE_CASES, MixerCase
from undula.bench.mixers import BothWays, _backward, _forward, choices, fewer_rounds, left_out, only
from undula.bench.peers import SDPALayer
from undula.bench.setting import BenchSetting
from undula.mixers.attention import FlashAttention
from undula.mixers.base import MIXERS, build_mixer

SETTING = BenchSetting(repeats=1, warmup=0)
PEER, CONV = "torch SDPA", "FFT convolution"
SMALL = MixerCase(d_model=16, num_heads=2, lengths=(8, 32))


def bench_mixers(*arguments, **options):
    return list(mixers.bench_mixers(*arguments, **options))


def errors(records, mixer):
    found = [r.figures for r in records if r.config["model"] == mixer]
    return [error for figures in found for error in (figures["error"], figures["gradient_error"])]


def test_every_mixer_and_length_has_a_record():
    records = bench_mixers("small", SMALL, SETTING, memory=False)
    cells = [(record.config["length"], record.config["model"]) for record in records]
    assert cells == [(length, mixer) for length in (8, 32) for mixer in (PEER, CONV, *choices(SMALL))]
    assert {"attention", "fft_conv", "short_conv"} <= set(choices(SMALL))
    assert all(record.config["d_model"] == 16 for record in records)
    assert [r.figures["backward"]["ratio"] for r in records if r.config["model"] == PEER] == [1.0, 1.0]
    for mixer in (PEER, CONV, *choices(SMALL)):
        assert all(0 < error < 2e-4 for error in errors(records, mixer)), mixer


def test_mixers_of_another_width_are_left_out():
    widths = {width: "phase_coherent" in choices(MixerCase(d_model=width)) for width in (16, 24, 256)}
    assert widths == {16: False, 24: True, 256: False}


def test_what_is_left_out_says_why():
    assert left_out(MIXER_CASES["d256"]) == {
        "phase_coherent": "its width is a multiple of 3",
        "spectral_frames": "it does not look back",
    }
    assert left_out(MIXER_CASES["encoder"]) == {}


def test_encoders_are_measured_both_ways_beside_attention_both_ways():
    """With the mixers that look both ways by default, and with those that look both ways alone."""
    both = MixerCase(d_model=16, num_heads=2, lengths=(8,), causal=False, peers=(PEER,))
    assert {"attention", "fft_conv", "spectral_frames"} <= set(choices(both))
    assert {"short_conv"}.isdisjoint(choices(both))
    assert "spectral_frames" not in choices(SMALL)
    assert set(MIXER_CASES["encoder"].lengths) == {512, 1024, 2048, 4096, 8192}
    records = bench_mixers("small", dataclasses.replace(both, mixers=MIXER_CASES["encoder"].mixers), SETTING, False)
    shares = ("adaptive", "0.15", "0.45", "all bins")
    assert [r.config["model"] for r in records] == [PEER, *(f"spectral_frames, {share}" for share in shares)]
    assert all(not r.config["causal"] for r in records)
    for mixer in records:
        assert all(0 < error < 2e-4 for error in errors(records, mixer.config["model"]))
    with pytest.raises(ValueError, match="'FFT convolution' looks back only"):
        bench_mixers("small", dataclasses.replace(both, peers=(CONV,)), SETTING, False)
    x = torch.randn(1, 5, 16)
    torch.manual_seed(0)
    layer = SDPALayer(16, 2, causal=False)
    assert (layer(x)[:, :4] - layer(torch.cat([x[:, :4], -x[:, 4:]], 1))[:, :4]).abs().max() > 1e-3


def test_filters_of_images_are_measured_on_square_grids_beside_attention():
    assert MIXER_CASES["images"].lengths == (256, 1024, 4096, 9216)
    case = dataclasses.replace(MIXER_CASES["images"], d_model=16, num_heads=2, lengths=(9, 64))
    records = bench_mixers("images", case, SETTING, memory=False)
    names = [PEER, "grid_attention", *(f"grid_filter, {modes} modes" for modes in (8, 16, 32))]
    assert [(r.config["length"], r.config["model"]) for r in records] == [(n, m) for n in (9, 64) for m in names]
    for name in names:
        assert all(0 < error < 2e-4 for error in errors(records, name)), name
    mixer = build_mixer("grid_filter", 16, 2, modes=4)
    x = torch.randn(1, 64, 16)
    assert torch.equal(BothWays(mixer, 64)(x), mixer(x, False, grid=(8, 8)))
    with pytest.raises(ValueError, match="60 steps are the cells of no square"):
        BothWays(mixer, 60)


def test_phase_coherence_is_measured_in_every_form():
    case = PHASE_CASES["tiny"]
    records = bench_mixers("tiny", case, SETTING, memory=False, kind="phase")
    names = [PEER, "cosine shared", "cosine grouped", "complex shared", "complex grouped"]
    assert [(r.config["length"], r.config["model"]) for r in records] == [(n, m) for n in (16, 32) for m in names]
    assert {r.what for r in records} == {"phase"}
    assert records[3].config["options"]["phase_coherence_mode"] == "complex"
    for name in names:
        assert all(0 < error < 2e-4 for error in errors(records, name)), name
    assert {(c.d_model, c.d_model // c.num_heads) for c in PHASE_CASES.values()} == {(192, 24), (192, 64), (24, 6)}


def test_imprecise_mixer_shows():
    class Coarse(FlashAttention):
        @classmethod
        def build(cls, d_model, num_heads):
            return cls(d_model, num_heads, 0.0)

        def forward(self, x, causal=True, attention_mask=None, *, state=None):
            y = super().forward(x, causal, attention_mask)
            return y if x.dtype == torch.float64 else y.half().float()

    MIXERS.register("coarse")(Coarse)
    try:
        records = bench_mixers("small", MixerCase(d_model=16, num_heads=2, lengths=(8,)), SETTING, memory=False)
    finally:
        MIXERS.remove("coarse")
    assert errors(records, "coarse")[0] > 2e-4


def test_backward_gives_the_gradient_of_the_input():
    mixer, x = torch.nn.Linear(3, 3, bias=False), torch.randn(2, 5, 3)
    weights = torch.randn(x.shape, generator=torch.Generator().manual_seed(1))
    run = _backward(mixer, x, SETTING)
    torch.testing.assert_close(run(), weights @ mixer.weight)
    torch.testing.assert_close(run(), weights @ mixer.weight)
    assert not _forward(mixer, x, SETTING)().requires_grad


def test_lengths_of_the_large_case():
    assert MIXER_CASES["d256"].lengths == (1024, 4096, 16384)
    assert (MIXER_CASES["d256"].d_model, MIXER_CASES["d256"].num_heads) == (256, 8)


@pytest.mark.parametrize("way", ["forward", "backward"])
def test_bfloat16_is_coarser(way):
    coarse = BenchSetting(repeats=1, warmup=0, dtype="bfloat16")
    case = MixerCase(d_model=16, num_heads=2, lengths=(8,))
    records = bench_mixers("small", case, coarse, memory=False)
    assert errors(records, "attention")[way == "backward"] > 1e-3


def test_what_would_take_too_long_is_not_run_and_says_so(monkeypatch):
    monkeypatch.setattr("undula.bench.mixers._probed", lambda *_: copy.deepcopy(probed))
    case = only(MixerCase(d_model=16, num_heads=2, lengths=(32, 8)), ["attention", "fft_conv"])
    names = [PEER, CONV, "attention", "fft_conv"]
    probed = {"forward": {m: (8, 0.25) for m in names}, "backward": {m: (8, 1.0) for m in names}}
    records = bench_mixers("small", case, SETTING, memory=False, limit=7.0)
    cells = {(r.config["length"], r.config["model"]): r.figures for r in records}
    assert set(cells) == {(length, m) for length in (8, 32) for m in names}
    # A second at 8 steps: after a run there, the time that it took is known better.
    assert all(cells[8, m]["backward"]["seconds"] > 0 and "skipped" not in cells[8, m] for m in names)
    assert all("skipped" not in cells[32, m] for m in names)
    records = bench_mixers(
        "small", only(MixerCase(d_model=16, num_heads=2, lengths=(32,)), names[2:]), SETTING, False, limit=5.0
    )
    cells = {r.config["model"]: r.figures for r in records}
    assert cells[PEER]["skipped"] == cells["attention"]["skipped"] == "would take about 16 s"
    # Of attention, sixteen seconds are too many; the four of a pass forward are not.
    assert (cells["attention"]["forward"]["seconds"] > 0, cells["attention"]["backward"]["seconds"]) == (True, None)
    assert cells["fft_conv"]["forward"]["ratio"] > 0
    assert cells["attention"]["backward"]["ratio"] is None
    # Four seconds are allowed, six passes of errors are not.
    assert cells["fft_conv"]["backward"]["seconds"] > 0
    assert (cells["fft_conv"]["error"], cells["fft_conv"]["backward"]["ratio"]) == (None, None)
    assert set(cells["fft_conv"]["backward"]["ratios"]) == {CONV}
    with pytest.raises(ValueError, match="limit=0; wanted a positive"):
        bench_mixers("small", case, SETTING, False, limit=0)
    with pytest.raises(ValueError, match="unknown mixer 'fft_con'; did you mean 'fft_conv'"):
        only(case, ["fft_con"])


def test_records_are_there_as_soon_as_a_length_is_done(monkeypatch):
    done = []
    measure = mixers._at_length
    monkeypatch.setattr(mixers, "_at_length", lambda *a: done.append(a[2]) or measure(*a))
    records = mixers.bench_mixers("small", only(SMALL, ["short_conv"]), SETTING, memory=False)
    dates = [next(records).date]
    assert done == [8]
    dates += [record.date for record in records]
    assert done == [8, 32]
    assert len(set(dates)) == 1


def test_rounds_take_ten_times_the_limit_at_most():
    most = BenchSetting(repeats=5)
    assert [fewer_rounds(most, [40.0, 80.0], limit).repeats for limit in (1000.0, 60.0, 30.0, 1.0)] == [5, 5, 2, 1]
    assert fewer_rounds(most, [40.0, 80.0], 36.0).repeats == 3
    assert fewer_rounds(most, [], 1.0) == most
