"""Peers are the same model: the same size, and with our weights the same function."""

import pytest
import torch
from torch import nn

from undula.bench.cases import DECODE_CASES, TRAIN_CASES, plain
from undula.bench.peers import DECODE_PEERS, TRAIN_PEERS, SDPALayer, cache_bytes, llama, x_transformer
from undula.bench.train import StepPlan
from undula.mixers.base import build_mixer
from undula.models.language_model import build_language_model
from undula.nn.norms import RMSNorm

SMALL = plain("attention", d_model=32, num_layers=2, num_heads=2, d_ff=48)


def size(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("cases", [TRAIN_CASES, DECODE_CASES])
@pytest.mark.parametrize("name", ["10m", "tiny"])
def test_models_of_a_case_are_equal_in_size_within_a_percent(cases, name):
    case, peers = cases[name], TRAIN_PEERS if cases is TRAIN_CASES else DECODE_PEERS
    first = next(iter(case.models.values()))
    sizes = {peer: size(peers[peer](first, 256)) for peer in case.peers}
    sizes |= {ours: size(build_language_model(model)) for ours, model in case.models.items()}
    assert max(sizes.values()) / min(sizes.values()) < 1.01, sizes


def test_the_large_case_has_ten_and_a_half_million_parameters():
    plan = StepPlan(model=TRAIN_CASES["10m"].models["attention"], batch_size=1, block_size=256)
    assert size(plan.build()) == pytest.approx(10.6e6, rel=0.01)


@pytest.fixture
def ours():
    model = build_language_model(SMALL)
    for parameter in model.parameters():
        nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.3)
    for layer in model.backbone.layers:
        nn.init.zeros_(layer.attn.out_proj.bias)
    return model


def as_llama(model):
    """Our weights by the names of transformers' Llama."""
    weights = {
        "model.embed_tokens.weight": model.embedding.weight,
        "model.norm.weight": model.backbone.norm_f.weight,
        "lm_head.weight": model.head.weight,
    }
    for i, layer in enumerate(model.backbone.layers):
        q, k, v = layer.attn.qkv.weight.chunk(3)
        named = {"self_attn.q_proj": q, "self_attn.k_proj": k, "self_attn.v_proj": v}
        named |= {"self_attn.o_proj": layer.attn.out_proj.weight, "mlp.gate_proj": layer.ffn.w1.weight}
        named |= {"mlp.up_proj": layer.ffn.w3.weight, "mlp.down_proj": layer.ffn.w2.weight}
        named |= {"input_layernorm": layer.norm.weight, "post_attention_layernorm": layer.ffn_norm.weight}
        weights |= {f"model.layers.{i}.{name}.weight": value for name, value in named.items()}
    return weights


def as_x_transformer(model, heads):
    """Our weights by the names of x-transformers, whose rotary pairs lie side by side and whose gains count from 1."""

    def paired(weight):
        return weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape)

    weights = {
        "token_emb.emb.weight": model.embedding.weight,
        "attn_layers.final_norm.g": model.backbone.norm_f.weight - 1,
        "to_logits.weight": model.head.weight,
    }
    for i, layer in enumerate(model.backbone.layers):
        q, k, v = layer.attn.qkv.weight.chunk(3)
        named = {f"{2 * i}.0.0.g": layer.norm.weight - 1, f"{2 * i + 1}.0.0.g": layer.ffn_norm.weight - 1}
        named |= {f"{2 * i}.1.to_q.weight": paired(q), f"{2 * i}.1.to_k.weight": paired(k)}
        named |= {f"{2 * i}.1.to_v.weight": v, f"{2 * i}.1.to_out.weight": layer.attn.out_proj.weight}
        gated = torch.cat([layer.ffn.w3.weight, layer.ffn.w1.weight])
        named |= {f"{2 * i + 1}.1.ff.0.proj.weight": gated, f"{2 * i + 1}.1.ff.2.weight": layer.ffn.w2.weight}
        weights |= {f"attn_layers.layers.{name}": value for name, value in named.items()}
    return weights


def test_llama_with_our_weights_is_our_model(ours):
    peer, tokens = llama(SMALL, 64), torch.randint(65, (2, 40))
    peer.load_state_dict(as_llama(ours))
    torch.testing.assert_close(peer(tokens).logits, ours(tokens), rtol=1e-4, atol=1e-4)


def test_x_transformers_with_our_weights_is_our_model(ours):
    peer, tokens = x_transformer(SMALL, 64), torch.randint(65, (2, 40))
    loaded = peer.load_state_dict(as_x_transformer(ours, 2), strict=False)
    assert loaded.missing_keys == ["attn_layers.rotary_pos_emb.inv_freq"]
    assert loaded.unexpected_keys == []
    for module in ours.modules():
        if isinstance(module, RMSNorm):
            module.eps = 0.0  # the peer divides by the norm alone
    torch.testing.assert_close(peer(tokens), ours(tokens), rtol=1e-4, atol=1e-4)


def test_fused_layer_is_our_attention_without_rotary_positions():
    ours, peer, x = build_mixer("attention", 16, 4, rotary=False), SDPALayer(16, 4), torch.randn(2, 9, 16)
    peer.load_state_dict({"qkv.weight": ours.qkv.weight, "out_proj.weight": ours.out_proj.weight})
    nn.init.zeros_(ours.out_proj.bias)
    torch.testing.assert_close(peer(x), ours(x))


def test_cache_of_a_peer_is_counted():
    cache = llama(SMALL, 64)(torch.zeros(1, 10, dtype=torch.long), use_cache=True).past_key_values
    assert cache_bytes(cache) == 2 * 2 * 10 * 32 * 4  # keys and values, layers, positions, width, float32


def test_peer_of_anything_but_plain_attention_is_refused():
    with pytest.raises(ValueError, match="got family='plain', mixers=\\('fft_conv',\\).*put such a model first"):
        x_transformer(plain("fft_conv", d_model=32, num_layers=2, num_heads=2, d_ff=48), 64)
