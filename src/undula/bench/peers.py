"""Peers as adapters: other libraries' models of the same size, called as ours are."""

import warnings
from collections.abc import Callable, Mapping

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from undula.models.config import BackboneConfig, ModelConfig
from undula.names import Registry
from undula.ops.fft import fast_length, irfft, rfft
from undula.optional import late_import
from undula.shapes import Logits, Sequence, TokenIds

TRAIN_PEERS: Registry[Callable[[ModelConfig, int], nn.Module]] = Registry("peer")
"""From our model's configuration and the length of a sequence to a module from token ids to scores."""

DECODE_PEERS: Registry[Callable[[ModelConfig, int], PreTrainedModel]] = Registry("peer")
"""From our model's configuration and the longest sequence to a Hugging Face model with a cache."""

PACKAGES = {
    "x-transformers": "x-transformers",
    "transformers Llama": "transformers",
    "torch SDPA": "torch",
    "FFT convolution": "torch",
}
"""The package that each peer comes from."""


@TRAIN_PEERS.register("x-transformers")
def x_transformer(config: ModelConfig, block_size: int) -> nn.Module:
    """Return the plain-attention model in x-transformers: rotary positions on whole heads, RMSNorm, SwiGLU, fused.

    Raises:
        ImportError: when x-transformers is not installed; names the extra.
    """
    with warnings.catch_warnings():
        # It scripts a helper when imported, which newer torch warns of; nothing that users of undula could mend.
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        library = late_import("x_transformers")
    size = _plain_attention(config)
    layers = library.Decoder(
        dim=size.d_model,
        depth=size.num_layers,
        heads=size.num_heads,
        attn_dim_head=size.d_model // size.num_heads,
        attn_dropout=0.0,
        attn_flash=True,
        rotary_pos_emb=True,
        rotary_emb_dim=size.d_model // size.num_heads,
        use_rmsnorm=True,
        ff_mult=size.d_ff / size.d_model,
        ff_glu=True,
        ff_swish=True,
        ff_no_bias=True,
        ff_dropout=0.0,
        verbose=False,
    )
    model = library.TransformerWrapper(
        num_tokens=config.vocab_size, max_seq_len=block_size, use_abs_pos_emb=False, attn_layers=layers
    )
    for module in model.modules():
        # ff_no_bias does not reach the gated projection; ours has no bias there, so the peer need not add one.
        if isinstance(module, nn.Linear):
            module.register_parameter("bias", None)
    return model


@TRAIN_PEERS.register("transformers Llama")
def llama_scores(config: ModelConfig, block_size: int) -> nn.Module:
    """Return the plain-attention model in transformers, called for its scores alone."""
    return _Scores(llama(config, block_size))


@DECODE_PEERS.register("transformers Llama")
def llama(config: ModelConfig, longest: int) -> PreTrainedModel:
    """Return the plain-attention model in transformers: a Llama with the fused kernel."""
    size = _plain_attention(config)
    config_of_peer = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=size.d_model,
        intermediate_size=size.d_ff,
        num_hidden_layers=size.num_layers,
        num_attention_heads=size.num_heads,
        max_position_embeddings=longest,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    config_of_peer._attn_implementation = "sdpa"
    return LlamaForCausalLM(config_of_peer)


class SDPALayer(nn.Module):
    """Fused attention between projections, in PyTorch alone: the peer of every mixer.

    Args:
        d_model: width.
        num_heads: heads; divides d_model.
        causal: look back only.
    """

    def __init__(self, d_model: int, num_heads: int, *, causal: bool = True) -> None:
        super().__init__()
        self.num_heads, self.causal = num_heads, causal
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Sequence) -> Sequence:
        """Attend to what came before, or to all."""
        q, k, v = rearrange(self.qkv(x), "b t (three n e) -> three b n t e", three=3, n=self.num_heads)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        return self.out_proj(rearrange(y, "b n t e -> b t (n e)"))


class FFTConvLayer(nn.Module):
    """A plain causal convolution by FFT between projections: one free filter as long as the sequence per channel.

    Args:
        d_model: width.
        length: steps of the sequence.
    """

    def __init__(self, d_model: int, length: int) -> None:
        super().__init__()
        self.in_proj = nn.Linear(d_model, d_model, bias=False)
        self.filter = nn.Parameter(torch.randn(d_model, length) * length**-0.5)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x: Sequence) -> Sequence:
        """Convolve with what came before."""
        length = x.shape[1]
        points = fast_length(2 * length)
        u = self.in_proj(x).transpose(1, 2)
        y = irfft(rfft(u, points) * rfft(self.filter, points), points)[..., :length]
        return self.out_proj(y.transpose(1, 2).to(u.dtype))


def _attention(d_model: int, num_heads: int, length: int, causal: bool) -> nn.Module:
    del length
    return SDPALayer(d_model, num_heads, causal=causal)


def _fft_convolution(d_model: int, num_heads: int, length: int, causal: bool) -> nn.Module:
    del num_heads
    if not causal:
        raise ValueError("the peer 'FFT convolution' looks back only; give a case with causal=False other peers")
    return FFTConvLayer(d_model, length)


MIXER_PEERS: Mapping[str, Callable[[int, int, int, bool], nn.Module]] = {
    "torch SDPA": _attention,
    "FFT convolution": _fft_convolution,
}
"""From width, heads, steps and whether to look back only, to a module that mixes along the sequence."""

PEER_COSTS = {"torch SDPA": "T^2", "FFT convolution": "T log T"}
"""How their time grows, as mixers say it of theirs."""


class _Scores(nn.Module):
    """Token ids to scores, of a model that returns more."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: TokenIds) -> Logits:
        return self.model(input_ids=input_ids, use_cache=False).logits


def cache_bytes(cache: object) -> int:
    """Return the memory that the cache of one of transformers' models takes, in bytes."""
    tensors: list[Tensor] = [t for layer in getattr(cache, "layers", []) for t in (layer.keys, layer.values)]
    return sum(t.numel() * t.element_size() for t in tensors if isinstance(t, torch.Tensor))


def _plain_attention(config: ModelConfig) -> BackboneConfig:
    size = config.backbone
    if config.family != "plain" or size.mixers != ("attention",) or size.block != "pre_norm":
        raise ValueError(
            f"peers have the size of a plain pre_norm attention model; got family={config.family!r}, "
            f"mixers={size.mixers}, block={size.block!r}: put such a model first in the case"
        )
    return size
