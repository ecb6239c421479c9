"""The verbs on translations: train, go on, score with several searches, translate, show."""

import sys

import pytest

from tests import parallel as small
from undula.bench.records import read_records
from undula.bench.table import results_table
from undula.cli.main import main
from undula.cli.translation import news, score
from undula.training.translation import TranslationProgress
from undula.validation.translation import TranslationScore

STACK = ("d_model=16", "num_layers=1", "num_heads=2", "d_ff=16")
SMALL = tuple(f"model.{side}.{value}" for side in ("encoder", "decoder") for value in STACK)
SMALL = (*SMALL, "data.vocab_size=300", "steps=4", "batch_size=8", "save_every=2", "eval_every=2", "log_every=1")
SMALL = (*SMALL, "search.max_length=10", "device=cpu")


@pytest.fixture(autouse=True)
def bleu(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu", small.sacrebleu())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("translation")
    small.write(folder / "pairs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sacrebleu", small.sacrebleu())
        assert main(["train", "multi30k", "--out", str(folder / "run"), f"data.folder={folder / 'pairs'}", *SMALL]) == 0
    return folder / "run"


def test_a_run_is_scored_with_each_search(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    once = capsys.readouterr().out
    assert "BLEU" in once
    penalties = ["--length-penalty", "[0.5,1.0]", "--coverage-penalty", "[0,0.2]"]
    assert main(["evaluate", str(run), "--beams", "[1,2]", *penalties, "--data", str(run.parent / "pairs")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()[:1].isdigit()]
    assert [row[:3] for row in rows[1:]] == [
        ["2", "0.5", "0"],
        ["2", "0.5", "0.2"],
        ["2", "1", "0"],
        ["2", "1", "0.2"],
    ]
    assert rows[0][0] == "1"
    assert len({row[-1] for row in rows}) == 1


def test_translators_are_compared_and_tabulated(run, tmp_path, capsys):
    command = ["compare", "multi30k", "multi30k_attention", "--seeds", "2", "--out", str(tmp_path / "runs")]
    command += ["--results", str(tmp_path), "--title", "both", f"data.folder={run.parent / 'pairs'}", *SMALL]
    assert main(command) == 0
    assert "multi30k_attention" in capsys.readouterr().out
    records = read_records(tmp_path / "translation.jsonl")
    assert [(r.config["model"], r.config["seed"]) for r in records] == [
        ("multi30k", 0),
        ("multi30k_attention", 0),
        ("multi30k", 1),
        ("multi30k_attention", 1),
    ]
    assert records[0].config["train"]["data"]["folder"] == "pairs"
    assert records[0].figures["training_seconds"] > 0
    assert records[0].figures["failed_audits"] == []
    mean = sum(r.figures["bleu"] for r in records[::2]) / 2
    table = results_table(tmp_path, ["translation"]).strip().splitlines()
    assert table[0].startswith("**Translation** of both: ")
    assert " 32 read in training; " in table[0]
    row = next(line for line in table if line.startswith("| multi30k |")).split(" | ")
    assert row[3].startswith(f"{mean:.2f} ± ")
    assert row[-1] == "passed |"
    # Finished runs are scored again, not trained again.
    assert main(command) == 0
    again = read_records(tmp_path / "translation.jsonl")[4:]
    assert [r.figures for r in again] == [r.figures for r in records]
    assert main(["compare", "multi30k", "topics", "--out", str(tmp_path / "runs")]) == 2
    assert "unknown recipe for translation 'topics'" in capsys.readouterr().err


def test_searches_become_records_and_a_table(run, tmp_path, capsys):
    penalties = ["--length-penalty", "[0.5,1.0]", "--coverage-penalty", "[0,0.2]"]
    assert main(["bench", "search", str(run), "--beams", "[1,2]", *penalties, "--results", str(tmp_path)]) == 0
    assert "5 records added" in capsys.readouterr().out
    records = read_records(tmp_path / "search.jsonl")
    greedy, *beams = [[r.config[name] for name in ("num_beams", "length_penalty", "coverage_penalty")] for r in records]
    assert greedy == [1, None, None]
    assert beams == [[2, 0.5, 0.0], [2, 0.5, 0.2], [2, 1.0, 0.0], [2, 1.0, 0.2]]
    assert all(r.figures["sentences_per_second"] > 0 for r in records)
    lines = results_table(tmp_path, ["search"]).strip().splitlines()
    assert lines[0].startswith("**Search** for translations of 10 held-out sentences of pairs, 1 seed; ")
    assert "multi30k: BLEU" in lines[2]
    assert lines[-1].startswith(f"| 2 | 1.0 | 0.2 | {records[-1].figures['bleu']:.2f} | ")


def test_a_translator_is_audited(run, capsys):
    assert main(["audit", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "source padding" in printed
    assert "nothing failed" in printed


def test_a_sentence_is_translated(run, capsys):
    assert main(["generate", str(run), "--prompt", "one two", "--max-new-tokens", "6"]) == 0
    greedy = capsys.readouterr().out
    assert greedy.endswith("\n")
    assert main(["generate", str(run), "--prompt", "one two", "--max-new-tokens", "6", "--beams", "3"]) == 0
    assert capsys.readouterr().out.endswith("\n")
    assert main(["generate", str(run), "--prompt", ""]) == 2
    assert "the sentence is empty" in capsys.readouterr().err


def test_a_finished_run_goes_on_and_is_shown(run, capsys):
    assert main(["train", "--resume", str(run)]) == 0
    assert "held-out sentences" in capsys.readouterr().out
    assert main(["show", str(run)]) == 0
    shown = capsys.readouterr().out
    assert [line.split()[:2] for line in shown.splitlines() if line.strip()[:2] in ("2 ", "4 ")] == [
        ["2", "0.00"],
        ["4", "0.00"],
    ]
    assert "step-4" in shown
    assert main(["show", "recipes", "multi30k"]) == 0
    assert '"task": "translation"' in capsys.readouterr().out
    assert main(["show", "recipes"]) == 0
    assert "multi30k_attention" in capsys.readouterr().out


def test_an_alignment_is_drawn(run, tmp_path, capsys):
    assert main(["show", "alignment", str(run), "--prompt", "one two", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "alignment.png")
    assert (tmp_path / "alignment.png").read_bytes()[:4] == b"\x89PNG"
    assert main(["show", "alignment", str(run)]) == 2
    assert "the sentence is empty; give some text to translate" in capsys.readouterr().err


def test_missing_files_are_one_line(tmp_path, capsys):
    assert main(["train", "multi30k", "--out", str(tmp_path / "run"), f"data.folder={tmp_path}"]) == 2
    assert "data.folder names the folder of the pairs" in capsys.readouterr().err


def test_progress_is_said():
    start = TranslationProgress(step=0, steps=9, where="cpu, float32")
    assert news(start) == "on cpu, float32"
    later = TranslationProgress(step=3, steps=9, where="cpu", ce=4.5, tokens_per_second=1234.0, seconds_left=61.0)
    assert news(later) == "4.500 nats/token  1,234 tokens/s  1:01 left"
    value, said = score(TranslationProgress(step=3, steps=9, where="cpu", validation=TranslationScore(bleu=12.3)))
    assert value == 12.3
    assert said.startswith("held-out sentences BLEU 12.30")
