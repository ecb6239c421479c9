"""The documented compositions of enhancements keep the contract, as language models around them are audited."""

import pytest
import torch
from torch import nn

from tests.contract.cases import VOCAB
from undula import (
    EnhancedWaveTransformer,
    PhaseCoherentParallelBlock,
    PyramidWaveTransformer,
    SparseWaveTransformer,
    WaveTransformerWithPyramid,
)
from undula.audit.finding import failures
from undula.audit.run import MODEL_AUDITS, audit_language_model
from undula.mixers.base import State
from undula.models.base import LanguageModel
from undula.models.config import PyramidConfig
from undula.models.token_codec import TokenDecoder, TokenEncoder

H, HEADS = 8, 4
BANDS = PyramidConfig(band_boundaries=(0.5,), band_num_layers=(2, 1), band_strides=(2, 1), d_ff_multi=2)
CODEC = {"vocab_size": VOCAB, "num_harmonics": H, "d_model": 8, "num_heads": 2, "num_heads_kv": 2, "num_layers": 1}
SIZES = {"num_harmonics": H, "transformer_num_layers": 2, "transformer_num_heads": HEADS, "transformer_heads_kv": 2}


class OfTokens(LanguageModel):
    """What maps tokens, in a dictionary, to scores."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, input_ids, attention_mask=None, *, state=None):
        result = self.inner({"input_ids": input_ids}, attention_mask=attention_mask, state=state)
        return result[0] if isinstance(self.inner, SparseWaveTransformer) else result

    def init_state(self, batch_size, *, device=None, dtype=None):
        return self.inner.init_state(batch_size, device=device, dtype=dtype)


class OfWaves(LanguageModel):
    """What maps waves to waves, between a table of tokens and scores."""

    def __init__(self, stack):
        super().__init__()
        self.embedding, self.stack, self.head = nn.Embedding(VOCAB, 3 * H), stack, nn.Linear(3 * H, VOCAB)

    def forward(self, input_ids, attention_mask=None, *, state=None):
        x, given = self.embedding(input_ids), state
        if state is not None and not isinstance(self.stack, PyramidWaveTransformer):
            (given,) = state
        y = self.stack(x, attention_mask=attention_mask, state=given)
        y = y[0] if isinstance(self.stack, EnhancedWaveTransformer) else y
        if state is None:
            return self.head(y)
        y, new = y
        return self.head(y), (new,) if isinstance(new, State) else new

    def init_state(self, batch_size, *, device=None, dtype=None):
        inner = self.stack.attn if isinstance(self.stack, PhaseCoherentParallelBlock) else self.stack
        state = inner.init_state(batch_size, device=device, dtype=dtype)
        return (state,) if isinstance(state, State) else state


def codec():
    return TokenEncoder(**CODEC), TokenDecoder(**CODEC)


COMPOSED = {
    "sparse": lambda: OfTokens(SparseWaveTransformer(*codec(), **SIZES, min_k=2)),
    "sparse, gathered": lambda: OfTokens(SparseWaveTransformer(*codec(), **SIZES, min_k=2, gather=True)),
    "phase-coherent block": lambda: OfWaves(PhaseCoherentParallelBlock(3 * H, H, HEADS, 2, 32)),
    "pyramids in the middle": lambda: OfWaves(
        PyramidWaveTransformer(H, 1, 2, 1, n_heads=HEADS, n_heads_kv=2, d_ff_multi=2, pyramid=BANDS)
    ),
    "a pyramid every few layers": lambda: OfTokens(
        WaveTransformerWithPyramid(*codec(), **SIZES, pyramid_interval=1, pyramid=BANDS)
    ),
    "all": lambda: OfWaves(
        EnhancedWaveTransformer(H, min_k=2, band_num_layers=(2, 1, 1), n_heads_q=HEADS, n_heads_kv=2)
    ),
}


@pytest.mark.parametrize("name", COMPOSED)
def test_compositions_pass_the_audits(name):
    torch.manual_seed(0)
    built = COMPOSED[name]()
    findings = audit_language_model(built, VOCAB, audits=[audit for audit in MODEL_AUDITS if audit != "loss floor"])
    assert failures(findings) == []
    assert {"prefix", "leak", "mixing", "streaming", "padding", "batch"} <= {f.name for f in findings if f.passed}
