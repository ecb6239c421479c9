"""FlashAttention as documented, and what its extras do."""

import builtins

import pytest
import torch

from undula.mixers.attention import AttentionState, FlashAttention


def test_attributes_are_the_documented_ones():
    attention = FlashAttention(12, 3)
    assert (attention.d_model, attention.n_heads, attention.d_head) == (12, 3, 4)
    assert attention.scale == 0.5
    assert attention.dropout_p == 0.1
    assert attention.use_flash is True
    assert attention.qkv.weight.shape == (36, 12)
    assert attention.qkv.bias is None
    assert attention.out_proj.bias is not None
    assert attention.rotary_base is None


def test_no_flash_package_is_imported(monkeypatch):
    asked = []
    original = builtins.__import__
    monkeypatch.setattr(builtins, "__import__", lambda name, *a, **k: (asked.append(name), original(name, *a, **k))[1])
    FlashAttention(8, 2, use_flash=True)(torch.randn(1, 3, 8))
    assert [name for name in asked if "flash_attn" in name] == []


@pytest.mark.parametrize("masked", [False, True])
def test_both_kernels_compute_the_same(masked):
    fused = FlashAttention(8, 2, dropout=0.0, use_flash=True).double()
    plain = FlashAttention(8, 2, dropout=0.0, use_flash=False).double()
    plain.load_state_dict(fused.state_dict())
    x = torch.randn(2, 9, 8, dtype=torch.float64)
    mask = torch.tensor([[1] * 9, [0] * 3 + [1] * 6]) if masked else None
    for causal in (True, False):
        torch.testing.assert_close(fused(x, causal, mask), plain(x, causal, mask), atol=1e-12, rtol=0)


def test_dropout_and_use_flash_keep_their_places():
    """Third comes dropout, fourth use_flash: False in third place would mean no dropout and a fused kernel."""
    attention = FlashAttention(8, 2, 0.3, False)
    assert (attention.dropout_p, attention.use_flash) == (0.3, False)


@pytest.mark.parametrize("use_flash", [True, False])
def test_dropout_is_applied_on_both_paths_in_training_alone(use_flash):
    attention = FlashAttention(8, 2, dropout=0.5, use_flash=use_flash)
    x = torch.randn(2, 9, 8)
    assert (attention(x) - attention(x)).abs().max() > 1e-3
    attention.eval()
    assert torch.equal(attention(x), attention(x))
    attention.dropout_p = 0.0
    kept = attention(x)
    attention.train()
    torch.testing.assert_close(attention(x), kept)


def test_grouped_heads_share_keys_and_values():
    grouped = FlashAttention(8, 4, dropout=0.0, n_heads_kv=2).double()
    assert grouped.qkv.weight.shape == (16, 8)
    full = FlashAttention(8, 4, dropout=0.0).double()
    q, k, v = grouped.qkv.weight.split([8, 4, 4])
    rows = [part.view(2, 2, 8).repeat_interleave(2, 0).reshape(8, 8) for part in (k, v)]
    full.load_state_dict({**grouped.state_dict(), "qkv.weight": torch.cat([q, *rows])})
    x = torch.randn(2, 7, 8, dtype=torch.float64)
    torch.testing.assert_close(grouped(x), full(x), atol=1e-12, rtol=0)


def test_a_query_at_padding_gives_the_bias_alone():
    attention = FlashAttention(8, 2).eval()
    torch.nn.init.normal_(attention.out_proj.bias)
    out = attention(torch.randn(1, 4, 8), attention_mask=torch.tensor([[0, 0, 1, 1]]))
    torch.testing.assert_close(out[0, :2], attention.out_proj.bias.expand(2, 8))
    assert (out[0, 2:] - attention.out_proj.bias).abs().min() > 1e-6


def test_padding_of_nothing_but_nan_stays_where_it_is():
    attention = FlashAttention(8, 2).eval()
    x = torch.randn(1, 5, 8)
    x[:, :2] = torch.nan
    mask = torch.tensor([[0, 0, 1, 1, 1]])
    torch.testing.assert_close(attention(x, attention_mask=mask)[:, 2:], attention(x[:, 2:]), atol=1e-6, rtol=1e-5)
    attention(x, attention_mask=mask).sum().backward()
    assert all(p.grad.isfinite().all() for p in attention.parameters())


def test_positions_count_only_when_turned_by_them():
    x = torch.randn(1, 9, 16, dtype=torch.float64)
    swapped = x[:, [3, 1, 0, 2, 7, 5, 4, 6, 8]]
    for rotary in (False, True):
        attention = FlashAttention(16, 2, dropout=0.0, rotary=rotary).double()
        change = (attention(x) - attention(swapped))[:, -1].abs().max()
        assert (change > 1e-4) is torch.tensor(rotary) or bool(change > 1e-4) is rotary


def test_language_models_build_it_with_positions():
    built = FlashAttention.build(16, 4)
    assert built.rotary_base == 10000.0
    assert built.dropout_p == 0.0


def test_the_state_holds_all_keys_and_values():
    attention = FlashAttention(8, 4, n_heads_kv=2, short_conv=3).eval()
    state = attention.init_state(2)
    assert isinstance(state, AttentionState)
    _, state = attention(torch.randn(2, 5, 8), state=state)
    _, state = attention(torch.randn(2, 1, 8), state=state)
    assert state.keys.shape == state.values.shape == (2, 2, 6, 2)
    assert state.real is None or state.real.all()
    assert state.recent.shape == (2, 16, 2)
    assert FlashAttention(8, 4).init_state(2).recent is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"d_model": 30, "n_heads": 4}, "d_model=30 is not a multiple of n_heads=4; change one of them"),
        ({"d_model": 32, "n_heads": 0}, "d_model=32 is not a multiple of n_heads=0"),
        ({"d_model": 32, "n_heads": 4, "n_heads_kv": 3}, "n_heads=4 is not a multiple of n_heads_kv=3"),
        ({"d_model": 12, "n_heads": 4, "rotary": True}, "head width 3 is odd; change n_heads"),
    ],
)
def test_widths_that_do_not_divide_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        FlashAttention(**arguments)


def test_positions_go_on_as_long_as_the_sequence_does():
    """Tables of positions that are made once have an end; these are made as needed."""
    attention = FlashAttention(8, 2, dropout=0.0, rotary=True)
    assert attention(torch.randn(1, 3000, 8)).isfinite().all()


def test_a_mask_may_be_given_with_some_pieces_only():
    attention = FlashAttention(8, 2, dropout=0.0, rotary=True).double()
    x = torch.randn(2, 9, 8, dtype=torch.float64)
    mask = torch.tensor([[1] * 9, [0] * 3 + [1] * 6])
    want = attention(x, attention_mask=mask)
    first, state = attention(x[:, :5], attention_mask=mask[:, :5], state=attention.init_state(2))
    second, state = attention(x[:, 5:8], state=state)
    third, _ = attention(x[:, 8:], attention_mask=mask[:, 8:], state=state)
    torch.testing.assert_close(torch.cat([first, second, third], dim=1), want, atol=1e-12, rtol=0)
    _, state = attention(x[:, :2], state=attention.init_state(2))
    rest, _ = attention(x[:, 2:], attention_mask=torch.ones(2, 7), state=state)
    torch.testing.assert_close(rest, attention(x)[:, 2:], atol=1e-12, rtol=0)
