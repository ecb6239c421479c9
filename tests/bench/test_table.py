"""README's table is what the records say; the newest run of each case counts, and trials do not."""

import dataclasses
import os
from pathlib import Path

import pytest

from undula.bench.environment import make_records
from undula.bench.markdown import growth
from undula.bench.records import append_records
from undula.bench.setting import BenchSetting
from undula.bench.table import newest, results_table, with_results

ROOT = Path(__file__).parents[2]


def train_record(model, date, case="10m", speed=1000.0, **setting):
    config = {"case": case, "model": model, "peer": "P", "plan": {"batch_size": 16, "block_size": 256}}
    figures = {"parameters": 10_674_048, "tokens_per_second": speed, "ratio": 1.25, "peak_bytes": 12_000_000}
    record = make_records("train", [(config, figures)], BenchSetting(**setting))[0]
    return dataclasses.replace(record, date=date, commit="0123456789ab", dirty=False)


def compare_record(**row):
    usual = {"model": "wave_lm", "budget": "equal steps", "rank": 1, "reason": "", "seeds": 3, "parameters": 800_000}
    usual |= {"loss": 1.6, "loss_spread": 0.01, "bits_per_byte": 2.3, "bits_per_byte_spread": 0.02}
    usual |= {"against_baseline": -0.04, "tokens_per_second": 9000.0, "speed_ratio": 0.9, "peak_bytes": None}
    usual |= {"audit": "passed"}
    rows = [usual, {**usual, "budget": "equal time", "loss": 1.62}, {**usual, "model": "attention_lm", **row}]
    shared = {"data": {"block_size": 64}, "steps": 2000, "batch_size": 12, "accumulation": 1}
    config = {"title": "p0", "baseline": "attention_lm", "shared": shared}
    return make_records("compare", [(config, {"rows": rows, "warnings": ["mind this"]})], BenchSetting())[0]


@pytest.mark.parametrize(
    "document",
    [
        "README.md",
        "docs/benchmarks.md",
        "docs/enhancements.md",
        "docs/long-context.md",
        "docs/senses.md",
        "docs/spectral-llm.md",
        "docs/translation.md",
        "docs/wave-gpt.md",
    ],
)
def test_tables_of_documents_are_those_of_the_records(document):
    text = (ROOT / document).read_text(encoding="utf-8")
    assert with_results(text, ROOT / "benchmarks" / "results") == text


def test_newest_run_of_each_case_is_shown():
    old = [train_record("a", "2026-01-01"), train_record("gone", "2026-01-01")]
    new = [train_record("a", "2026-02-01"), train_record("b", "2026-02-01")]
    threads, trial = train_record("a", "2026-01-15", threads=2), train_record("a", "2026-03-01", case="tiny")
    assert newest([*old, threads, *new, trial]) == [new, [threads]]


def test_runs_with_another_allocator_stand_beside_the_usual(tmp_path, monkeypatch):
    for name in [name for name in os.environ if name.startswith("MALLOC_")]:
        monkeypatch.delenv(name)
    wavelet = {"batch_size": 2, "channels": 3, "length": 64, "wavelet": "db4", "levels": 2, "mode": "zero"}
    config = {"case": "c", "model": "m", "peer": "m", **wavelet}
    figures = {"forward": None, "backward": None, "error": 1e-7}
    for value in ("", "0"):
        monkeypatch.setenv("MALLOC_MMAP_MAX_", value)
        append_records(tmp_path / "wavelet.jsonl", make_records("wavelet", [(config, figures)], BenchSetting()))
    text = results_table(tmp_path)
    assert text.count("**Wavelets**") == 2
    assert text.count(", float32, MALLOC_MMAP_MAX_=0, torch ") == 1


def test_train_table(tmp_path):
    append_records(tmp_path / "train.jsonl", [train_record("attention", "2026-02-01", speed=1234.5)])
    lines = results_table(tmp_path).strip().splitlines()
    assert lines[0].startswith("**Train step** of 16 x 256 tokens (`bench train 10m`); ")
    assert lines[0].endswith(", commit 012345678, 2026-02-01")
    assert lines[2:] == [
        "| model | parameters | tokens/s | x P | peak MB |",
        "| :-- | --: | --: | --: | --: |",
        "| attention | 10.67 M | 1,234 | 1.25 | 12 |",
    ]


def test_compare_table(tmp_path):
    failed = {"rank": None, "reason": "failed its audit (leak)", "audit": "failed: leak", "against_baseline": None}
    append_records(tmp_path / "compare.jsonl", [compare_record(**failed, loss_spread=None, loss=0.1)])
    lines = results_table(tmp_path, ["compare"]).strip().splitlines()
    assert lines[0].startswith("**p0**: 3 seeds, 2,000 steps of 12 x 64 tokens; ")
    wave, attention = lines[4:6]
    assert wave == "| wave_lm | 0.80 M | 1.600 ± 0.010 | 2.300 ± 0.020 | -4.0% | 1.620 | 9,000 | 0.90 |  | passed |"
    assert attention.endswith("| 0.100 | 2.300 ± 0.020 |  |  | 9,000 | 0.90 |  | failed: leak; not ranked |")
    assert lines[-1] == "mind this."


def test_ablation_table_and_cases_by_their_beginning(tmp_path):
    effect = {"experiment": "packets", "parent": "table", "factor": "embedding", "difference": -0.0216, "spread": 0.004}
    effects = [{**effect, "seeds": 3, "verdict": "helps"}, {**effect, "experiment": "one", "spread": None, "seeds": 1}]
    effects[1]["verdict"] = "not told apart"
    pairs = [({"title": title}, {"effects": effects}) for title in ("ablations, mini", "others")]
    append_records(tmp_path / "ablation.jsonl", make_records("ablation", pairs, BenchSetting()))
    lines = results_table(tmp_path, ["ablation/ablations"]).strip().splitlines()
    assert lines[0].startswith("**What each factor brings** in ablations, mini: 3 seeds; ")
    assert lines[4:] == [
        "| packets | table | embedding | -0.022 ± 0.004 | helps |",
        "| one | table | embedding | -0.022 | not told apart |",
    ]
    assert results_table(tmp_path, ["ablation"]).count("What each factor") == 2
    assert results_table(tmp_path, ["ablation/nothing"]) == ""


def grid_records(what, column, values, figures):
    config = {"case": "c", "peer": "P", "d_model": 8}
    pairs = [({**config, "model": m, column: v}, figures(m, v)) for v in values for m in ("P", "ours")]
    return make_records(what, pairs, BenchSetting())


def test_tables_over_lengths(tmp_path):
    def mixer(model, length):
        both = {"seconds": length / 1e6, "ratio": 2.0, "peak_bytes": None}
        forward = {**both, "seconds": length**2 / 1e6}
        return {"forward": forward, "backward": both, "error": 3e-6 if length == 64 else 1e-7}

    def decode(model, context):
        return {"tokens_per_second": 10.0 * context, "ratio": 1.5, "cache_bytes": 250_000, "growth": 1.25}

    append_records(tmp_path / "mixers.jsonl", grid_records("mixers", "length", (64, 128), mixer))
    append_records(tmp_path / "decode.jsonl", grid_records("decode", "context", (8,), decode))
    text = results_table(tmp_path)
    assert text.index("**Decoding**") < text.index("**Mixers**")
    forward, both = text.split("**Mixers**")[1:]
    assert (", forward, ms" in forward, ", forward and backward, ms" in both) == (True, True)
    assert "| ours | 4.1 (2.00),  | 16.4 (2.00),  | 2.00 | 3e-06 |" in forward
    assert "| ours | 0.1 (2.00),  | 0.1 (2.00),  | 1.00 | 3e-06 |" in both
    assert "| ours | 80 (1.50), 0.25 | 1.25 |" in text
    assert "**Decoding**" not in results_table(tmp_path, ["mixers"])


def test_what_was_not_run_says_so(tmp_path):
    def mixer(model, length):
        both = {"seconds": length / 1e6, "ratio": 2.0, "peak_bytes": None}
        if model == "ours" and length == 128:
            nothing = {"seconds": None, "ratio": None, "peak_bytes": None}
            return {"forward": nothing, "backward": nothing, "error": None, "skipped": "would take about 90 s"}
        return {"forward": both, "backward": both, "error": None}

    append_records(tmp_path / "mixers.jsonl", grid_records("mixers", "length", (64, 128), mixer))
    assert "| ours | 0.1 (2.00),  | would take about 90 s |  |  |" in results_table(tmp_path)


def test_growth_is_the_exponent_of_long_sequences():
    points = [(n, n**1.5 / 1e6) for n in (256, 1024)]
    assert growth(points) == pytest.approx(1.5)
    assert growth([*points, (16384, 1.0), (65536, 8.0)]) == pytest.approx(1.5)
    assert growth([*points, (16384, 1.0), (65536, 16.0)]) == pytest.approx(2.0)
    assert growth(points[:1]) is None


def test_tasks_of_memory_show_the_newest_record_of_each_model(tmp_path):
    def record(model, **accuracy):
        config = {"case": "needle:2", "model": model, "train_length": 2048}
        return make_records("needle", [(config, {"accuracy": accuracy, "parameters": 120_000})], BenchSetting())

    elsewhere = [dataclasses.replace(r, machine={**r.machine, "gpu": "GPU"}) for r in record("b", **{"2048": 1.0})]
    for found in (record("a", **{"2048": 0.5}), elsewhere, record("a", **{"2048": 0.9, "64": 1.0})):
        append_records(tmp_path / "needle.jsonl", found)
    lines = results_table(tmp_path).strip().splitlines()
    assert lines[0].startswith("**Needle** (needle:2), right answers; trained on up to 2,048 steps; ")
    assert "1 thread and GPU, float32" in lines[0]
    assert lines[2] == "| model | parameters | 64 steps | 2,048 steps |"
    assert lines[4:] == ["| a | 0.12 M | 100.0% | 90.0% |", "| b | 0.12 M |  | 100.0% |"]


def test_phase_table(tmp_path):
    def coherent(model, length):
        forward = {"seconds": 0.012, "ratio": 0.5, "peak_bytes": 1}
        return {"forward": forward, "backward": {"seconds": length / 1e3, "ratio": 0.25, "peak_bytes": 9_000_000}}

    records = grid_records("phase", "length", (64, 128), coherent)
    append_records(
        tmp_path / "phase.jsonl", [dataclasses.replace(r, config={**r.config, "num_heads": 2}) for r in records]
    )
    lines = results_table(tmp_path).strip().splitlines()
    assert lines[0].startswith("**Phase coherence** at width 8 in 2 heads, ms forward (x P) and with backward (x), ")
    assert lines[2] == "| scores | 64 steps | 128 steps |"
    assert lines[-1] == "| ours | 12.0 (0.50); 64.0 (0.25), 9 | 12.0 (0.50); 128.0 (0.25), 9 |"


def test_table_of_leaks(tmp_path):
    config = {"case": "c", "shortest": 32, "longest": 48, "train_tokens": 2000, "held_out_tokens": 1000}
    figures = {"passages": 17, "planted": 680, "missed": 1, "false": 2, "seconds": 12.34, "peak_bytes": 9_000_000}
    pairs = [({**config, "model": "planted"}, figures)]
    append_records(tmp_path / "leaks.jsonl", make_records("leaks", pairs, BenchSetting()))
    lines = results_table(tmp_path).strip().splitlines()
    assert lines[0].startswith("**Held-out passages** of 32 to 48 tokens, one of each length, in 2,000 training and ")
    assert lines[-1] == "| planted | 17 | 680 | 1 | 2 | 12.3 | 9 |"


def test_optimizer_table(tmp_path):
    figures = {"parameters": 10_674_048, "seconds": 0.0234, "ratio": 0.5, "state_bytes": 85_000_000}
    records = make_records("optimizers", [({"case": "c", "peer": "P", "model": "ours"}, figures)], BenchSetting())
    append_records(tmp_path / "optimizers.jsonl", records)
    lines = results_table(tmp_path).strip().splitlines()
    assert lines[0].startswith("**Optimizer step** of 10.67 M parameters; ")
    assert lines[2:] == [
        "| optimizer | ms a step | x P | state MB |",
        "| :-- | --: | --: | --: |",
        "| ours | 23.4 | 0.50 | 85 |",
    ]


@pytest.mark.parametrize(("kind", "title"), [("pyramid", "Pyramid"), ("sparsity", "Blocks on part of the harmonics")])
def test_tables_of_stacks(tmp_path, kind, title):
    def figures(length):
        return {"parameters": 1_804_311, "seconds": length / 1e3, "ratio": 1.25}

    pairs = [
        ({"case": "c", "peer": "P", "model": m, "num_harmonics": 64, "mixer": "M", "batch": 2, "length": n}, figures(n))
        for n in (64, 256)
        for m in ("P", "ours")
    ]
    append_records(tmp_path / f"{kind}.jsonl", make_records(kind, pairs, BenchSetting()))
    lines = results_table(tmp_path).strip().splitlines()
    assert lines[0].startswith(f"**{title}**, 64 harmonics, M, forward and backward, ms (x P); ")
    assert lines[2] == "| model | parameters | 2 x 64 steps | 2 x 256 steps |"
    assert lines[5] == "| ours | 1.80 M | 64.0 (1.25) | 256.0 (1.25) |"


def test_marked_part_alone_is_replaced(tmp_path):
    append_records(tmp_path / "train.jsonl", [train_record("a", "2026-02-01")])
    before = "one\n<!-- results:begin compare train -->\nold\n<!-- results:end -->\ntwo\n"
    after = with_results(before, tmp_path)
    assert after.startswith("one\n<!-- results:begin compare train -->\n\n**Train step**")
    assert after.endswith("|\n\n<!-- results:end -->\ntwo\n")
    assert "old" not in after
    assert with_results(after, tmp_path) == after


def test_bad_documents_are_refused(tmp_path):
    with pytest.raises(ValueError, match="no lines <!-- results:begin -->"):
        with_results("no table", tmp_path)
    with pytest.raises(ValueError, match="unknown kind of results 'trian'; did you mean 'train'"):
        with_results("<!-- results:begin trian -->\n<!-- results:end -->", tmp_path)
