"""What is timed: blocks that compute on all harmonics, and each way of computing on part of them."""

import pytest
import torch

from undula.bench.cases import SPARSITY_CASES
from undula.bench.setting import BenchSetting
from undula.bench.sparsity import PEER, SAME_INSIDE, bench_sparsity, contestants


def test_every_way_of_saving_has_a_record():
    records = bench_sparsity("tiny", SPARSITY_CASES["tiny"], BenchSetting(repeats=1, warmup=0))
    assert [r.config["model"] for r in records] == [
        PEER,
        "zeros, 0.5",
        "gathered, 0.5",
        "compacted, 0.5",
        "sliced, 0.5",
        "settled, 0.5",
    ]
    assert records[0].figures["ratio"] == 1.0
    assert {r.what for r in records} == {"sparsity"}


def test_a_case_with_more_filters_has_a_stack_of_all_harmonics_with_as_many():
    case = SPARSITY_CASES["h64_fft_conv"]
    narrow = (round(192 * case.inner_ratio), round(768 * case.hidden_ratio))
    models = {name: build() for name, build in contestants(case).items()}
    inside = {
        name: (model.backbone.layers[0].attn.d_inner, model.backbone.layers[0].ffn.w1.out_features)
        for name, model in models.items()
    }
    assert inside[PEER] == inside["zeros, 0.5"] == (192, 768)
    assert {inside[name] for name in (SAME_INSIDE, "settled, 0.5", "gathered, 0.5", "compacted, 0.3")} == {narrow}
    assert narrow[0] > 192
    assert models[SAME_INSIDE].backbone.layers[0].norm.weight.numel() == 192


def test_blocks_are_as_wide_as_what_they_compute_on():
    models = {name: build() for name, build in contestants(SPARSITY_CASES["h64"]).items()}
    widths = {name: model.backbone.layers[0].norm.weight.numel() for name, model in models.items()}
    assert widths == {
        PEER: 192,
        "zeros, 0.5": 192,
        "gathered, 0.5": 96,
        "compacted, 0.5": 96,
        "sliced, 0.5": 192,
        "settled, 0.5": 192,
        "zeros, 0.3": 192,
        "gathered, 0.3": 57,
        "compacted, 0.3": 57,
        "sliced, 0.3": 192,
        "settled, 0.3": 192,
    }
    assert [len(models[f"{way}, 0.5"].reduction.present) for way in ("sliced", "settled")] == [32, 32]
    blocks = {name: sum(p.numel() for p in model.backbone.parameters()) for name, model in models.items()}
    assert blocks["compacted, 0.5"] / blocks[PEER] == pytest.approx(0.313, abs=1e-3)
    assert blocks["gathered, 0.5"] == blocks["compacted, 0.5"]
    x = torch.randn(1, 3, 192)
    assert {name: model(x).shape[-1] for name, model in models.items()} == {
        name: widths[name] if "compacted" in name else 192 for name in models
    }
