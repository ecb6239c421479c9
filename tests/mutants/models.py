"""Language models with one fault each, and functions and foreign models that audits must see through."""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from undula.mixers.base import Mixer, Traits
from undula.models.config import BackboneConfig, CodecConfig, ModelConfig, PyramidConfig
from undula.models.language_model import LanguageModel, build_language_model

VOCAB = 20


def tiny(family="plain", mixers=("attention",), options=None, **changes):
    """Return a small language model of ours."""
    backbone = BackboneConfig(
        d_model=24, num_layers=2, num_heads=2, d_ff=32, mixers=mixers, mixer_options=options or {}, **changes
    )
    codec = CodecConfig(d_model=12, num_heads=2, mixer=mixers[0])
    return build_language_model(ModelConfig(family=family, vocab_size=VOCAB, backbone=backbone, codec=codec))


class Around(LanguageModel):
    """A sound model, with something around it."""

    def __init__(self):
        super().__init__()
        self.inner = tiny(mixers=("fft_conv",))

    def forward(self, input_ids, attention_mask=None, *, state=None):
        return self.inner(input_ids, attention_mask, state=state)

    def init_state(self, batch_size, *, device=None, dtype=None):
        return self.inner.init_state(batch_size, device=device, dtype=dtype)


class NextToken(Around):
    """Embeds the token that it is asked for."""

    def forward(self, input_ids, attention_mask=None, *, state=None):
        return super().forward(input_ids.roll(-1, 1), attention_mask, state=state)


class EncoderBothWays(Around):
    """The wave model with an encoder that sees the whole sequence."""

    def __init__(self):
        super().__init__()
        self.inner = tiny("wave")
        stack = self.inner.transformer.wave_encoder.stack
        stack.mixer = _BothWays(stack.mixer)


class _BothWays(Mixer):
    traits = Traits(streaming=False, cost="T^2", source="made up")

    def __init__(self, mixer):
        super().__init__()
        self.mixer, self.d_model = mixer, mixer.d_model

    def forward(self, x, causal=True, attention_mask=None, *, state=None):
        return self.mixer(x, False, attention_mask, state=state)

    def init_state(self, batch_size, *, device=None, dtype=None):
        return self.mixer.init_state(batch_size, device=device, dtype=dtype)


class CentredFilter(Around):
    """Averages each embedding with its neighbours on both sides, then proceeds with care."""

    def __init__(self):
        super().__init__()
        self.inner.embedding = nn.Sequential(self.inner.embedding, _Neighbours())


class _Neighbours(nn.Module):
    def forward(self, x):
        return (x + x.roll(1, 1) + x.roll(-1, 1)) / 3


class LeakInTraining(Around):
    """Adds what the whole row has in common, in training only."""

    def forward(self, input_ids, attention_mask=None, *, state=None):
        out = super().forward(input_ids, attention_mask, state=state)
        if not self.training:
            return out
        counts = torch.nn.functional.one_hot(input_ids.roll(-1, 1), VOCAB).to(out.dtype)
        return out + counts


class MaskIgnored(Around):
    """Takes a mask and does not look at it."""

    def forward(self, input_ids, attention_mask=None, *, state=None):
        return super().forward(input_ids, None, state=state)


class StateForgotten(Around):
    """Starts anew with every piece."""

    def forward(self, input_ids, attention_mask=None, *, state=None):
        start = None if state is None else self.init_state(len(input_ids), dtype=state[0].poles.dtype)
        return super().forward(input_ids, attention_mask, state=start)


class ClaimsBounded(Around):
    """Attention that says its state does not grow."""

    def __init__(self):
        super().__init__()
        self.inner = tiny()
        for layer in self.inner.backbone.layers:
            layer.attn.traits = type(layer.attn.traits)(bounded_state=True, cost="T^2", source="made up")


class BandsBothWays(Around):
    """A pyramid, closed at its start, whose bands see all of each other, before and after."""

    def __init__(self):
        super().__init__()
        bands = PyramidConfig(after=(1,), band_boundaries=(0.5,), band_num_layers=(1, 1))
        self.inner = tiny("wave", mixers=("fft_conv",), pyramid=bands)
        for pair in self.inner.transformer.backbone.pyramids[0].pairs:
            pair.read = partial(_read_all, pair.read)


def _read_all(read, bands, causal, real, state):
    return read(bands, False, real, state)


class BatchMean(Around):
    """Lets the batch speak as one."""

    def forward(self, input_ids, attention_mask=None, *, state=None):
        out = super().forward(input_ids, attention_mask, state=state)
        return out if state is not None else out - out.mean(0, keepdim=True)


class NoContext(Around):
    """Looks at the present token alone."""

    def forward(self, input_ids, attention_mask=None, *, state=None):
        flat = super().forward(input_ids.reshape(-1, 1))
        out = flat.view(*input_ids.shape, -1)
        return out if state is None else (out, state)


class ChangedInTraining(Around):
    """Doubles its scores in training."""

    def forward(self, input_ids, attention_mask=None, *, state=None):
        out = super().forward(input_ids, attention_mask, state=state)
        return 2 * out if self.training else out


class RootOfEmbedding(Around):
    """Takes the root of the power of the embeddings."""

    def __init__(self):
        super().__init__()
        self.inner.embedding = nn.Sequential(self.inner.embedding, _Amplitude())


class _Amplitude(nn.Module):
    def forward(self, x):
        return x + x.square().sqrt()


class DeadHead(Around):
    """Owns a head that nothing reads."""

    def __init__(self):
        super().__init__()
        self.second_head = nn.Linear(4, 4)


MODEL_MUTANTS = [
    (NextToken, "prefix"),
    (NextToken, "leak"),
    (NextToken, "loss floor"),
    (EncoderBothWays, "prefix"),
    (EncoderBothWays, "leak"),
    (BandsBothWays, "prefix"),
    (BandsBothWays, "leak"),
    (CentredFilter, "prefix"),
    (CentredFilter, "loss floor"),
    (LeakInTraining, "leak"),
    (LeakInTraining, "loss floor"),
    (MaskIgnored, "padding"),
    (StateForgotten, "streaming"),
    (StateForgotten, "streaming in float32"),
    (ClaimsBounded, "bounded state"),
    (BatchMean, "batch"),
    (NoContext, "mixing"),
    (ChangedInTraining, "train equals eval"),
    (RootOfEmbedding, "silence"),
    (DeadHead, "aliveness"),
]


@dataclass
class Output:
    logits: torch.Tensor


class Packed(nn.Module):
    """A foreign model: smooths over the past, and starts again where `seq_idx` changes if told to honour it."""

    def __init__(self, honour="yes"):
        super().__init__()
        self.honour = honour
        self.table = nn.Embedding(VOCAB, 8)
        self.head = nn.Linear(8, VOCAB)

    def forward(self, input_ids, seq_idx=None):
        if seq_idx is not None and self.honour == "refused":
            raise ValueError("packed rows are not supported; pad them instead")
        steps = input_ids.shape[1]
        seen = torch.ones(steps, steps, dtype=torch.bool).tril()[None]
        if seq_idx is not None and self.honour == "yes":
            seen = seen & (seq_idx[:, :, None] == seq_idx[:, None])
        x = self.table(input_ids)
        return Output(self.head(torch.where(seen, 0.5, 0.0).to(x.dtype) @ x))


class WithoutEmbedding(nn.Module):
    """Multiplies one-hot vectors, so that no gradient with respect to its inputs can be had; sees one step ahead."""

    def __init__(self, ahead):
        super().__init__()
        self.ahead = ahead
        self.first = nn.Parameter(torch.randn(VOCAB, 8))
        self.head = nn.Linear(8, VOCAB)

    def forward(self, ids):
        x = self.first[ids].cumsum(1)
        if self.ahead and self.training:
            x = x + x.roll(-1, 1)
        return (self.head(x),)


def echo(ids):
    """Score the token that was just read."""
    return torch.nn.functional.one_hot(ids.cumsum(1) % VOCAB, VOCAB).double()


def oracle(ids):
    """Score the token that comes next."""
    return torch.nn.functional.one_hot(ids.roll(-1, 1), VOCAB).double()
