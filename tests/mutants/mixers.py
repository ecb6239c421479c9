"""Mixers with one fault each, and the sound one that they are made from."""

import math
from dataclasses import dataclass, replace

import torch
from torch import nn

from undula.mixers.base import Mixer, State, Traits

CAUSAL = Traits(bidirectional=False, bounded_state=True, cost="T^2", source="made up for tests")
WIDTH = 8


@dataclass
class Kept(State):
    last: torch.Tensor


class Sound(Mixer):
    """y(t) = r y(t-1) + z(t) for each channel, gated; what the mutants change is split into small methods."""

    traits = CAUSAL

    def __init__(self, d_model=WIDTH):
        super().__init__()
        self.d_model = d_model
        self.in_proj = nn.Linear(d_model, d_model, bias=False)
        self.rate = nn.Parameter(torch.linspace(-1, 1, d_model))
        self.out_proj = nn.Linear(d_model, d_model)

    def forward(self, x, causal=True, attention_mask=None, *, state=None):
        real = None if attention_mask is None else attention_mask.bool()[..., None]
        z = self.enter(x, real)
        last = torch.zeros_like(z[:, 0]) if state is None else state.last
        y = self.smooth(z, last)
        out = self.leave(y, x, real)
        return out if state is None else (out, self.next_state(state, y, z))

    def enter(self, x, real):
        z = self.in_proj(x)
        return z if real is None else torch.where(real, z, 0.0)

    def smooth(self, z, last):
        steps, rate = z.shape[1], torch.sigmoid(self.rate)
        lag = torch.arange(steps)[:, None] - torch.arange(steps)
        weights = torch.where((lag >= 0)[..., None], rate ** lag.clamp_min(0)[..., None], 0.0)
        ahead = rate ** torch.arange(1, steps + 1)[:, None]
        return torch.einsum("tsd,bsd->btd", weights, z) + ahead * last[:, None]

    def leave(self, y, x, real):
        return self.out_proj(y)

    def next_state(self, state, y, z):
        return Kept(y[:, -1])

    def init_state(self, batch_size, *, device=None, dtype=None):
        return Kept(torch.zeros(batch_size, self.d_model, dtype=dtype or self.rate.dtype))


class CircularConvolution(Sound):
    """Transforms as long as the sequence: the end wraps around to the beginning."""

    def smooth(self, z, last):
        rate = torch.sigmoid(self.rate)
        h = rate ** torch.arange(z.shape[1])[:, None]
        return torch.fft.irfft(torch.fft.rfft(z, dim=1) * torch.fft.rfft(h, dim=0), z.shape[1], dim=1)


class WholeSpectrum(Sound):
    """Weights the spectrum of the whole sequence, as Fourier mixers do."""

    def smooth(self, z, last):
        spectrum = torch.fft.rfft(z, dim=1)
        bins = torch.linspace(0, 1, spectrum.shape[1])[:, None]
        return torch.fft.irfft(spectrum * torch.sigmoid(5 * bins * self.rate), z.shape[1], dim=1)


class ByLength(Sound):
    """Divides by the number of steps: no gradient flows back in time, yet the end is known."""

    def leave(self, y, x, real):
        return super().leave(y / y.shape[1], x, real)


class FromTheEnd(Sound):
    """Counts positions from the end of the sequence."""

    def leave(self, y, x, real):
        positions = torch.arange(y.shape[1] - 1, -1, -1)[:, None]
        return super().leave(y * torch.cos(0.1 * positions), x, real)


class LatentLeak(Sound):
    """Sees the next step through a gate that stands at zero when training starts."""

    def __init__(self):
        super().__init__()
        self.gate = nn.Parameter(torch.zeros(WIDTH))

    def leave(self, y, x, real):
        return super().leave(y + self.gate * y.roll(-1, dims=1), x, real)


class CancellingLeak(Sound):
    """Sees the future in two ways that cancel each other at the start."""

    def __init__(self):
        super().__init__()
        self.plus, self.minus = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.minus.load_state_dict(self.plus.state_dict())

    def leave(self, y, x, real):
        future = y.flip(1).cumsum(1).flip(1)
        return super().leave(y + self.plus(future) - self.minus(future), x, real)


class LeakInTraining(Sound):
    """Centres the sequence with its mean, in training only."""

    def leave(self, y, x, real):
        return super().leave(y - y.mean(1, keepdim=True) if self.training else y, x, real)


class KeptByRank(Sound):
    """Keeps, in training, what is above the median of the whole sequence: no gradient shows who chooses."""

    def leave(self, y, x, real):
        if self.training:
            y = torch.where(y.detach() > y.detach().median(dim=1, keepdim=True).values, y, 0.0)
        return super().leave(y, x, real)


class EachOnItsOwn(Sound):
    """Mixes nothing along the sequence."""

    def smooth(self, z, last):
        return torch.sigmoid(self.rate) * z


class WithinChunks(Sound):
    """Forgets everything at the boundary of a chunk of 32 steps."""

    traits = replace(CAUSAL, streaming=False, bounded_state=False)

    def smooth(self, z, last):
        return torch.cat([Sound.smooth(self, chunk, torch.zeros_like(last)) for chunk in z.split(32, dim=1)], dim=1)


class OffByOne(Sound):
    """Hands on the state before the last step."""

    def next_state(self, state, y, z):
        return Kept(y[:, -2] if y.shape[1] > 1 else state.last)


class StateChangedInPlace(Sound):
    """Writes the new state into the tensor of the old one: a beam that branches off it is lost."""

    def next_state(self, state, y, z):
        state.last.copy_(y[:, -1].detach())
        return state


class HalfState(Sound):
    """Keeps its state in bfloat16, whatever it computes in."""

    def next_state(self, state, y, z):
        return Kept(y[:, -1].bfloat16().to(y.dtype))


class SingleState(Sound):
    """Keeps its state in float32, whatever it computes in."""

    def next_state(self, state, y, z):
        return Kept(y[:, -1].float().to(y.dtype))


@dataclass
class Everything(State):
    last: torch.Tensor
    past: torch.Tensor


class GrowingState(Sound):
    """Claims a bounded state and keeps all of its inputs."""

    def next_state(self, state, y, z):
        return Everything(y[:, -1], torch.cat([state.past, z], dim=1))

    def init_state(self, batch_size, *, device=None, dtype=None):
        zeros = torch.zeros(batch_size, self.d_model, dtype=dtype or self.rate.dtype)
        return Everything(zeros, zeros[:, None][:, :0])


class MaskMultiplied(Sound):
    """Multiplies by the mask: 0 times NaN is NaN."""

    def enter(self, x, real):
        return self.in_proj(x) if real is None else self.in_proj(x) * real


class BiasAtPadding(Sound):
    """Hides padding before a projection whose bias brings it back."""

    def __init__(self):
        super().__init__()
        self.in_proj = nn.Linear(WIDTH, WIDTH)
        nn.init.ones_(self.in_proj.bias)

    def enter(self, x, real):
        return self.in_proj(x if real is None else torch.where(real, x, 0.0))


class MaskIgnored(Sound):
    """Does not look at the mask."""

    def enter(self, x, real):
        return self.in_proj(x)


class SoftmaxOfNothing(Sound):
    """Attends with -inf at all that is hidden; a row of padding is a softmax of nothing."""

    traits = replace(CAUSAL, streaming=False, bounded_state=False)

    def forward(self, x, causal=True, attention_mask=None, *, state=None):
        steps = x.shape[1]
        x = x if attention_mask is None else torch.where(attention_mask.bool()[..., None], x, 0.0)
        z = self.in_proj(x)
        hidden = torch.ones(steps, steps, dtype=torch.bool).triu(1)[None]
        if attention_mask is not None:
            hidden = hidden | ~attention_mask.bool()[:, None]
        scores = (z @ (z * torch.sigmoid(self.rate)).mT).masked_fill(hidden, -math.inf)
        return self.out_proj(scores.softmax(-1) @ z)


class BatchStatistics(Sound):
    """Normalises with the batch's statistics."""

    def leave(self, y, x, real):
        return super().leave(y - y.mean(0, keepdim=True), x, real)


class BatchStatisticsInTraining(Sound):
    """Normalises with statistics of the batch in training, with running ones later."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(WIDTH)

    def leave(self, y, x, real):
        return super().leave(self.norm(y.transpose(1, 2)).transpose(1, 2), x, real)


class ScaledInTraining(Sound):
    """Computes something else in training."""

    def leave(self, y, x, real):
        return super().leave(2 * y if self.training else y, x, real)


class RootOfPower(Sound):
    """Amplitude as sqrt(re^2 + im^2): its gradient at silence is NaN."""

    def leave(self, y, x, real):
        return super().leave((y.square() + y.roll(1, -1).square()).sqrt(), x, real)


class DirectionOfNothing(Sound):
    """Divides by an amplitude that can be zero."""

    def leave(self, y, x, real):
        return super().leave(y / y.norm(dim=-1, keepdim=True), x, real)


class DeadParameter(Sound):
    """Owns a parameter that nothing reads."""

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.ones(3))


class DetachedParameter(Sound):
    """Rounds what a parameter decides: it never learns."""

    def __init__(self):
        super().__init__()
        self.kept = nn.Parameter(torch.tensor(0.7))

    def leave(self, y, x, real):
        return super().leave(y * torch.sigmoid(self.kept).round(), x, real)


class InfiniteGradient(Sound):
    """A learned amplitude sqrt((g relu(y))^2), whose gradient is NaN wherever relu is silent."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(0.5))

    def leave(self, y, x, real):
        return super().leave(y + (self.gain * torch.relu(y)).square().sqrt(), x, real)


class OneWay(Sound):
    """Claims both directions and looks back only."""

    traits = replace(CAUSAL, bidirectional=True)


MUTANTS = [
    (CircularConvolution, "prefix"),
    (CircularConvolution, "leak"),
    (WholeSpectrum, "prefix"),
    (WholeSpectrum, "leak"),
    (ByLength, "prefix"),
    (FromTheEnd, "prefix"),
    (LatentLeak, "prefix"),
    (LatentLeak, "leak"),
    (CancellingLeak, "leak"),
    (LeakInTraining, "leak"),
    (KeptByRank, "leak"),
    (EachOnItsOwn, "mixing"),
    (WithinChunks, "mixing"),
    (OffByOne, "streaming"),
    (StateChangedInPlace, "streaming"),
    (SingleState, "streaming"),
    (HalfState, "streaming in float32"),
    (GrowingState, "bounded state"),
    (MaskMultiplied, "padding"),
    (BiasAtPadding, "padding"),
    (MaskIgnored, "padding"),
    (SoftmaxOfNothing, "padding"),
    (BatchStatistics, "batch"),
    (BatchStatisticsInTraining, "batch"),
    (ScaledInTraining, "train equals eval"),
    (RootOfPower, "silence"),
    (DirectionOfNothing, "silence"),
    (DeadParameter, "aliveness"),
    (DetachedParameter, "aliveness"),
    (InfiniteGradient, "aliveness"),
    (OneWay, "both directions"),
]
