"""Time, memory and error of mixers, beside fused attention."""

import copy
import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

import undula.mixers  # noqa: F401  (fills the registry)
from undula.bench.cases import MixerCase, MixerChoice
from undula.bench.environment import Config, make_records, now
from undula.bench.harness import Contestant, interleaved, measuring, peak_memory, precision, relative_error, speedup
from undula.bench.peers import MIXER_PEERS, PEER_COSTS
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.mixers.base import MIXERS, Mixer, build_mixer, find_mixer
from undula.names import unknown_name

LIMIT = 60.0
"""Seconds that one pass may take, forward or forward and backward; what would take longer is not run, and says so."""

PROBE = 1024
"""Steps at which a mixer is timed first, to know what longer ones would take."""

WAYS = ("forward", "backward")
"""What is timed: a pass forward, and one forward and backward."""

NOTHING = {"seconds": None, "ratio": None, "ratios": {}, "peak_bytes": None}


def bench_mixers(
    name: str,
    case: MixerCase,
    setting: BenchSetting,
    memory: bool = True,
    kind: str = "mixers",
    limit: float = LIMIT,
) -> Iterator[Record]:
    """Give a record for each mixer and length, when that length is done; the first peer is fused attention.

    Figures: time forward, and forward and backward; how many times faster than each peer; rise of the peak of memory;
    largest error of output and input gradient against the same mixer in float64, over their root mean square. Where a
    pass would take too long, its figures are null; so are errors, which take six passes. `skipped` says how long a pass
    forward and backward would have taken. Long sequences have fewer rounds, as many as take ten times the limit.

    Args:
        name: the case's name, for the records.
        case: sizes.
        setting: how to measure.
        memory: measure the peak of memory too, each in a process of its own.
        kind: kind of measurement that the records name.
        limit: seconds that a pass may take.

    Raises:
        ValueError: when the limit is not positive.
    """
    if limit <= 0:
        raise ValueError(f"limit={limit}; wanted a positive number of seconds")
    known, date = _probed(case, setting), now()
    for length in sorted(case.lengths):
        expected = {way: {m: _expected(m, case, point, length) for m, point in known[way].items()} for way in WAYS}
        passes = [seconds for way in WAYS for seconds in expected[way].values() if seconds <= limit]
        here = fewer_rounds(setting, passes, limit)
        found = _at_length(name, case, length, here, memory, expected, limit)
        for config, figures in found:
            for way in WAYS:
                if figures[way]["seconds"] is not None:
                    known[way][config["model"]] = length, figures[way]["seconds"]
        yield from make_records(kind, found, here, date=date)


def fewer_rounds(setting: BenchSetting, passes: Sequence[float], limit: float) -> BenchSetting:
    """Return the setting with so many rounds that all of them take about ten times the limit, one at least.

    Args:
        setting: how to measure, with the most rounds.
        passes: seconds of each that is run in a round.
        limit: seconds.
    """
    rounds = int(10 * limit / sum(passes)) if passes else setting.repeats
    return dataclasses.replace(setting, repeats=max(1, min(setting.repeats, rounds)))


def _probed(case: MixerCase, setting: BenchSetting) -> dict[str, dict[str, tuple[int, float]]]:
    """For each way: a short length, and the seconds of one pass of every contestant."""
    steps, once = min(PROBE, *case.lengths), dataclasses.replace(setting, repeats=1, warmup=1)
    with measuring(setting):
        x = _input(case, steps, setting)
        built = {mixer: _build(mixer, case, steps, setting) for mixer in contestants(case)}
        times = {way: interleaved(_passes(built, way, x, setting), once) for way in WAYS}
    return {way: {mixer: (steps, timing.median) for mixer, timing in found.items()} for way, found in times.items()}


def _passes(built: Mapping[str, nn.Module], way: str, x: Tensor, setting: BenchSetting) -> dict[str, Contestant]:
    run = _forward if way == "forward" else _backward
    return {name: Contestant(run(mixer, x, setting)) for name, mixer in built.items()}


def _expected(mixer: str, case: MixerCase, known: tuple[int, float], length: int) -> float:
    """The seconds of a pass, from those at another length and what the mixer claims of its cost."""
    chosen = choices(case)
    cost = find_mixer(chosen[mixer].name).traits.cost if mixer in chosen else PEER_COSTS[mixer]
    return known[1] * (length / known[0]) ** (2 if "T^2" in cost else 1)


def contestants(case: MixerCase) -> tuple[str, ...]:
    """Return the names of all that a case measures, peers first."""
    return *case.peers, *choices(case)


def _at_length(
    name: str,
    case: MixerCase,
    length: int,
    setting: BenchSetting,
    memory: bool,
    expected: Mapping[str, Mapping[str, float]],
    limit: float,
) -> list[tuple[Config, Config]]:
    chosen, x = choices(case), _input(case, length, setting)
    running = {way: [mixer for mixer in contestants(case) if expected[way][mixer] <= limit] for way in WAYS}
    with measuring(setting):
        built = {m: _build(m, case, length, setting) for m in {*running["forward"], *running["backward"]}}
        passes = {way: _passes({m: built[m] for m in running[way]}, way, x, setting) for way in WAYS}
        times = {way: interleaved(passes[way], setting) for way in WAYS}
        few = [mixer for mixer in running["backward"] if 6 * expected["backward"][mixer] <= limit]
        errors = {mixer: _errors(built[mixer], x, setting) for mixer in few}
    sizes = {k: v for k, v in to_dict(case).items() if k not in ("lengths", "mixers", "peers")}
    measured = []
    for mixer in contestants(case):
        output_error, gradient_error = errors.get(mixer, (None, None))
        figures: Config = {"error": output_error, "gradient_error": gradient_error}
        for way, found in times.items():
            figures[way] = NOTHING
            if mixer in found:
                peak = _peak(mixer, case, length, way == "backward", setting) if memory else None
                ratios = {peer: speedup(found[mixer], found[peer]) for peer in case.peers if peer in found}
                shown = {"ratio": ratios.get(case.peers[0]), "ratios": ratios, "peak_bytes": peak}
                figures[way] = {**found[mixer].figures(), **shown}
        if mixer not in times["backward"]:
            figures["skipped"] = f"would take about {expected['backward'][mixer]:,.0f} s"
        options = dict(chosen[mixer].options) if mixer in chosen else {}
        config = {"case": name, "model": mixer, "options": options, "peer": case.peers[0], "length": length, **sizes}
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


def left_out(case: MixerCase) -> dict[str, str]:
    """Return registered mixers that a case of all of them has no room for, and why."""
    if case.mixers is not None:
        return {}
    way = "back" if case.causal else "both ways"
    reasons = {}
    for name in sorted(set(MIXERS) - set(choices(case))):
        traits = MIXERS[name].traits
        looks = traits.causal if case.causal else traits.bidirectional
        fits = f"its width is a multiple of {traits.width_multiple}"
        reasons[name] = fits if looks else f"it does not look {way}"
    return reasons


def only(case: MixerCase, names: Sequence[str]) -> MixerCase:
    """Return the case with some of its mixers.

    Raises:
        ValueError: for a name that it does not have; says the nearest.
    """
    all_of_it = choices(case)
    for name in names:
        if name not in all_of_it:
            raise unknown_name("mixer", name, all_of_it)
    return dataclasses.replace(case, mixers={name: all_of_it[name] for name in names})


def _build(name: str, case: MixerCase, length: int, setting: BenchSetting) -> nn.Module:
    torch.manual_seed(0)
    if name in case.peers:
        return MIXER_PEERS[name](case.d_model, case.num_heads, length, case.causal).to(setting.device)
    choice = choices(case)[name]
    # In evaluation mode: a selector's noise is neither in what is timed nor in what is compared with float64.
    mixer = build_mixer(choice.name, case.d_model, case.num_heads, **choice.options).to(setting.device).eval()
    return mixer if case.causal else BothWays(mixer, length)


class BothWays(nn.Module):
    """A mixer that is called with causal=False; one of grids is given a square one.

    Args:
        mixer: looks both ways.
        length: steps, or cells of the square.

    Raises:
        ValueError: when cells make no square.
    """

    def __init__(self, mixer: Mixer, length: int) -> None:
        super().__init__()
        self.mixer = mixer
        side = math.isqrt(length)
        self.given = {"grid": (side, side)} if mixer.traits.grid else {}
        if self.given and side * side != length:
            raise ValueError(f"{length} steps are the cells of no square; grids are measured at lengths such as 1024")

    def forward(self, x: Tensor) -> Tensor:
        """Mix, looking both ways."""
        return self.mixer(x, False, **self.given)


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
    mixer, x = _build(name, case, length, setting), _input(case, length, setting)
    return _backward(mixer, x, setting) if backward else _forward(mixer, x, setting)
