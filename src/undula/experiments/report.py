"""A report of trained models side by side: one HTML file that needs nothing else."""

import base64
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from undula.audit.finding import Finding, failures
from undula.audit.run import audit_language_model
from undula.bench.environment import make_records
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.experiments.pictures import filter_pictures, learning, wave_pictures
from undula.experiments.run import Run, load_run, read_metrics
from undula.experiments.sample import Sampling, continuation
from undula.files import write_flushed
from undula.training.records import Line
from undula.viz.curves import learning_curves
from undula.viz.style import png

PICTURE_WIDTH = 1800
"""Pixels; shown at about half that width, so that it is sharp on dense screens."""

CAPTIONS = {
    "learning curves": "Bits per byte over training steps; lower is better. Both axes show the same range.",
    "spectrum and phases": "The waves that the encoder makes of prompt and continuation above: each dot is "
    "a harmonic at its mean frequency and amplitude, bars reach from the 10th to the 90th percentile. Right: the "
    "direction of its mean phase; near the rim the phase hardly changes from token to token, near the centre it takes "
    "every direction.",
    "waves of a passage": "Every column is the wave of one token: its harmonics' frequencies, amplitudes and phases.",
    "spectrogram of a passage": "The passage as sound: each token's wave lasts one step and glides into the next.",
    "filters": "Long filters of the first layer that has them: responses to a single impulse, gains, and how long each "
    "channel remembers.",
    "poles": "The damped waves that those filters are sums of. The nearer to the circle, the longer the memory.",
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Examined:
    """A trained model and what was found out about it.

    Args:
        run: model, tokenizer and configuration.
        lines: its metrics.
        findings: its audit.
        prompt: what it was asked to continue.
        ids: tokens of prompt and continuation.
    """

    run: Run
    lines: Sequence[Line]
    findings: Sequence[Finding]
    prompt: str
    ids: Sequence[int]

    @property
    def name(self) -> str:
        """The run's name."""
        return self.run.config.name

    @property
    def score(self) -> Line:
        """The last score of the held-out text."""
        scores = [line for line in self.lines if line.get("validation_loss") is not None]
        if not scores:
            raise ValueError(f"{self.run.folder} has no score of held-out text yet; resume the run until it has one")
        return scores[-1]

    @property
    def bits_per_byte(self) -> float:
        """The last score in bits per byte."""
        return float(self.score["validation_bits_per_byte"] or 0)

    @property
    def continued(self) -> str:
        """The continuation, without the prompt."""
        return str(self.run.tokenizer.decode(list(self.ids), skip_special_tokens=True))[len(self.prompt) :]

    @property
    def parameters(self) -> int:
        """Trained numbers of the model."""
        return sum(p.numel() for p in self.run.model.parameters())

    @property
    def tokens_per_second(self) -> float:
        """Median speed of training."""
        speeds = [line["tokens_per_second"] for line in self.lines if line.get("tokens_per_second")]
        return statistics.median(float(speed or 0) for speed in speeds)


def examine(folder: Path, prompt: str, sampling: Sampling) -> Examined:
    """Audit the model of a run and let it continue a prompt.

    Raises:
        FileNotFoundError: when the folder is no run, or has no checkpoint yet.
        ValueError: when every checkpoint is damaged, or the tokenizer does not know the prompt.
    """
    run = load_run(folder)
    return Examined(
        run=run,
        lines=read_metrics(folder),
        findings=audit_language_model(run.model),
        prompt=prompt,
        ids=continuation(run, prompt, sampling),
    )


def verdict(models: Sequence[Examined]) -> str:
    """Return in a sentence how the first model does against the others; models that fail their audit are not ranked."""
    for model in models:
        failed = ", ".join(finding.name for finding in failures(model.findings))
        if failed:
            return f"{model.name} fails its audit ({failed}): its score says nothing, so nothing is ranked here."
    first, *others = models
    said = [f"{first.name} needs {first.bits_per_byte:.3f} bits for a byte of held-out text"]
    for other in others:
        bits = _change(first.bits_per_byte, other.bits_per_byte, "less")
        size = _change(first.parameters, other.parameters, "fewer")
        said.append(f"{bits} than {other.name} ({other.bits_per_byte:.3f}) with {size} parameters")
    return ", ".join(said) + "."


def write_report(models: Sequence[Examined], path: Path, title: str) -> None:
    """Write the report of models that were trained on the same text.

    Args:
        models: the one that the report is about, then those it is held against.
        path: of the HTML file.
        title: its headline.

    Raises:
        ValueError: when there is no model, or one has no score yet.
    """
    if not models:
        raise ValueError("a report needs at least one model; got none")
    figures = pictures(models)
    configs = [to_dict(model.run.config) for model in models]
    environment = Environment(
        loader=PackageLoader("undula.experiments", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template("report.html.jinja").render(
        title=title,
        verdict=verdict(models),
        models=[_row(model) for model in models],
        figures=[_figure(name, figure) for name, figure in figures.items()],
        properties=_properties(models),
        differences=_differences([_flat(config) for config in configs]),
        configs=[json.dumps(config, indent=1) for config in configs],
        facts=_facts(models),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_flushed(path, html)


def pictures(models: Sequence[Examined]) -> dict[str, Figure]:
    """Return the pictures of a report by name: curves of all, waves and filters of the first."""
    first = models[0]
    figures = {"learning curves": learning_curves([learning(model.name, model.lines) for model in models])}
    figures.update(wave_pictures(first.run, first.ids))
    filters = filter_pictures(first.run.model)
    chosen = {name.partition(" ")[0]: figure for name, figure in reversed(filters.items()) if name.endswith(" 1")}
    return {**figures, **dict(reversed(chosen.items()))}


def _change(value: float, reference: float, less: str) -> str:
    """Return by how much a value is below or above another one; the space before the sign does not break."""
    change = 100 * (value / reference - 1)
    return f"{abs(change):.1f}\u00a0% {less if change < 0 else 'more'}"


def _row(model: Examined) -> dict[str, Any]:
    passed = [finding.passed for finding in model.findings]
    speed = model.tokens_per_second
    return {
        "name": model.name,
        "parameters": f"{model.parameters:,}",
        "bits_per_byte": f"{model.bits_per_byte:.4f}",
        "perplexity": f"{model.score['validation_perplexity']:.3f}",
        "speed": f"{speed:,.0f}",
        "passed": passed.count(True),
        "failed": passed.count(False),
        "not_claimed": passed.count(None),
        "prompt": model.prompt,
        "continued": model.continued,
    }


def _figure(name: str, figure: Figure) -> dict[str, str]:
    data = base64.b64encode(png(figure, PICTURE_WIDTH)).decode()
    return {
        "name": name,
        "title": name.capitalize(),
        "caption": CAPTIONS[name],
        "source": f"data:image/png;base64,{data}",
    }


def _properties(models: Sequence[Examined]) -> list[dict[str, Any]]:
    """One row for each audited property, one cell for each model."""
    names = dict.fromkeys(finding.name for model in models for finding in model.findings)
    by_model = [{finding.name: finding for finding in model.findings} for model in models]
    return [{"name": name, "cells": [_cell(found.get(name)) for found in by_model]} for name in names]


def _cell(finding: Finding | None) -> dict[str, str]:
    if finding is None:
        return {"state": "none", "text": "not measured", "detail": ""}
    if finding.passed is None:
        return {"state": "none", "text": "n/a", "detail": finding.detail}
    state, word = ("pass", "pass") if finding.passed else ("fail", "FAIL")
    return {
        "state": state,
        "text": f"{word}  {finding.value:.2g} (limit {finding.limit:.2g})",
        "detail": finding.detail,
    }


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, dict) and value:
            flat.update(_flat(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = json.dumps(value)
    return flat


def _differences(configs: Sequence[Mapping[str, str]]) -> list[tuple[str, list[str]]]:
    """The values in which configurations differ, by key."""
    keys = dict.fromkeys(key for config in configs for key in config)
    rows = [(key, [config.get(key, "") for config in configs]) for key in keys]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def _facts(models: Sequence[Examined]) -> list[tuple[str, str]]:
    """What was trained on what, where, with which versions."""
    config, record = models[0].run.config, _record(models)
    data, where, windows = config.data, record.machine, config.batch_size * config.accumulation
    tokens = config.steps * windows * data.block_size
    cores = f"{where['cores']} cores, {where['threads']} of them used by torch"
    return [
        ("text", f"{data.source}, {data.tokenizer} tokens, {100 * data.val_fraction:g}\u00a0% held out"),
        (
            "training",
            f"{config.steps:,} steps of {windows} windows of {data.block_size} tokens: {tokens:,} tokens each",
        ),
        ("machine", f"{where['cpu']}, {cores}, GPU: {where['gpu'] or 'none'}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in record.versions.items())),
        ("commit", f"{record.commit or 'not from a repository'}{' with changes' if record.dirty else ''}"),
        ("written", record.date),
    ]


def _record(models: Sequence[Examined]) -> Record:
    """A record of here and now; nothing of it is written, the report reads it."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    setting = BenchSetting(device=device, threads=torch.get_num_threads())
    figures = {model.name: model.bits_per_byte for model in models}
    return make_records("report", [({}, figures)], setting)[0]
