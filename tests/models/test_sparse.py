"""A sparse Wave Transformer tells what it kept, and its loss teaches it."""

import pytest
import torch

from tests.contract.cases import moved
from undula.losses.sparsification import HarmonicSparsificationLoss
from undula.models.config import BackboneConfig, CodecConfig, ModelConfig, SparsityConfig
from undula.models.language_model import build_language_model
from undula.models.sparse import SparseWaveTransformer
from undula.models.token_codec import TokenDecoder, TokenEncoder

H, V = 12, 17


def model(**options):
    torch.manual_seed(0)
    sizes = {"num_harmonics": H, "d_model": 16, "num_heads": 2, "num_heads_kv": 2, "num_layers": 1}
    return SparseWaveTransformer(
        TokenEncoder(V, **sizes),
        TokenDecoder(V, **sizes),
        H,
        transformer_num_layers=2,
        transformer_num_heads=2,
        transformer_heads_kv=1,
        rotary=True,
        **options,
    )


def sparse_language_model():
    torch.manual_seed(0)
    blocks = BackboneConfig(d_model=3 * H, num_layers=1, num_heads=2, mixers=("fft_conv",), block="parallel", d_ff=16)
    config = ModelConfig(
        family="wave",
        vocab_size=V,
        backbone=blocks,
        codec=CodecConfig(d_model=8, num_heads=0),
        sparsity=SparsityConfig(k_ratio=0.5, min_k=2, dynamic_k=True),
    )
    return moved(build_language_model(config)).train()


@pytest.mark.parametrize(("gather", "width"), [(False, 36), (True, 24)])
def test_what_was_kept_comes_with_the_output_and_all_of_it_learns(gather, width):
    built, ids = model(gather=gather, sparsity_ratio=0.7), torch.randint(V, (2, 9))
    output, stats = built({"input_ids": ids})
    assert output.shape == (2, 9, V)
    assert built.layers[0].norm.weight.shape == (width,)
    assert built.selector is built.reduction.selector
    assert stats["selection_mask"].sum(-1).min() >= 8
    (output.logsumexp(-1).mean() + HarmonicSparsificationLoss(0.3)(stats)["total"]).backward()
    assert [name for name, p in built.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_what_was_kept_is_told_without_gradients_too():
    built, ids = model().eval(), torch.randint(V, (2, 9))
    output, stats = built({"input_ids": ids})
    with torch.no_grad():
        again, told = built({"input_ids": ids})
    assert torch.equal(again, output)
    assert torch.equal(told["soft_mask"], stats["soft_mask"])


def test_it_streams_and_gives_what_its_parent_gives():
    built, ids, waves = model(min_k=2, sparsity_ratio=0.25).eval().double(), torch.randint(V, (2, 9)), []
    (whole, wave), stats = built({"input_ids": ids}, return_encoder_outputs=True, on_layer=lambda i, x: waves.append(i))
    assert (wave.frequencies.shape, waves) == ((2, 9, H), [0, 1, 2])
    assert stats["actual_k_mean"] < 6
    state, pieces = built.init_state(2, dtype=torch.float64), []
    for piece in ids.split([4, 1, 4], 1):
        (y, state), _ = built({"input_ids": piece}, state=state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), whole, atol=1e-10, rtol=0)


def test_padding_is_in_no_average_and_in_no_loss():
    """The averages decide which harmonics a model settles on, and what `compact` keeps."""
    ids, mask, learned = torch.randint(V, (2, 9)), torch.ones(2, 9), []
    mask[:, :3] = 0
    for padding in (ids[:, :3], (ids[:, :3] + 1) % V):
        built = sparse_language_model()
        built.reduction.selector.noise = 0.0
        built(torch.cat([padding, ids[:, 3:]], 1), mask)
        selector = built.reduction.selector
        learned.append((built.aux_loss(), selector.ema_use.clone(), selector.ema_k.clone()))
    for one, other in zip(*learned, strict=True):
        torch.testing.assert_close(one, other)


def test_looking_at_what_is_kept_changes_nothing():
    built, ids = sparse_language_model(), torch.randint(V, (2, 9))
    before = built.reduction.selector.ema_use.clone()
    assert torch.equal(built.kept_harmonics(ids), built.kept_harmonics(ids))
    assert torch.equal(built.reduction.selector.ema_use, before)


def test_padding_does_not_reach_real_positions():
    built, ids = model().eval(), torch.randint(V, (1, 9))
    mask = torch.ones(1, 9)
    mask[:, :3] = 0
    other = ids.clone()
    other[:, :3] = (other[:, :3] + 1) % V
    first, second = (built({"input_ids": each}, attention_mask=mask)[0] for each in (ids, other))
    torch.testing.assert_close(first[:, 3:], second[:, 3:])
