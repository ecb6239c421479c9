"""How records of what models learnt become tables: losses, classes, translations, sound, memory (no torch here)."""

import statistics
from collections.abc import Callable

from undula.bench.cells import count, made, markdown, megabytes, number, over_seeds, plus_minus, with_spread
from undula.bench.records import Record


def compare(run: list[Record]) -> str:
    """Return the table of language models that were trained alike."""
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
            count(row["parameters"]),
            with_spread(row["loss"], row["loss_spread"]),
            with_spread(row["bits_per_byte"], row["bits_per_byte_spread"]),
            number(row["against_baseline"], "+.1%"),
            number(timed.get(row["model"], {}).get("loss"), ".3f"),
            number(row["tokens_per_second"], ",.0f"),
            number(row["speed_ratio"], ".2f"),
            megabytes(row["peak_bytes"]),
            row["audit"] + ("; not ranked" if row["reason"] else ""),
        ]
        for row in rows
        if row["budget"] == "equal steps"
    ]
    notes = "".join(f"\n{warning}." for warning in record.figures["warnings"])
    return f"{caption}; {made(record)}\n\n{markdown(head, body)}" + (f"\n{notes}" if notes else "")


def ablation(run: list[Record]) -> str:
    """Return what each part of a model brings."""
    effects = run[0].figures["effects"]
    body = [
        [
            effect["experiment"],
            effect["parent"],
            effect["factor"],
            f"{effect['difference']:+.3f}" + plus_minus(effect["spread"]),
            effect["verdict"],
        ]
        for effect in effects
    ]
    caption = f"**What each factor brings** in {run[0].config['title']}: {max(e['seeds'] for e in effects)} seeds"
    table = markdown(["experiment", "against", "factor", "nats per token", "verdict"], body)
    return f"{caption}; {made(run[0])}\n\n{table}"


def recall(kind: str) -> Callable[[list[Record]], str]:
    """Return how a task of memory becomes a table."""
    return lambda run: _recall_table(kind, run)


def _recall_table(kind: str, run: list[Record]) -> str:
    lengths = sorted({int(length) for record in run for length in record.figures["accuracy"]})
    config = run[0].config
    caption = f"**{kind}** ({config['case']}), right answers; trained on up to {config['train_length']:,} steps"
    head = ["model", "parameters", *(f"{length:,} steps" for length in lengths)]
    shown = {record.config["model"]: record for record in run}.values()
    body = [
        [
            r.config["model"],
            count(r.figures["parameters"]),
            *(number(r.figures["accuracy"].get(str(length)), ".1%") for length in lengths),
        ]
        for r in shown
    ]
    return f"{caption}; {made(*shown)}\n\n{markdown(head, body)}"


def codec(run: list[Record]) -> str:
    """Return the table of an audio codec."""
    config = run[0].config
    trained = f"{config['steps']:,} of {config['of_steps']:,} steps, {config['training_seconds'] / 60:.0f} minutes"
    heard = f"{run[0].figures['recordings']:,} held-out recordings of {config['source']}"
    caption = f"**Codec** {config['model']}, {heard}, {trained}"
    head = ["parameters", "numbers per sample", "SI-SDR in dB", "median", "lowest", "CPU seconds a second"]
    head += [f"in pieces of {1e3 * config['piece_seconds']:.0f} ms", "latency in ms"]
    body = [
        [
            count(r.figures["parameters"]),
            number(r.figures["numbers_per_sample"], ".2f"),
            *(number(r.figures[key], ".2f") for key in ("si_sdr", "si_sdr_median", "si_sdr_lowest")),
            *(number(r.figures[f"{how}_cpu_seconds_a_second"], ".3f") for how in ("whole", "pieces")),
            number(1e3 * r.figures["latency_seconds"], ".0f"),
        ]
        for r in run
    ]
    return f"{caption}; {made(run[0])}\n\n{markdown(head, body)}"


def compacted(run: list[Record]) -> str:
    """Return what compacting trained models cost, and what it saved."""
    config = run[0].config
    seeds = f"{len(run)} seed{'s'[: len(run) != 1]}"
    caption = f"**Compacted** {config['case']}, {seeds}, trained for {config['steps']:,} steps more"
    head = ["model", "parameters", "ms a training pass", "nats per token", f"against {config['whole']}"]
    rows = {config["whole"]: ("whole", "loss_whole"), "compacted": ("compacted", "loss_cut")}
    rows["trained"] = ("compacted", "loss")
    body = []
    for label, (which, loss) in rows.items():
        size = count(run[0].figures[f"{which}_parameters"])
        time = over_seeds([r.figures[f"{which}_seconds"] for r in run], 1e3, ".1f", "")
        nats = over_seeds([r.figures[loss] for r in run], 1, ".3f", "")
        beyond = over_seeds([r.figures[loss] / r.figures["loss_whole"] - 1 for r in run], 100, "+.2f", " %")
        body.append([label, size, time, nats, beyond])
    return f"{caption}; {made(run[0])}\n\n{markdown(head, body)}"


SCORES = {
    "bleu": ("BLEU", 1, ".2f", ""),
    "accuracy": ("accuracy", 100, ".2f", " %"),
    "macro_f1": ("macro F1", 1, ".4f", ""),
    "loss": ("nats", 1, ".4f", ""),
    "r_squared": ("R^2", 1, ".4f", ""),
    "mse": ("mean squared error", 1, ".4f", ""),
}
"""What tables show of each score: its name, a factor, the form of numbers, and the unit."""


def scored(title: str) -> Callable[[list[Record]], str]:
    """Return how models with scores of their own become a table."""

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
            cells = [over_seeds([each[key] for each in figures], *SCORES[key][1:]) for key in keys]
            seconds = statistics.fmean(each["training_seconds"] for each in figures)
            row = [model, count(figures[0]["parameters"]), len(figures), *cells, number(seconds, ",.0f")]
            failed = any(each["failed_audits"] for each in figures) if audited else False
            body.append([*row, "failed" if failed else "passed"] if audited else row)
        return f"{caption}; {made(first)}\n\n{markdown(head, body)}"

    return shown


def search(run: list[Record]) -> str:
    """Return the table of ways of searching for translations."""
    names = ("num_beams", "length_penalty", "coverage_penalty")
    models = list(dict.fromkeys(record.config["model"] for record in run))
    searches = list(dict.fromkeys(tuple(record.config[name] for name in names) for record in run))
    seeds = len({record.config["seed"] for record in run})
    held_out = f"{run[0].figures['sentences']:,} held-out sentences of {run[0].config['case']}"
    caption = f"**Search** for translations of {held_out}, {seeds} seed{'s'[: seeds != 1]}; {made(run[0])}"
    head = ["beams", "length penalty", "coverage penalty"]
    head += [f"{model}: {what}" for model in models for what in ("BLEU", "words", "sentences/s")]
    body = []
    for search in searches:
        row: list[object] = ["" if value is None else value for value in search]
        for model in models:
            wanted = (model, *search)
            found = [r.figures for r in run if (r.config["model"], *(r.config[name] for name in names)) == wanted]
            row.append(over_seeds([figures["bleu"] for figures in found], 1, ".2f", ""))
            row += [number(statistics.fmean(f[key] for f in found), ".1f") for key in ("words", "sentences_per_second")]
        body.append(row)
    return f"{caption}\n\n{markdown(head, body)}"
