"""How records of each kind become a table in Markdown (no torch here)."""

import math
import statistics
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from undula.bench.cells import count, made, markdown, megabytes, number
from undula.bench.quality_tables import ablation, codec, compacted, compare, recall, scored, search
from undula.bench.records import Record


def _train(run: list[Record]) -> str:
    plan, peer = run[0].config["plan"], run[0].config["peer"]
    tokens = f"{plan['batch_size']} x {plan['block_size']} tokens"
    caption = f"**Train step** of {tokens} (`bench train {run[0].config['case']}`); {made(run[0])}"
    head = ["model", "parameters", "tokens/s", f"x {peer}", "peak MB"]
    body = [
        [
            r.config["model"],
            count(r.figures["parameters"]),
            number(r.figures["tokens_per_second"], ",.0f"),
            number(r.figures["ratio"], ".2f"),
            megabytes(r.figures["peak_bytes"]),
        ]
        for r in run
    ]
    return f"{caption}\n\n{markdown(head, body)}"


def _decode(run: list[Record]) -> str:
    contexts = sorted({record.config["context"] for record in run})
    peer = run[0].config["peer"]
    told = "" if peer is None else f" (x {peer})"
    caption = f"**Decoding** behind a context, tokens/s{told} and cache in MB; growth: time of a token behind the "
    caption += f"longest over the shortest; {made(run[0])}"
    head = ["model", *(f"{context:,} tokens" for context in contexts), "growth"]
    grown = {r.config["model"]: number(r.figures["growth"], ".2f") for r in run if r.config["context"] == contexts[-1]}
    rows = [[*row, grown.get(row[0], "")] for row in _grid(run, "context", contexts, _decode_cell)]
    return f"{caption}\n\n{markdown(head, rows)}"


def _decode_cell(figures: dict[str, Any]) -> str:
    ratio = "" if figures["ratio"] is None else f" ({figures['ratio']:.2f})"
    return f"{figures['tokens_per_second']:,.0f}{ratio}, {figures['cache_bytes'] / 1e6:.2f}"


PASSES = {"forward": "forward", "backward": "forward and backward"}
"""What is timed, and what tables call it."""


def _mixers(run: list[Record]) -> str:
    return "\n\n".join(_mixers_pass(run, timed) for timed in PASSES)


def _mixers_pass(run: list[Record], timed: str) -> str:
    lengths = sorted({record.config["length"] for record in run})
    config = run[0].config
    caption = f"**Mixers** at width {config['d_model']}, {PASSES[timed]}, ms (x {config['peer']}), peak MB"
    caption += "; growth: exponent of the time in the number of steps, from 16,384 on or over all"
    head = ["mixer", *(f"{length:,} steps" for length in lengths), "growth", "largest error"]
    rows = _grid(run, "length", lengths, partial(_mixer_cell, timed=timed))
    known = [(r.config["model"], r.figures["error"]) for r in run if r.figures["error"] is not None]
    errors = {row[0]: max((e for model, e in known if model == row[0]), default=None) for row in rows}
    grown = {model: growth(points) for model, points in by_model(run, timed=timed).items()}
    body = [[*row, number(grown.get(row[0]), ".2f"), number(errors[row[0]], ".0e")] for row in rows]
    return f"{caption}; {made(run[0])}\n\n{markdown(head, body)}"


def by_model(
    run: Sequence[Record], figure: str = "seconds", unit: float = 1.0, timed: str = "backward"
) -> dict[str, list[tuple[int, float]]]:
    """Return lengths and a figure, shortest first, by mixer; what was not run is left out.

    Args:
        run: records of mixers.
        figure: such as "seconds" or "peak_bytes".
        unit: what the figure is multiplied with.
        timed: "forward", or "backward", which is both.
    """
    found: dict[str, list[tuple[int, float]]] = {}
    for record in run:
        value = record.figures[timed][figure]
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


def _mixer_cell(figures: dict[str, Any], timed: str = "backward") -> str:
    found = figures[timed]
    if found["seconds"] is None:
        # The time that a record tells is of both passes.
        return figures["skipped"] if timed == "backward" else "not run"
    ratio = "" if found["ratio"] is None else f" ({found['ratio']:.2f})"
    return f"{found['seconds'] * 1e3:,.1f}{ratio}, {megabytes(found['peak_bytes'])}"


def _phase(run: list[Record]) -> str:
    lengths = sorted({record.config["length"] for record in run})
    config = run[0].config
    caption = f"**Phase coherence** at width {config['d_model']} in {config['num_heads']} heads"
    caption += f", ms forward (x {config['peer']}) and with backward (x), peak MB"
    head = ["scores", *(f"{length:,} steps" for length in lengths)]
    return f"{caption}; {made(run[0])}\n\n{markdown(head, _grid(run, 'length', lengths, _phase_cell))}"


def _phase_cell(figures: dict[str, Any]) -> str:
    forward = figures["forward"]
    return f"{number(forward['seconds'] * 1e3, ',.1f')} ({number(forward['ratio'], '.2f')}); {_mixer_cell(figures)}"


def _optimizers(run: list[Record]) -> str:
    figures, peer = run[0].figures, run[0].config["peer"]
    caption = f"**Optimizer step** of {count(figures['parameters'])} parameters; {made(run[0])}"
    head = ["optimizer", "ms a step", f"x {peer}", "state MB"]
    body = [
        [
            r.config["model"],
            number(r.figures["seconds"] * 1e3, ",.1f"),
            number(r.figures["ratio"], ".2f"),
            megabytes(r.figures["state_bytes"]),
        ]
        for r in run
    ]
    return f"{caption}\n\n{markdown(head, body)}"


def _pieces(run: list[Record]) -> str:
    config, size = run[0].config, count(run[0].figures["parameters"])
    lengths = sorted({record.config["length"] for record in run})
    caption = f"**Loss and gradients** of {size} parameters in pieces of {config['piece']:,} tokens, tokens/s, peak MB"
    head = ["model", *(f"{length:,} tokens" for length in lengths)]
    rows = _grid(
        run,
        "length",
        lengths,
        lambda figures: f"{number(figures['tokens_per_second'], ',.0f')}, {megabytes(figures['peak_bytes'])}",
    )
    return f"{caption}; {made(run[0])}\n\n{markdown(head, rows)}"


def _transforms(run: list[Record]) -> str:
    config, points = run[0].config, sorted({record.config["points"] for record in run})
    caption = f"**Fourier transform and inverse** of {config['samples']:,} samples, ms (x {config['peer']})"
    rows = _grid(run, "points", points, _timed_cell)
    worst = {row[0]: max(r.figures["error"] for r in run if r.config["model"] == row[0]) for row in rows}
    body = [[*row, f"{worst[row[0]]:.0e}"] for row in rows]
    head = ["by", *(f"{size:,} points" for size in points), "largest error"]
    return f"{caption}; {made(run[0])}\n\n{markdown(head, body)}"


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
    return f"{caption}{made(run[0])}\n\n{markdown(head, body)}"


def _wavelet_cells(figures: dict[str, Any] | None) -> list[str]:
    if figures is None:
        return ["", "", ""]
    ratio = number(figures["ratio"], ".2f")
    return [number(figures["seconds"] * 1e3, ",.0f"), ratio, megabytes(figures["peak_bytes"])]


def _leaks(run: list[Record]) -> str:
    config = run[0].config
    caption = f"**Held-out passages** of {config['shortest']} to {config['longest']} tokens, one of each length, in "
    caption += f"{config['train_tokens']:,} training and {config['held_out_tokens']:,} held-out tokens; {made(run[0])}"
    head = ["texts", "passages", "tokens in them", "missed", "false alarms", "seconds", "peak MB"]
    body = [
        [
            r.config["model"],
            *(f"{r.figures[key]:,}" for key in ("passages", "planted", "missed", "false")),
            number(r.figures["seconds"], ".1f"),
            megabytes(r.figures["peak_bytes"]),
        ]
        for r in run
    ]
    return f"{caption}\n\n{markdown(head, body)}"


def _stacks(title: str) -> Callable[[list[Record]], str]:
    return lambda run: _stack_table(title, run)


def _stack_table(title: str, run: list[Record]) -> str:
    lengths = sorted({record.config["length"] for record in run})
    batches = {record.config["length"]: record.config["batch"] for record in run}
    config = run[0].config
    of = ", ".join([f"{config['num_harmonics']} harmonics", *([config["mixer"]] if "mixer" in config else [])])
    caption = f"**{title}**, {of}, forward and backward, ms (x {config['peer']})"
    head = ["model", "parameters", *(f"{batches[length]} x {length:,} steps" for length in lengths)]
    sizes = {record.config["model"]: count(record.figures["parameters"]) for record in run}
    rows = [[model, sizes[model], *cells] for model, *cells in _grid(run, "length", lengths, _timed_cell)]
    return f"{caption}; {made(run[0])}\n\n{markdown(head, rows)}"


def _timed_cell(figures: dict[str, Any]) -> str:
    return f"{number(figures['seconds'] * 1e3, ',.1f')} ({number(figures['ratio'], '.2f')})"


def _grid(
    run: list[Record], key: str, columns: Sequence[int], cell: Callable[[dict[str, Any]], str]
) -> list[list[str]]:
    """A row for each model, a column for each value of `key`."""
    found = {(record.config["model"], record.config[key]): record.figures for record in run}
    models = list(dict.fromkeys(model for model, _ in found))
    return [[m, *(cell(found[m, c]) if (m, c) in found else "" for c in columns)] for m in models]


TABLES: dict[str, Callable[[list[Record]], str]] = {
    "compare": compare,
    "ablation": ablation,
    "train": _train,
    "decode": _decode,
    "mixers": _mixers,
    "optimizers": _optimizers,
    "pyramid": _stacks("Pyramid"),
    "sparsity": _stacks("Blocks on part of the harmonics"),
    "phase": _phase,
    "compact": compacted,
    "codec": codec,
    "needle": recall("Needle"),
    "copy": recall("Copy"),
    "wavelet": _wavelet,
    "leaks": _leaks,
    "pieces": _pieces,
    "transforms": _transforms,
    "recognition": scored("Recognition"),
    "translation": scored("Translation"),
    "search": search,
}
"""How the records of each kind become a table, in the order in which they are shown."""
