"""Blocks against their formulas; every documented argument reaches what it names."""

import inspect

import pytest
import torch

from tests.contract.cases import moved
from undula.mixers.fft_conv import FFTConv
from undula.mixers.phase_coherent import PhaseCoherentAttention
from undula.models.blocks import (
    DeepNormParallelBlock,
    NonCausalParallelBlock,
    ParallelBlock,
    PhaseCoherentParallelBlock,
    PreNormBlock,
)

SIZES = {"d_model": 8, "n_heads": 4, "n_heads_kv": 2, "d_ff": 12}
PARALLEL = [ParallelBlock, DeepNormParallelBlock, NonCausalParallelBlock]


def call(block, x, causal=True, mask=None):
    if isinstance(block, NonCausalParallelBlock):
        return block(x, mask)
    return block(x, causal=causal, attention_mask=mask)


def a_block(kind, **changes):
    block = kind(**{**SIZES, **changes}).double().eval()
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return block


X = (2, 7, 8)


@pytest.mark.parametrize("kind", PARALLEL)
@pytest.mark.parametrize("mask", [None, [[1] * 7, [0, 0, 0, 1, 1, 1, 1]]])
def test_parallel_blocks_add_one_branch_to_the_stream(kind, mask):
    block, x = a_block(kind), torch.randn(X, dtype=torch.float64)
    mask = None if mask is None else torch.tensor(mask)
    n = x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * block.norm.weight
    branch = block.attn(n, kind is not NonCausalParallelBlock, mask) + block.ffn(n)
    want = x + branch * getattr(block, "residual_scale", 1)
    torch.testing.assert_close(call(block, x, mask=mask), want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", PARALLEL)
def test_a_silent_branch_leaves_the_stream_as_it_is(kind):
    """A block that is wrapped in another residual doubles the stream."""
    block = a_block(kind)
    for projection in (block.attn.out_proj.weight, block.attn.out_proj.bias, block.ffn.w2.weight):
        torch.nn.init.zeros_(projection)
    x = torch.randn(X, dtype=torch.float64)
    assert torch.equal(call(block, x), x)


@pytest.mark.parametrize("kind", PARALLEL)
@pytest.mark.parametrize("use_flash", [True, False])
def test_use_flash_and_dropout_reach_their_own_places(kind, use_flash):
    block = kind(**SIZES, dropout=0.3, use_flash=use_flash)
    assert block.attn.use_flash is use_flash
    assert block.attn.dropout_p == 0.3
    assert block.dropout.p == 0.3
    assert type(block.attn.dropout_p) is float


@pytest.mark.parametrize("kind", PARALLEL)
def test_kernels_agree(kind):
    fused, plain = a_block(kind, use_flash=True), a_block(kind, use_flash=False)
    plain.load_state_dict(fused.state_dict())
    x = torch.randn(X, dtype=torch.float64)
    torch.testing.assert_close(call(fused, x), call(plain, x), atol=1e-12, rtol=0)


@pytest.mark.parametrize("kind", PARALLEL)
def test_padding_changes_nothing(kind):
    block, x = a_block(kind), torch.randn(X, dtype=torch.float64)
    mask = torch.tensor([[0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 0, 0]])
    padded = torch.where(mask[..., None].bool(), x, 1e3)
    out = call(block, padded, mask=mask)
    torch.testing.assert_close(out[:1, 2:], call(block, x[:1, 2:]), atol=1e-10, rtol=0)
    torch.testing.assert_close(out[1:, :5], call(block, x[1:, :5]), atol=1e-10, rtol=0)
    assert call(block, x, mask=torch.zeros(2, 7)).isfinite().all()


@pytest.mark.parametrize("kind", PARALLEL)
def test_grouped_heads_are_honoured(kind):
    assert a_block(kind).attn.qkv.out_features == 8 + 2 * 2 * 2
    assert a_block(kind, n_heads_kv=4).attn.qkv.out_features == 24
    with pytest.raises(ValueError, match="n_heads=4 is not a multiple of n_heads_kv=3"):
        a_block(kind, n_heads_kv=3)
    with pytest.raises(ValueError, match="d_model=30 is not a multiple of n_heads=4"):
        a_block(kind, d_model=30)


@pytest.mark.parametrize("kind", PARALLEL)
def test_the_future_is_hidden_where_it_should_be(kind):
    block, x = a_block(kind), torch.randn(X, dtype=torch.float64)
    other = x.clone()
    other[:, -1] += 1
    change = (call(block, x) - call(block, other))[:, :-1].abs().max().item()
    if kind is NonCausalParallelBlock:
        assert change > 1e-4
    else:
        assert change == 0
        assert (call(block, x, False) - call(block, other, False))[:, :-1].abs().max() > 1e-4


def test_signatures_are_the_documented_ones():
    defaults = {kind.__name__: inspect.signature(kind).parameters["dropout"].default for kind in PARALLEL}
    assert defaults == {"ParallelBlock": 0.0, "DeepNormParallelBlock": 0.0, "NonCausalParallelBlock": 0.1}
    documented = ["self", "x", "attention_mask", "causal"]
    assert list(inspect.signature(DeepNormParallelBlock.forward).parameters)[:4] == documented
    assert list(inspect.signature(ParallelBlock.forward).parameters)[:4] == ["self", "x", "causal", "attention_mask"]
    mask = inspect.signature(NonCausalParallelBlock.forward).parameters["attention_mask"]
    assert mask.default is inspect.Parameter.empty


@pytest.mark.parametrize(("layers", "scale"), [(1, 0.5**0.5), (24, 48**-0.5)])
def test_the_scale_of_deepnorm_follows_the_depth(layers, scale):
    assert DeepNormParallelBlock(**SIZES, num_layers=layers).residual_scale == pytest.approx(scale, abs=1e-15)


def test_dropout_falls_on_the_sum_in_training():
    block = ParallelBlock(**{**SIZES, "d_model": 400, "n_heads": 4}, dropout=0.5)
    x = torch.randn(1, 20, 400)
    change = block(x) - x
    assert (change == 0).float().mean().item() == pytest.approx(0.5, abs=0.03)
    assert (block.eval()(x) == x).float().mean().item() < 0.01


def test_pre_norm_adds_two_branches():
    block = PreNormBlock(FFTConv(8), 12).double().eval()
    x = torch.randn(X, dtype=torch.float64)
    middle = x + block.attn(block.norm(x))
    torch.testing.assert_close(block(x), middle + block.ffn(block.ffn_norm(middle)), atol=1e-12, rtol=0)
    assert (block(x, False) - block(x)).abs().max() > 1e-4


@pytest.mark.parametrize("kind", [ParallelBlock, DeepNormParallelBlock])
def test_another_mixer_takes_the_place_of_attention(kind):
    block = a_block(kind, mixer=FFTConv(8))
    x = torch.randn(X, dtype=torch.float64)
    assert isinstance(block.attn, FFTConv)
    y, state = block(x[:, :4], state=block.attn.init_state(2))
    rest, _ = block(x[:, 4:], state=state)
    torch.testing.assert_close(torch.cat([y, rest], dim=1), block(x), atol=1e-10, rtol=0)


def a_phase_coherent_block(**options):
    torch.manual_seed(1)
    return moved(PhaseCoherentParallelBlock(24, 8, 4, 2, 32, **options)).double().eval()


def test_the_phase_coherent_block_computes_what_the_document_says_with_the_streams_own_phases():
    """Normalised, the phases of a loud position would be smaller ones; here they are those of the residual stream."""
    block, x = a_phase_coherent_block(), 3 * torch.randn(2, 9, 24, dtype=torch.float64)
    normed = block.norm(x)
    want = x + block.attn(normed, phases=x[..., 16:]) + block.ffn(normed)
    torch.testing.assert_close(block(x), want, atol=1e-12, rtol=0)
    assert (block(x) - (x + block.attn(normed) + block.ffn(normed))).abs().max() > 1e-3


def test_the_phase_coherent_block_streams_and_keeps_out_padding():
    block, x = a_phase_coherent_block(), torch.randn(2, 9, 24, dtype=torch.float64)
    want = block(x)
    first, state = block(x[:, :5], state=block.attn.init_state(2))
    rest, _ = block(x[:, 5:], state=state)
    torch.testing.assert_close(torch.cat([first, rest], dim=1), want, atol=1e-10, rtol=0)
    mask = torch.tensor([[0] * 3 + [1] * 6] * 2)
    other = x.clone()
    other[:, :3] = torch.randn(2, 3, 24, dtype=torch.float64)
    torch.testing.assert_close(block(x, True, mask)[:, 3:], block(other, True, mask)[:, 3:], atol=1e-12, rtol=0)
    assert (block(x, False) - want).abs().max() > 1e-3


def test_the_phase_coherent_block_takes_dropout_and_another_attention():
    block = PhaseCoherentParallelBlock(24, 8, 4, 2, 32, dropout=0.5)
    assert (block.attn.dropout_p, block.ffn.dropout.p, block.dropout.p) == (0.5, 0.5, 0.5)
    assert isinstance(block.attn.beta.item(), float)
    mixer = PhaseCoherentAttention(24, 8, 4, 4, phase_coherence_mode="complex")
    assert PhaseCoherentParallelBlock(24, 8, 4, 4, 32, mixer=mixer).attn is mixer
