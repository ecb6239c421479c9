"""Between tokens and waves: the encoder and the decoder of the Wave Transformer's language models."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from undula.mixers.attention import FlashAttention
from undula.mixers.base import Mixer, State
from undula.models.blocks import mix
from undula.models.init import initialise
from undula.nn.norms import RMSNorm
from undula.shapes import Logits, PaddingMask, Sequence, TokenIds
from undula.wave import Wave

NYQUIST = 0.5
"""Highest frequency that a sequence of positions can carry, in cycles per position."""
SLOWEST, FASTEST = 0.01, 0.1
"""Frequencies that harmonics start from, in cycles per position, spaced evenly by ratio."""
SMALL = 0.02
"""Size that everything between tokens and waves starts with, as embeddings do: what starts small learns fast."""
GAIN = 40.0
"""Near their small starts, frequencies and amplitudes answer with a slope of about 1 / GAIN to what they are made from;
this factor lets one unit of a projection move frequency, amplitude and phase alike."""


class ContextStack(nn.Module):
    """A context layer x + mixer(norm(x)), a projection, then residual layers x + dropout(gelu(norm(W x))).

    Args:
        d_model: width of the context layer.
        hidden: width of the residual layers.
        num_layers: residual layers.
        dropout: probability, on what each residual layer adds.
        mixer: the context layer; None for none.
    """

    def __init__(self, d_model: int, hidden: int, num_layers: int, dropout: float, mixer: Mixer | None) -> None:
        super().__init__()
        self.mixer = mixer
        self.norm = RMSNorm(d_model) if mixer is not None else None
        self.expand = nn.Linear(d_model, hidden)
        self.linears = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(num_layers))
        self.norms = nn.ModuleList(_small_norm(hidden) for _ in range(num_layers))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Sequence, causal: bool, attention_mask: PaddingMask | None, state: State | None
    ) -> tuple[Float[Tensor, "B T hidden"], State | None]:
        """Return the features and the context layer's new state (None where none was given)."""
        new = state
        if self.mixer is not None and self.norm is not None:
            mixed, new = mix(self.mixer, self.norm(x), causal, attention_mask, state)
            x = x + mixed
        x = self.expand(x)
        for linear, norm in zip(self.linears, self.norms, strict=True):
            x = x + self.dropout(F.gelu(norm(linear(x))))
        return x, new


def _small_norm(width: int) -> RMSNorm:
    norm = RMSNorm(width)
    nn.init.constant_(norm.weight, SMALL)
    return norm


def _context(
    d_model: int, num_heads: int, num_heads_kv: int, dropout: float, rotary: bool, mixer: Mixer | None
) -> Mixer | None:
    """The context layer of a codec: what was given, or attention, or nothing."""
    if mixer is not None or num_heads == 0:
        return mixer
    return FlashAttention(d_model, num_heads, dropout, n_heads_kv=num_heads_kv, rotary=rotary)


class TokenEncoder(nn.Module):
    """Tokens to waves: every position gets H harmonics.

    Frequencies are sigmoid(.) / 2, in cycles per position between 0 and the Nyquist frequency, and start in rising
    order; amplitudes are softplus(.), so positive; phases are linear, in radians and not folded into one turn: a phase
    and the same phase plus a turn are the same wave, and no seam or saturation stops it from turning on. All three
    start small: constant parts as large as one would drown what differs from token to token in the blocks' norms.

    Args:
        vocab_size: number of tokens.
        num_harmonics: harmonics H of each wave.
        d_model: width of the embedding and the context layer.
        hidden_mult: hidden width of the residual layers, over d_model.
        num_heads: query heads of the context layer; 0 for no context layer.
        num_heads_kv: its key-value heads.
        num_layers: residual layers.
        shared_projector: one projection to all three parts of the wave, instead of three.
        dropout: probability.
        rotary: turn the context layer's queries and keys by their position.
        mixer: takes the place of the context layer's attention.
        ordered: frequencies rise from one harmonic to the next at every position: 1 - exp(-sum of softplus(.)), over 2.
    """

    def __init__(
        self,
        vocab_size: int,
        num_harmonics: int = 64,
        d_model: int = 256,
        hidden_mult: float = 2.0,
        num_heads: int = 4,
        num_heads_kv: int = 4,
        num_layers: int = 2,
        shared_projector: bool = False,
        *,
        dropout: float = 0.1,
        rotary: bool = False,
        mixer: Mixer | None = None,
        ordered: bool = False,
    ) -> None:
        super().__init__()
        hidden = int(d_model * hidden_mult)
        self.embedding = nn.Embedding(vocab_size, d_model)
        context = _context(d_model, num_heads, num_heads_kv, dropout, rotary, mixer)
        self.stack = ContextStack(d_model, hidden, num_layers, dropout, context)
        parts = [3 * num_harmonics] if shared_projector else [num_harmonics] * 3
        self.to_wave = nn.ModuleList(nn.Linear(hidden, width, bias=False) for width in parts)
        rising = torch.arange(num_harmonics) / max(num_harmonics - 1, 1)
        start = SLOWEST * (FASTEST / SLOWEST) ** rising / NYQUIST
        self.ordered = ordered
        self.base_frequency = nn.Parameter(_steps_to(start) if ordered else torch.logit(start))
        self.base_amplitude = nn.Parameter(torch.full((num_harmonics,), math.log(math.expm1(SMALL))))
        self.base_phase = nn.Parameter(torch.zeros(num_harmonics))
        initialise(self, 1)

    def forward(
        self,
        input_ids: TokenIds | None = None,
        attention_mask: PaddingMask | None = None,
        causal: bool = True,
        *,
        token_ids: TokenIds | None = None,
        state: State | None = None,
    ) -> Wave | tuple[Wave, State | None]:
        """Return the wave of each position, (B, T, H); with a state, also the new state.

        Args:
            input_ids: tokens.
            attention_mask: 1 = real token.
            causal: whether the context layer hides later tokens.
            token_ids: another name of `input_ids`.
            state: of the context layer, to continue a sequence.

        Raises:
            ValueError: when not exactly one of the two names is given.
        """
        if (input_ids is None) == (token_ids is None):
            raise ValueError("got both or neither of input_ids and token_ids; give one of them")
        ids = token_ids if input_ids is None else input_ids
        features, new = self.stack(self.embedding(ids), causal, attention_mask, state)
        f, a, p = torch.cat([project(features) for project in self.to_wave], dim=-1).chunk(3, dim=-1)
        wave = Wave(
            frequencies=NYQUIST * self._shares(GAIN * f + self.base_frequency),
            amplitudes=F.softplus(GAIN * a + self.base_amplitude),
            phases=p + self.base_phase,
        )
        return wave if new is None else (wave, new)

    def _shares(self, f: Float[Tensor, "B T H"]) -> Float[Tensor, "B T H"]:
        return -torch.expm1(-F.softplus(f).cumsum(-1)) if self.ordered else torch.sigmoid(f)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Return the context layer's state before the first position."""
        return _stack_state(self.stack, batch_size, device, dtype)


class TokenDecoder(nn.Module):
    """The residual stream of a wave model to scores of the next token.

    Args:
        vocab_size, num_harmonics, d_model, hidden_mult, num_heads, num_heads_kv, num_layers: as in `TokenEncoder`.
        dropout: probability.
        low_rank_output: width of a bottleneck before the scores; None for none.
        rotary, mixer: as in `TokenEncoder`.
    """

    def __init__(
        self,
        vocab_size: int,
        num_harmonics: int = 64,
        d_model: int = 256,
        hidden_mult: float = 2.0,
        num_heads: int = 4,
        num_heads_kv: int = 4,
        num_layers: int = 2,
        dropout: float = 0.1,
        low_rank_output: int | None = None,
        *,
        rotary: bool = False,
        mixer: Mixer | None = None,
    ) -> None:
        super().__init__()
        hidden = int(d_model * hidden_mult)
        self.from_wave = nn.Linear(3 * num_harmonics, d_model)
        context = _context(d_model, num_heads, num_heads_kv, dropout, rotary, mixer)
        self.stack = ContextStack(d_model, hidden, num_layers, dropout, context)
        self.head = (
            nn.Linear(hidden, vocab_size)
            if low_rank_output is None
            else nn.Sequential(nn.Linear(hidden, low_rank_output), nn.GELU(), nn.Linear(low_rank_output, vocab_size))
        )
        initialise(self, 1)

    def forward(
        self,
        x: Sequence,
        attention_mask: PaddingMask | None = None,
        causal: bool = True,
        *,
        state: State | None = None,
    ) -> Logits | tuple[Logits, State | None]:
        """Return scores of the next token, (B, T, V); with a state, also the new state."""
        features, new = self.stack(self.from_wave(x), causal, attention_mask, state)
        logits = self.head(features)
        return logits if new is None else (logits, new)

    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> State:
        """Return the context layer's state before the first position."""
        return _stack_state(self.stack, batch_size, device, dtype)


def _steps_to(shares: Float[Tensor, " H"]) -> Float[Tensor, " H"]:
    """What softplus must be given so that 1 - exp(-cumulative sum) is the given rising shares."""
    whole = -torch.log1p(-shares)
    return torch.log(torch.expm1(torch.cat([whole[:1], whole.diff()])))


def _stack_state(stack: ContextStack, batch_size: int, device: torch.device | None, dtype: torch.dtype | None) -> State:
    if stack.mixer is None:
        return State()
    return stack.mixer.init_state(batch_size, device=device, dtype=dtype)
