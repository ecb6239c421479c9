"""A sparse Wave Transformer tells what it kept, and its loss teaches it."""

import pytest
import torch

from undula.losses.sparsification import HarmonicSparsificationLoss
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


@pytest.mark.parametrize(("gather", "width"), [(False, 36), (True, 24)])
def test_what_was_kept_comes_with_the_output_and_all_of_it_learns(gather, width):
    built, ids = model(gather=gather, sparsity_ratio=0.7), torch.randint(V, (2, 9))
    output, stats = built({"input_ids": ids})
    assert output.shape == (2, 9, V)
    assert built.layers[0].norm.weight.shape == (width,)
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


def test_padding_does_not_reach_real_positions():
    built, ids = model().eval(), torch.randint(V, (1, 9))
    mask = torch.ones(1, 9)
    mask[:, :3] = 0
    other = ids.clone()
    other[:, :3] = (other[:, :3] + 1) % V
    first, second = (built({"input_ids": each}, attention_mask=mask)[0] for each in (ids, other))
    torch.testing.assert_close(first[:, 3:], second[:, 3:])
