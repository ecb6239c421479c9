"""How records of each kind become a table in Markdown (no torch here)."""

import math
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from undula.bench.records import Record

Cells = Sequence[object]


def markdown(head: Sequence[str], rows: Iterable[Cells]) -> str:
    """Return a table in Markdown, the first column on the left."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def _compare(run: list[Record]) -> str:
    record = run[0]
    rows, shared = record.figures["rows"], record.config["shared"]
    timed = {row["model"]: row for row in rows if row["budget"] == "equal time"}
    base = record.config["baseline"]
    steps = (
        f"{shared['steps']:,} steps of {shared['batch_size'] * shared['accumulation']} x {shared['data']['block_size']}"
    )
    caption = f"**{record.config['title']}**: {rows[0]['seeds']} seeds, {steps} tokens"
    head = ["model", "parameters", "nats per token", "bits per byte", f"against {base}", "in equal time"]
    head += ["tokens/s", "x", "peak MB", "audit"]
    body = [
        [
            row["model"],
            _count(row["parameters"]),
            _with_spread(row["loss"], row["loss_spread"]),
            _with_spread(row["bits_per_byte"], row["bits_per_byte_spread"]),
            _number(row["against_baseline"], "+.1%"),
            _number(timed.get(row["model"], {}).get("loss"), ".3f"),
            _number(row["tokens_per_second"], ",.0f"),
            _number(row["speed_ratio"], ".2f"),
            _megabytes(row["peak_bytes"]),
            row["audit"] + ("; not ranked" if row["reason"] else ""),
        ]
        for row in rows
        if row["budget"] == "equal steps"
    ]
    notes = "".join(f"\n{warning}." for warning in record.figures["warnings"])
    return f"{caption}; {_made(record)}\n\n{markdown(head, body)}" + (f"\n{notes}" if notes else "")


def _ablation(run: list[Record]) -> str:
    effects = run[0].figures["effects"]
    body = [
        [
            effect["experiment"],
            effect["parent"],
            effect["factor"],
            f"{effect['difference']:+.3f}" + _plus_minus(effect["spread"]),
            effect["verdict"],
        ]
        for effect in effects
    ]
    caption = f"**What each factor brings** in {run[0].config['title']}: {max(e['seeds'] for e in effects)} seeds"
    table = markdown(["experiment", "against", "factor", "nats per token", "verdict"], body)
    return f"{caption}; {_made(run[0])}\n\n{table}"


def _train(run: list[Record]) -> str:
    plan, peer = run[0].config["plan"], run[0].config["peer"]
    tokens = f"{plan['batch_size']} x {plan['block_size']} tokens"
    caption = f"**Train step** of {tokens} (`bench train {run[0].config['case']}`); {_made(run[0])}"
    head = ["model", "parameters", "tokens/s", f"x {peer}", "peak MB"]
    body = [
        [
            r.config["model"],
            _count(r.figures["parameters"]),
            _number(r.figures["tokens_per_second"], ",.0f"),
            _number(r.figures["ratio"], ".2f"),
            _megabytes(r.figures["peak_bytes"]),
        ]
        for r in run
    ]
    return f"{caption}\n\n{markdown(head, body)}"


def _decode(run: list[Record]) -> str:
    contexts = sorted({record.config["context"] for record in run})
    peer = run[0].config["peer"]
    caption = f"**Decoding** behind a context, tokens/s (x {peer}) and cache in MB; {_made(run[0])}"
    head = ["model", *(f"{context:,} tokens" for context in contexts)]
    return f"{caption}\n\n{markdown(head, _grid(run, 'context', contexts, _decode_cell))}"


def _decode_cell(figures: dict[str, Any]) -> str:
    speed, ratio = _number(figures["tokens_per_second"], ",.0f"), _number(figures["ratio"], ".2f")
    return f"{speed} ({ratio}), {_number(figures['cache_bytes'] / 1e6, '.2f')}"


def _mixers(run: list[Record]) -> str:
    lengths = sorted({record.config["length"] for record in run})
    config = run[0].config
    caption = f"**Mixers** at width {config['d_model']}, forward and backward, ms (x {config['peer']}), peak MB"
    caption += "; growth: exponent of the time in the number of steps, from 16,384 on or over all"
    head = ["mixer", *(f"{length:,} steps" for length in lengths), "growth", "largest error"]
    rows = _grid(run, "length", lengths, _mixer_cell)
    known = [(r.config["model"], r.figures["error"]) for r in run if r.figures["error"] is not None]
    errors = {row[0]: max((e for model, e in known if model == row[0]), default=None) for row in rows}
    grown = {model: growth(points) for model, points in by_model(run).items()}
    body = [[*row, _number(grown.get(row[0]), ".2f"), _number(errors[row[0]], ".0e")] for row in rows]
    return f"{caption}; {_made(run[0])}\n\n{markdown(head, body)}"


def by_model(run: Sequence[Record], figure: str = "seconds", unit: float = 1.0) -> dict[str, list[tuple[int, float]]]:
    """Return lengths and a figure of forward and backward, shortest first, by mixer; what was not run is left out.

    Args:
        run: records of mixers.
        figure: such as "seconds" or "peak_bytes".
        unit: what the figure is multiplied with.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    for record in run:
        value = record.figures["backward"][figure]
        if value:  # a peak of 0 bytes has no place on a logarithmic scale
            found.setdefault(record.config["model"], []).append((record.config["length"], unit * value))
    return {model: sorted(points) for model, points in found.items()}


def growth(points: Sequence[tuple[int, float]], least: int = 16384) -> float | None:
    """Return the exponent p of seconds ~ length^p, fitted on a logarithmic scale; None for fewer than two lengths.

    Args:
        points: lengths and seconds.
        least: shortest length that counts, where there are two from it on; otherwise all count.
    """
    long = [point for point in points if point[0] >= least]
    chosen = long if len(long) > 1 else points
    if len(chosen) < 2:
        return None
    xs, ys = zip(*((math.log(length), math.log(seconds)) for length, seconds in chosen), strict=True)
    return statistics.linear_regression(xs, ys).slope


def _mixer_cell(figures: dict[str, Any]) -> str:
    if "skipped" in figures:
        return figures["skipped"]
    both = figures["backward"]
    milliseconds, ratio = _number(both["seconds"] * 1e3, ",.1f"), _number(both["ratio"], ".2f")
    return f"{milliseconds} ({ratio}), {_megabytes(both['peak_bytes'])}"


def _phase(run: list[Record]) -> str:
    lengths = sorted({record.config["length"] for record in run})
    config = run[0].config
    caption = f"**Phase coherence** at width {config['d_model']} in {config['num_heads']} heads"
    caption += f", ms forward (x {config['peer']}) and with backward (x), peak MB"
    head = ["scores", *(f"{length:,} steps" for length in lengths)]
    return f"{caption}; {_made(run[0])}\n\n{markdown(head, _grid(run, 'length', lengths, _phase_cell))}"


def _phase_cell(figures: dict[str, Any]) -> str:
    forward = figures["forward"]
    return f"{_number(forward['seconds'] * 1e3, ',.1f')} ({_number(forward['ratio'], '.2f')}); {_mixer_cell(figures)}"


def _recall(kind: str) -> Callable[[list[Record]], str]:
    return lambda run: _recall_table(kind, run)


def _recall_table(kind: str, run: list[Record]) -> str:
    lengths = sorted({int(length) for record in run for length in record.figures["accuracy"]})
    config = run[0].config
    caption = f"**{kind}** ({config['case']}), right answers; trained on up to {config['train_length']:,} steps"
    head = ["model", "parameters", *(f"{length:,} steps" for length in lengths)]
    body = [
        [
            r.config["model"],
            _count(r.figures["parameters"]),
            *(_number(r.figures["accuracy"].get(str(length)), ".1%") for length in lengths),
        ]
        for r in {record.config["model"]: record for record in run}.values()
    ]
    return f"{caption}; {_made(run[0])}\n\n{markdown(head, body)}"


def _optimizers(run: list[Record]) -> str:
    figures, peer = run[0].figures, run[0].config["peer"]
    caption = f"**Optimizer step** of {_count(figures['parameters'])} parameters; {_made(run[0])}"
    head = ["optimizer", "ms a step", f"x {peer}", "state MB"]
    body = [
        [
            r.config["model"],
            _number(r.figures["seconds"] * 1e3, ",.1f"),
            _number(r.figures["ratio"], ".2f"),
            _megabytes(r.figures["state_bytes"]),
        ]
        for r in run
    ]
    return f"{caption}\n\n{markdown(head, body)}"


def _pieces(run: list[Record]) -> str:
    config, size = run[0].config, _count(run[0].figures["parameters"])
    lengths = sorted({record.config["length"] for record in run})
    caption = f"**Loss and gradients** of {size} parameters in pieces of {config['piece']:,} tokens, tokens/s, peak MB"
    head = ["model", *(f"{length:,} tokens" for length in lengths)]
    rows = _grid(
        run,
        "length",
        lengths,
        lambda figures: f"{_number(figures['tokens_per_second'], ',.0f')}, {_megabytes(figures['peak_bytes'])}",
    )
    return f"{caption}; {_made(run[0])}\n\n{markdown(head, rows)}"


def _wavelet(run: list[Record]) -> str:
    config = run[0].config
    shape = f"({config['batch_size']}, {config['channels']}, {config['length']})"
    caption = f"**Wavelets** {shape}, {config['wavelet']}, {config['levels']} levels, {config['mode']}; "
    head = ["library", "there and back ms", f"{config['peer']} x as fast", "peak MB"]
    head += ["with gradients ms", "x as fast", "peak MB", "largest error"]
    body = [
        [
            r.config["model"],
            *_wavelet_cells(r.figures["forward"]),
            *_wavelet_cells(r.figures["backward"]),
            f"{r.figures['error']:.1e}",
        ]
        for r in run
    ]
    return f"{caption}{_made(run[0])}\n\n{markdown(head, body)}"


def _wavelet_cells(figures: dict[str, Any] | None) -> list[str]:
    if figures is None:
        return ["", "", ""]
    ratio = _number(figures["ratio"], ".2f")
    return [_number(figures["seconds"] * 1e3, ",.0f"), ratio, _megabytes(figures["peak_bytes"])]


def _stacks(title: str) -> Callable[[list[Record]], str]:
    return lambda run: _stack_table(title, run)


def _stack_table(title: str, run: list[Record]) -> str:
    lengths = sorted({record.config["length"] for record in run})
    batches = {record.config["length"]: record.config["batch"] for record in run}
    config = run[0].config
    caption = f"**{title}**, {config['num_harmonics']} harmonics, forward and backward, ms (x {config['peer']})"
    head = ["model", "parameters", *(f"{batches[length]} x {length:,} steps" for length in lengths)]
    sizes = {record.config["model"]: _count(record.figures["parameters"]) for record in run}
    rows = [[model, sizes[model], *cells] for model, *cells in _grid(run, "length", lengths, _timed_cell)]
    return f"{caption}; {_made(run[0])}\n\n{markdown(head, rows)}"


def _timed_cell(figures: dict[str, Any]) -> str:
    return f"{_number(figures['seconds'] * 1e3, ',.1f')} ({_number(figures['ratio'], '.2f')})"


def _codec(run: list[Record]) -> str:
    config = run[0].config
    trained = f"{config['steps']:,} of {config['of_steps']:,} steps, {config['training_seconds'] / 60:.0f} minutes"
    heard = f"{run[0].figures['recordings']:,} held-out recordings of {config['source']}"
    caption = f"**Codec** {config['model']}, {heard}, {trained}"
    head = ["parameters", "numbers per sample", "SI-SDR in dB", "median", "lowest", "CPU seconds a second"]
    head += [f"in pieces of {1e3 * config['piece_seconds']:.0f} ms", "latency in ms"]
    body = [
        [
            _count(r.figures["parameters"]),
            _number(r.figures["numbers_per_sample"], ".2f"),
            *(_number(r.figures[key], ".2f") for key in ("si_sdr", "si_sdr_median", "si_sdr_lowest")),
            *(_number(r.figures[f"{how}_cpu_seconds_a_second"], ".3f") for how in ("whole", "pieces")),
            _number(1e3 * r.figures["latency_seconds"], ".0f"),
        ]
        for r in run
    ]
    return f"{caption}; {_made(run[0])}\n\n{markdown(head, body)}"


def _scored(title: str) -> Callable[[list[Record]], str]:
    """How models with scores of their own become a table."""

    def shown(run: list[Record]) -> str:
        newest_of = {(r.config["model"], r.config["seed"]): r for r in run}
        first = run[-1]
        train, scored = first.config["train"], first.figures["scored"]
        keys = [key for key in SCORES if key in first.figures]
        items = train["steps"] * train["batch_size"] * train["accumulation"]
        caption = f"**{title}** of {first.config['case']}: {scored:,} held out, {items:,} read in training"
        head = ["model", "parameters", "seeds", *(SCORES[key][0] for key in keys), "training seconds"]
        audited = "failed_audits" in first.figures
        head += ["audit"] if audited else []
        body = []
        for model in dict.fromkeys(model for model, _ in newest_of):
            figures = [record.figures for (name, _), record in newest_of.items() if name == model]
            cells = [_over_seeds([each[key] for each in figures], *SCORES[key][1:]) for key in keys]
            seconds = statistics.fmean(each["training_seconds"] for each in figures)
            row = [model, _count(figures[0]["parameters"]), len(figures), *cells, _number(seconds, ",.0f")]
            failed = any(each["failed_audits"] for each in figures) if audited else False
            body.append([*row, "failed" if failed else "passed"] if audited else row)
        return f"{caption}; {_made(first)}\n\n{markdown(head, body)}"

    return shown


SCORES = {
    "bleu": ("BLEU", 1, ".2f", ""),
    "accuracy": ("accuracy", 100, ".2f", " %"),
    "macro_f1": ("macro F1", 1, ".4f", ""),
    "loss": ("nats", 1, ".4f", ""),
    "r_squared": ("R^2", 1, ".4f", ""),
    "mse": ("mean squared error", 1, ".4f", ""),
}
"""What tables show of each score: its name, a factor, the form of numbers, and the unit."""


def _over_seeds(values: Sequence[float], factor: float, form: str, unit: str) -> str:
    text = f"{factor * statistics.fmean(values):{form}}{unit}"
    return text + (f" ± {factor * statistics.stdev(values):{form}}" if len(values) > 1 else "")


TABLES: dict[str, Callable[[list[Record]], str]] = {
    "compare": _compare,
    "ablation": _ablation,
    "train": _train,
    "decode": _decode,
    "mixers": _mixers,
    "optimizers": _optimizers,
    "pyramid": _stacks("Pyramid"),
    "sparsity": _stacks("Blocks on part of the harmonics"),
    "phase": _phase,
    "codec": _codec,
    "needle": _recall("Needle"),
    "copy": _recall("Copy"),
    "wavelet": _wavelet,
    "pieces": _pieces,
    "recognition": _scored("Recognition"),
    "translation": _scored("Translation"),
}
"""How the records of each kind become a table, in the order in which they are shown."""


def _grid(
    run: list[Record], key: str, columns: Sequence[int], cell: Callable[[dict[str, Any]], str]
) -> list[list[str]]:
    """A row for each model, a column for each value of `key`."""
    found = {(record.config["model"], record.config[key]): record.figures for record in run}
    models = list(dict.fromkeys(model for model, _ in found))
    return [[m, *(cell(found[m, c]) if (m, c) in found else "" for c in columns)] for m in models]


def _made(record: Record) -> str:
    """Where, with what and when."""
    machine, setting = record.machine, record.config["setting"]
    device = machine["gpu"] or f"{machine['cpu']}, {machine['threads']} thread{'s'[: machine['threads'] != 1]}"
    commit = f", commit {record.commit[:9]}{' and changes' if record.dirty else ''}" if record.commit else ""
    return f"{device}, {setting['dtype']}, torch {record.versions['torch']}{commit}, {record.date[:10]}"


def _count(value: int) -> str:
    return f"{value / 1e6:.2f} M" if value >= 1e5 else f"{value:,}"


def _number(value: float | None, spec: str) -> str:
    return "" if value is None else format(value, spec)


def _with_spread(value: float | None, spread: float | None) -> str:
    return _number(value, ".3f") + _plus_minus(spread)


def _plus_minus(spread: float | None) -> str:
    return "" if spread is None else f" ± {spread:.3f}"


def _megabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:,.0f}"
