"""Is every option read?"""

import inspect
from collections.abc import Mapping
from typing import Any

import torch

from undula.audit.finding import Finding, at_most, not_measured
from undula.audit.mixer_subject import MixerSubject
from undula.mixers.base import MIXERS, Mixer, build_mixer, mixer_options

WIDTH, HEADS = 24, 4
"""Size of the mixers that are built to try options out."""


def audit_options(
    mixer: str, others: Mapping[str, Any] | None = None, base: Mapping[str, Any] | None = None
) -> list[Finding]:
    """Return one finding for each option of a registered mixer: whether another value changes the output at all.

    Args:
        mixer: name in the registry.
        others: a value other than the default, by option; what is missing is derived from the default.
        base: options that stay set throughout.
    """
    return [_option(mixer, name, others or {}, base or {}) for name in mixer_options(MIXERS[mixer])]


def another(default: Any) -> Any:
    """Return a value other than a default; the default itself where none can be guessed."""
    if isinstance(default, bool):
        return not default
    if isinstance(default, int):
        return 2 * default or 3
    if isinstance(default, float):
        return default / 2 or 0.3
    return 1 if default is None else default


def _option(mixer: str, name: str, others: Mapping[str, Any], base: Mapping[str, Any]) -> Finding:
    label = f"option {name}"
    default = mixer_options(MIXERS[mixer])[name]
    if default is inspect.Parameter.empty:
        return not_measured(label, "not measured: it has no default")
    first = base.get(name, default)
    # A width that is not given follows the model's.
    second = others.get(name, 2 * WIDTH if first is None and name.startswith("d_") else another(first))
    if second == first:
        return not_measured(label, f"not measured: no other value known than {first!r}")
    same = _behaves(mixer, {**base, name: first}) == _behaves(mixer, {**base, name: second})
    return at_most(
        label, float(same), 0.0, f"outputs alike with {first!r} and {second!r}: {'all' if same else 'not all'}"
    )


def _behaves(mixer: str, options: Mapping[str, Any]) -> list[bytes]:
    """Outputs to the last bit, in evaluation and in training mode, in every direction that is supported."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built: Mixer = build_mixer(mixer, WIDTH, HEADS, **options)
        seen = []
        for causal in [True] * built.traits.causal + [False] * built.traits.bidirectional:
            subject = MixerSubject(built, causal)
            x = subject.inputs(2, 11)
            with torch.no_grad():
                seen.append(subject.run(x))
                with subject.training():
                    torch.manual_seed(0)
                    seen.append(subject.run(x))
        return [y.numpy().tobytes() for y in seen]
