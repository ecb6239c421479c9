"""What is timed are the default pyramid and a stack of documented blocks, in turns, with all their gradients."""

import torch

from undula.bench.cases import PYRAMID_CASES
from undula.bench.pyramid import PEER, bench_pyramid, contestants
from undula.bench.setting import BenchSetting
from undula.models.blocks import ParallelBlock
from undula.models.pyramid import MultiResolutionWavePyramid


def test_every_model_has_a_record_of_every_shape():
    case = PYRAMID_CASES["tiny"]
    records = bench_pyramid("tiny", case, BenchSetting(repeats=1, warmup=0))
    names = [PEER, "pyramid, strides 1, 1, 1", "pyramid, strides 4, 2, 1"]
    shapes = [(2, 8), (1, 16)]
    found = [((r.config["batch"], r.config["length"]), r.config["model"]) for r in records]
    assert found == [(shape, name) for shape in shapes for name in names]
    assert [r.figures["ratio"] for r in records if r.config["model"] == PEER] == [1.0, 1.0]
    assert {r.what for r in records} == {"pyramid"}


def test_the_default_case_is_the_documented_pyramid_beside_six_blocks():
    case = PYRAMID_CASES["h64"]
    single, pyramid, slow = (build(case) for build in contestants(case).values())
    documented = MultiResolutionWavePyramid(num_harmonics=64)
    assert {n: p.shape for n, p in pyramid.named_parameters()} == {n: p.shape for n, p in documented.named_parameters()}
    assert [band.stride for band in slow.bands] == [4, 2, 1]
    six = 6 * sum(p.numel() for p in ParallelBlock(192, 8, 4, 768).parameters())
    assert sum(p.numel() for p in single.parameters()) == six
    assert sum(p.numel() for p in pyramid.parameters()) < 0.6 * six
    # Gates are open: all parts have gradients.
    pyramid(torch.randn(1, 3, 192)).square().mean().backward()
    assert all(p.grad.abs().max() > 0 for p in pyramid.parameters())
