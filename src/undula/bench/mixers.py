"""Time, memory and error of mixers, beside fused attention."""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

import undula.mixers  # noqa: F401  (fills the registry)
from undula.bench.cases import MixerCase, MixerChoice
from undula.bench.environment import Config, make_records
from undula.bench.harness import Contestant, interleaved, measuring, peak_memory, precision, relative_error, speedup
from undula.bench.peers import SDPALayer
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.mixers.base import MIXERS, build_mixer
from undula.shapes import Sequence

PEER = "torch SDPA"


def bench_mixers(
    name: str, case: MixerCase, setting: BenchSetting, memory: bool = True, kind: str = "mixers"
) -> list[Record]:
    """Return a record for each mixer and length; the peer is fused attention between two projections.

    Figures: time forward, and forward and backward; how many times faster than the peer; rise of the peak of memory;
    largest error of output and input gradient against the same mixer in float64, over their root mean square.

    Args:
        name: the case's name, for the records.
        case: sizes.
        setting: how to measure.
        memory: measure the peak of memory too, each in a process of its own.
        kind: kind of measurement that the records name.
    """
    measured = [pair for length in case.lengths for pair in _at_length(name, case, length, setting, memory)]
    return make_records(kind, measured, setting)


def _at_length(
    name: str, case: MixerCase, length: int, setting: BenchSetting, memory: bool
) -> list[tuple[Config, Config]]:
    chosen = choices(case)
    contestants = (PEER, *chosen)
    with measuring(setting):
        built = {mixer: _build(mixer, case, setting) for mixer in contestants}
        x = _input(case, length, setting)
        forward = {m: Contestant(_forward(built[m], x, setting)) for m in contestants}
        both = {m: Contestant(_backward(built[m], x, setting)) for m in contestants}
        times, times_both = interleaved(forward, setting), interleaved(both, setting)
        errors = {mixer: _errors(built[mixer], x, setting) for mixer in contestants}
    sizes = {k: v for k, v in to_dict(case).items() if k not in ("lengths", "mixers")}
    measured = []
    for mixer in contestants:
        peaks = [_peak(mixer, case, length, backward, setting) if memory else None for backward in (False, True)]
        figures = {
            "forward": {**times[mixer].figures(), "ratio": speedup(times[mixer], times[PEER]), "peak_bytes": peaks[0]},
            "backward": {
                **times_both[mixer].figures(),
                "ratio": speedup(times_both[mixer], times_both[PEER]),
                "peak_bytes": peaks[1],
            },
            "error": errors[mixer][0],
            "gradient_error": errors[mixer][1],
        }
        options = dict(chosen[mixer].options) if mixer in chosen else {}
        config = {"case": name, "model": mixer, "options": options, "peer": PEER, "length": length, **sizes}
        measured.append((config, figures))
    return measured


def choices(case: MixerCase) -> Mapping[str, MixerChoice]:
    """Return what a case measures; by default the mixers of its width that look its way."""
    if case.mixers is not None:
        return case.mixers
    traits = {name: MIXERS[name].traits for name in MIXERS}
    looks = {name: t.causal if case.causal else t.bidirectional for name, t in traits.items()}
    fitting = [name for name, t in traits.items() if looks[name] and case.d_model % t.width_multiple == 0]
    return {name: MixerChoice(name=name, options={}) for name in fitting}


def _build(name: str, case: MixerCase, setting: BenchSetting) -> nn.Module:
    torch.manual_seed(0)
    if name == PEER:
        return SDPALayer(case.d_model, case.num_heads, causal=case.causal).to(setting.device)
    choice = choices(case)[name]
    # In evaluation mode: a selector's noise is neither in what is timed nor in what is compared with float64.
    mixer = build_mixer(choice.name, case.d_model, case.num_heads, **choice.options).to(setting.device).eval()
    return mixer if case.causal else BothWays(mixer)


class BothWays(nn.Module):
    """A mixer that is called with causal=False."""

    def __init__(self, mixer: nn.Module) -> None:
        super().__init__()
        self.mixer = mixer

    def forward(self, x: Sequence) -> Sequence:
        """Mix, looking both ways."""
        return self.mixer(x, False)


def _input(case: MixerCase, length: int, setting: BenchSetting) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(case.batch_size, length, case.d_model, generator=generator).to(setting.device)


def _forward(mixer: nn.Module, x: Tensor, setting: BenchSetting) -> Callable[[], Tensor]:
    @torch.no_grad()
    def run() -> Tensor:
        with precision(setting):
            return mixer(x)

    return run


def _backward(mixer: nn.Module, x: Tensor, setting: BenchSetting) -> Callable[[], Tensor]:
    """Forward and backward, to the input and to all parameters; gives the input's gradient."""
    leaf = x.detach().clone().requires_grad_()
    generator = torch.Generator().manual_seed(1)
    weights = torch.randn(x.shape, generator=generator).to(x)

    def run() -> Tensor:
        leaf.grad = None
        mixer.zero_grad()
        with precision(setting):
            y = mixer(leaf)
        y.backward(weights.to(y.dtype))
        return leaf.grad if leaf.grad is not None else torch.zeros_like(leaf)

    return run


def _errors(mixer: nn.Module, x: Tensor, setting: BenchSetting) -> tuple[float, float]:
    """Errors of output and input gradient against float64."""
    exact_setting = BenchSetting(device=setting.device)
    exact = copy.deepcopy(mixer).double()
    output = relative_error(_forward(mixer, x, setting)(), _forward(exact, x.double(), exact_setting)())
    gradient = relative_error(_backward(mixer, x, setting)(), _backward(exact, x.double(), exact_setting)())
    return output, gradient


def _peak(name: str, case: MixerCase, length: int, backward: bool, setting: BenchSetting) -> int:
    return peak_memory(_prepare, name, case, length, backward, setting, setting=setting)


def _prepare(name: str, case: MixerCase, length: int, backward: bool, setting: BenchSetting) -> Callable[[], Tensor]:
    mixer, x = _build(name, case, setting), _input(case, length, setting)
    return _backward(mixer, x, setting) if backward else _forward(mixer, x, setting)
