"""Measure speed, memory and error against peers; every result becomes a record, and tables are made from records."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from undula.bench.cases import (
    DECODE_CASES,
    LEAKS_CASES,
    MIXER_CASES,
    OPTIMIZER_CASES,
    PHASE_CASES,
    PIECES_CASES,
    PYRAMID_CASES,
    SPARSITY_CASES,
    TRAIN_CASES,
    TRANSFORMS_CASES,
    WAVELET_CASES,
    MixerCase,
)
from undula.bench.markdown import by_model
from undula.bench.records import Record, read_records, results_file
from undula.bench.setting import BenchSetting
from undula.bench.table import newest, results_table, with_results
from undula.cli import compact_bench, recall_bench, search_bench, wave_gpt_bench
from undula.cli.arguments import parsed_length, parser
from undula.cli.main import SUCCESS
from undula.cli.measuring import add_results, add_setting, add_threads, chosen_setting, measured, results_folder
from undula.cli.screen import console, table
from undula.names import unknown_name
from undula.optional import late_import

USAGE = """usage: undula bench MEASUREMENT [arguments]

  train         tokens per second of train steps, against the same model in other libraries
  mixers        time, memory and error of every mixer at several lengths, beside fused attention
  decode        tokens per second of cached generation behind contexts of several lengths
  optimizers    time of the steps of WaveNativeOptimizer, beside AdamW
  phase         time, memory and error of phase-coherent attention, beside fused attention
  pyramid       time of a multi-resolution pyramid, beside a stack of blocks of the whole width
  sparsity      time of blocks on part of the harmonics, beside blocks on all of them
  compact       models cut down to the harmonics they keep: loss, parameters and time, beside models of full width
  codec         a trained codec's held-out recordings, and its speed in one go and in pieces
  pieces        time and memory of the loss and gradients of long sequences, read in pieces
  transforms    time and error of Fourier transforms, the device's own and those made of matrix products
  wavelet       time, memory and error of a wavelet transform and its inverse, beside other libraries
  leaks         the search for held-out text in training text: what it misses, its time and memory
  wave-gpt      Wave-Native GPT against a transformer of equal size: tuned alike, equal steps, equal time
  search        translations of trained models with several ways of searching: BLEU, and sentences per second
  needle        right answers of models that recall a value from noise, by length of the noise
  copy          right answers of models that repeat a string after noise, by length of the noise
  plot          pictures of the newest times and memory of mixers over the number of steps
  table         the newest results as Markdown; --write FILE puts them between its results markers

undula bench train --help     the arguments of a measurement"""


def run(arguments: list[str]) -> int:
    """Measure, print and record; returns the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return SUCCESS
    kinds: Mapping[str, Callable[[list[str]], int]] = {
        "train": _train,
        "mixers": partial(_mixers, "mixers", MIXER_CASES, "d256"),
        "decode": _decode,
        "optimizers": _optimizers,
        "phase": partial(_mixers, "phase", PHASE_CASES, "narrow"),
        "pyramid": partial(_stacks, "pyramid", PYRAMID_CASES),
        "sparsity": partial(_stacks, "sparsity", SPARSITY_CASES),
        "compact": compact_bench.run,
        "codec": _codec,
        "pieces": _pieces,
        "transforms": _transforms,
        "wavelet": _wavelet,
        "leaks": _leaks,
        "wave-gpt": wave_gpt_bench.run,
        "search": search_bench.run,
        "needle": partial(recall_bench.run, "needle"),
        "copy": partial(recall_bench.run, "copy"),
        "plot": _plot,
        "table": _table,
    }
    if arguments[0] not in kinds:
        raise unknown_name("measurement", arguments[0], kinds)
    return kinds[arguments[0]](arguments[1:])


def _train(arguments: list[str]) -> int:
    asked = _reader("train", TRAIN_CASES, "10m", memory=True).parse_args(arguments)
    case, setting = _case(TRAIN_CASES, asked.case), chosen_setting(asked)
    measure = late_import("undula.bench.train").bench_train
    records = measured("train", asked, lambda: measure(asked.case, case, setting, asked.memory))
    head = ("model", "parameters", "ms a step", "tokens/s", f"x {case.peers[0]}", "peak MB")
    rows = [
        (
            record.config["model"],
            record.figures["parameters"],
            1e3 * record.figures["seconds"],
            record.figures["tokens_per_second"],
            record.figures["ratio"],
            _megabytes(record.figures["peak_bytes"]),
        )
        for record in records
    ]
    console().print(table(head, rows, f"train step, {_how(setting)}"))
    return SUCCESS


def _mixers(kind: str, cases: Mapping[str, MixerCase], usual: str, arguments: list[str]) -> int:
    reader = _reader(kind, cases, usual, memory=True)
    reader.add_argument("--lengths", type=str, help="steps of the sequence, such as 1k,4k,16k (default: the case's)")
    reader.add_argument("--only", type=str, help="some of the mixers, such as fft_conv,attention (default: all)")
    reader.add_argument("--limit", type=float, default=60.0, help="seconds of a pass; what takes longer is not run")
    asked = reader.parse_args(arguments)
    case, setting = _case(cases, asked.case), chosen_setting(asked)
    if asked.lengths:
        case = dataclasses.replace(case, lengths=tuple(parsed_length(text) for text in asked.lengths.split(",")))
    bench = late_import("undula.bench.mixers")
    if asked.only:
        case = bench.only(case, asked.only.split(","))
    records = measured(
        kind, asked, lambda: bench.bench_mixers(asked.case, case, setting, asked.memory, kind, asked.limit)
    )
    head = ("mixer", "steps", "forward ms", "x", "MB", "and backward ms", "x", "MB", "error", "gradient error")
    rows = [
        (record.config["model"], record.config["length"], *_pass(record, "forward"), *_pass(record, "backward"))
        + tuple("" if record.figures[e] is None else record.figures[e] for e in ("error", "gradient_error"))
        for record in records
    ]
    console().print(table(head, rows, f"{kind}, x = times as fast as {records[0].config['peer']}, {_how(setting)}"))
    for name, reason in bench.left_out(case).items():
        console().print(f"without {name}: {reason}", soft_wrap=True)
    return SUCCESS


def _decode(arguments: list[str]) -> int:
    asked = _reader("decode", DECODE_CASES, "10m", memory=False).parse_args(arguments)
    case, setting = _case(DECODE_CASES, asked.case), chosen_setting(asked)
    measure = late_import("undula.bench.decode").bench_decode
    records = measured("decode", asked, lambda: measure(asked.case, case, setting))
    peer = records[0].config["peer"] or ""
    head = ("model", "context", "tokens/s", f"x {peer}", "time of a token x shortest context", "cache MB")
    rows = [
        (
            record.config["model"],
            record.config["context"],
            record.figures["tokens_per_second"],
            "" if record.figures["ratio"] is None else record.figures["ratio"],
            record.figures["growth"],
            record.figures["cache_bytes"] / 1e6,
        )
        for record in records
    ]
    console().print(table(head, rows, f"decoding, {_how(setting)}"))
    return SUCCESS


def _optimizers(arguments: list[str]) -> int:
    asked = _reader("optimizers", OPTIMIZER_CASES, "10m", memory=False).parse_args(arguments)
    case, setting = _case(OPTIMIZER_CASES, asked.case), chosen_setting(asked)
    measure = late_import("undula.bench.optimizers").bench_optimizers
    records = measured("optimizers", asked, lambda: measure(asked.case, case, setting))
    head = ("optimizer", "ms a step", f"x {records[0].config['peer']}", "state MB")
    rows = [
        (
            record.config["model"],
            1e3 * record.figures["seconds"],
            record.figures["ratio"],
            _megabytes(record.figures["state_bytes"]),
        )
        for record in records
    ]
    console().print(table(head, rows, f"optimizer step, {_how(setting)}"))
    return SUCCESS


def _stacks(kind: str, cases: Mapping[str, Any], arguments: list[str]) -> int:
    asked = _reader(kind, cases, "h64", memory=False).parse_args(arguments)
    case, setting = _case(cases, asked.case), chosen_setting(asked)
    measure = getattr(late_import(f"undula.bench.{kind}"), f"bench_{kind}")
    records = measured(kind, asked, lambda: measure(asked.case, case, setting))
    head = ("model", "batch", "steps", "parameters", "forward and backward ms", f"x {records[0].config['peer']}")
    rows = [
        (
            record.config["model"],
            record.config["batch"],
            record.config["length"],
            record.figures["parameters"],
            1e3 * record.figures["seconds"],
            record.figures["ratio"],
        )
        for record in records
    ]
    console().print(table(head, rows, f"{kind}, {_how(setting)}"))
    return SUCCESS


def _codec(arguments: list[str]) -> int:
    reader = parser("bench codec", "Score the held-out recordings of a codec's run, time it, and record.")
    reader.add_argument("run", type=str, help="folder of a run that trained a codec")
    add_setting(reader)
    add_results(reader)
    asked = reader.parse_args(arguments)
    setting = chosen_setting(asked)
    measure = late_import("undula.experiments.codec").bench_codec_run
    (record,) = measured("codec", asked, lambda: measure(Path(asked.run), setting))
    keys = ("si_sdr", "si_sdr_median", "si_sdr_lowest", "whole_seconds_a_second", "pieces_seconds_a_second")
    head = ("codec", "SI-SDR in dB", "median", "lowest", "seconds a second", "in pieces", "streaming difference")
    values = [record.figures[key] for key in (*keys, "streaming_difference")]
    console().print(table(head, [(record.config["model"], *values)], f"codec, {_how(setting)}"))
    return SUCCESS


def _pieces(arguments: list[str]) -> int:
    asked = _reader("pieces", PIECES_CASES, "d256", memory=False).parse_args(arguments)
    case, setting = _case(PIECES_CASES, asked.case), chosen_setting(asked)
    measure = late_import("undula.bench.pieces").bench_pieces
    records = measured("pieces", asked, lambda: measure(asked.case, case, setting))
    head = ("model", "tokens", "seconds", "tokens/s", "peak MB")
    rows = [
        (
            record.config["model"],
            record.config["length"],
            record.figures["seconds"],
            record.figures["tokens_per_second"],
            _megabytes(record.figures["peak_bytes"]),
        )
        for record in records
    ]
    how = f"{setting.device}, {setting.dtype}, {setting.threads} threads, one run"
    console().print(table(head, rows, f"loss and gradients in pieces of {case.piece:,} tokens, {how}"))
    return SUCCESS


def _transforms(arguments: list[str]) -> int:
    asked = _reader("transforms", TRANSFORMS_CASES, "4m", memory=False).parse_args(arguments)
    case, setting = _case(TRANSFORMS_CASES, asked.case), chosen_setting(asked)
    measure = late_import("undula.bench.transforms").bench_transforms
    records = measured("transforms", asked, lambda: measure(asked.case, case, setting))
    head = ("by", "points", "ms", f"x {records[0].config['peer']}", "error")
    rows = [
        (r.config["model"], r.config["points"], 1e3 * r.figures["seconds"], r.figures["ratio"], r.figures["error"])
        for r in records
    ]
    console().print(table(head, rows, f"transform and inverse of {case.samples:,} samples, {_how(setting)}"))
    return SUCCESS


def _wavelet(arguments: list[str]) -> int:
    asked = _reader("wavelet", WAVELET_CASES, "db4", memory=True).parse_args(arguments)
    case, setting = _case(WAVELET_CASES, asked.case), chosen_setting(asked)
    measure = late_import("undula.bench.wavelet").bench_wavelet
    records = measured("wavelet", asked, lambda: measure(asked.case, case, setting, asked.memory))
    own = records[0].config["peer"]
    head = ("library", "there and back ms", f"{own} x", "MB", "and backward ms", f"{own} x", "MB", "largest error")
    rows = [
        (record.config["model"], *_pass(record, "forward"), *_pass(record, "backward"), record.figures["error"])
        for record in records
    ]
    console().print(table(head, rows, f"wavelet, x = times as fast as each library, {_how(setting)}"))
    for missing in records[0].config["missing"]:
        console().print(f"{missing} is not installed and was left out; pip install 'undula[bench]'", soft_wrap=True)
    return SUCCESS


def _leaks(arguments: list[str]) -> int:
    reader = parser("bench leaks", f"Search texts for planted passages and record. Cases: {', '.join(LEAKS_CASES)}.")
    reader.add_argument("case", nargs="?", default="100m", help="what to measure (default: 100m)")
    add_threads(reader)
    add_results(reader)
    asked = reader.parse_args(arguments)
    case, setting = _case(LEAKS_CASES, asked.case), BenchSetting(repeats=1, warmup=0, threads=asked.threads)
    measure = late_import("undula.bench.leaks").bench_leaks
    records = measured("leaks", asked, lambda: measure(asked.case, case, setting))
    keys = ("passages", "planted", "missed", "false", "seconds")
    rows = [
        (r.config["model"], *(r.figures[key] for key in keys), _megabytes(r.figures["peak_bytes"])) for r in records
    ]
    tokens = case.train_tokens + case.held_out_tokens
    head = ("texts", "passages", "tokens in them", "missed", "false alarms", "seconds", "peak MB")
    console().print(table(head, rows, f"held-out passages in {tokens:,} tokens, {setting.threads} threads, one run"))
    return SUCCESS


def _table(arguments: list[str]) -> int:
    reader = parser("bench table", "Print the newest results as Markdown, or put them into a document.")
    reader.add_argument(
        "--write", type=str, help="a document with lines <!-- results:begin --> and <!-- results:end -->"
    )
    add_results(reader)
    asked = reader.parse_args(arguments)
    results = results_folder(asked)
    if not asked.write:
        print(results_table(results).strip("\n"))
        return SUCCESS
    document = Path(asked.write)
    document.write_text(with_results(document.read_text(encoding="utf-8"), results), encoding="utf-8")
    console().print(f"{document} shows the newest results", soft_wrap=True)
    return SUCCESS


def _plot(arguments: list[str]) -> int:
    reader = parser("bench plot", "Draw the newest times and peaks of memory of mixers over the number of steps.")
    reader.add_argument("--write", type=str, default="docs/pictures", help="folder of the pictures")
    add_results(reader)
    asked = reader.parse_args(arguments)
    runs = newest(read_records(results_file("mixers", results_folder(asked))))
    if not runs:
        raise ValueError("there are no records of mixers; make some with: undula bench mixers")
    folder, run = Path(asked.write), max(runs, key=lambda records: records[0].date)
    draw, png = late_import("undula.viz.scaling").scaling, late_import("undula.viz.style").png
    folder.mkdir(parents=True, exist_ok=True)
    for name, quantity, figure, unit in (
        ("time", "Seconds, forward and backward", "seconds", 1.0),
        ("memory", "Peak of memory, MB", "peak_bytes", 1e-6),
    ):
        path = folder / f"mixers-{name}.png"
        path.write_bytes(png(draw(by_model(run, figure, unit), quantity)))
        console().print(f"{path} shows {len(run)} records", soft_wrap=True)
    return SUCCESS


def _reader(kind: str, cases: Mapping[str, Any], usual: str, *, memory: bool) -> ArgumentParser:
    reader = parser(f"bench {kind}", f"Measure in turns and record. Cases: {', '.join(cases)}.")
    reader.add_argument("case", nargs="?", default=usual, help=f"what to measure (default: {usual})")
    add_setting(reader)
    if memory:
        reader.add_argument("--memory", type=bool, default=True, help="measure the peak of memory, too")
    add_results(reader)
    return reader


def _case(cases: Mapping[str, Any], name: str) -> Any:
    if name not in cases:
        raise unknown_name("case", name, cases)
    return cases[name]


def _pass(record: Record, way: str) -> tuple[float | str, float | str, str]:
    figures = record.figures[way]
    if figures is None:
        return "", "", ""
    if figures["seconds"] is None:
        return record.figures["skipped"] if way == "backward" else "not run", "", ""
    ratio = figures["ratio"]
    return 1e3 * figures["seconds"], "" if ratio is None else ratio, _megabytes(figures["peak_bytes"])


def _megabytes(value: int | None) -> str:
    return "" if value is None else f"{value / 1e6:,.1f}"


def _how(setting: BenchSetting) -> str:
    return f"{setting.device}, {setting.dtype}, {setting.threads} threads, medians of {setting.repeats}"
