"""The verbs on encoders that tell classes and numbers: train, go on, score, show, ask, compare, tabulate."""

import pytest

from tests.data.test_labelled import rows, write_jsonl
from undula.bench.records import read_records
from undula.bench.table import results_table
from undula.cli.main import main
from undula.cli.recognition import news, score
from undula.training.recognition import RecognitionProgress
from undula.validation.recognition import ClassScore

STACK = ("d_model=12", "num_layers=1", "num_heads=2", "d_ff=16")
SMALL = tuple(f"model.backbone.{value}" for value in STACK)
SMALL = (*SMALL, "data.tokenizer=byte", "steps=4", "batch_size=4", "save_every=2", "eval_every=2", "log_every=1")
SMALL = (*SMALL, "device=cpu")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recognition")
    source = write_jsonl(folder / "a.jsonl", rows())
    assert main(["train", "topics", "--out", str(folder / "run"), f"data.source={source}", *SMALL]) == 0
    return folder / "run"


def held_out(text):
    return next(line for line in text.splitlines() if line.startswith("held out  "))


def test_a_run_is_scored_shown_and_goes_on(run, capsys):
    assert main(["evaluate", str(run)]) == 0
    scored = capsys.readouterr().out
    assert "accuracy" in held_out(scored)
    table = [line.split() for line in scored.splitlines()[-2:]]
    assert [row[0] for row in table] == ["n", "y"]
    assert sum(int(cell) for row in table for cell in row[1:]) == 4
    assert main(["evaluate", str(run), "--data", str(run.parent / "a.jsonl")]) == 0
    assert next(line.split() for line in capsys.readouterr().out.splitlines() if line.startswith("scored"))[1] == "24"
    assert main(["show", str(run)]) == 0
    shown = capsys.readouterr().out
    assert "held out, last 2 of 2 scores" in shown
    assert [line.split()[0] for line in shown.splitlines() if line.strip()[:2] in ("2 ", "4 ")] == ["2", "4"]
    assert '"recognition"' in shown
    assert main(["train", "--resume", str(run)]) == 0
    assert held_out(capsys.readouterr().out).split() == held_out(scored).split()


def test_filters_are_drawn(run, tmp_path, capsys):
    assert main(["show", "waves", str(run), "--out", str(tmp_path)]) == 0
    drawn = sorted(path.name for path in tmp_path.iterdir())
    assert drawn == ["filters-1.png", "poles-1.png"]
    assert sorted(capsys.readouterr().out.split()) == [str(tmp_path / name) for name in drawn]


def test_a_model_is_asked_about_a_text(run, capsys):
    assert main(["generate", str(run), "--prompt", "good number 3"]) == 0
    told = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert {name for _, name in told} == {"n", "y"}
    assert sum(float(share.rstrip("%")) for share, _ in told) == pytest.approx(100, abs=0.02)
    assert main(["generate", str(run), "--prompt", ""]) == 2
    assert "the text is empty" in capsys.readouterr().err


def test_recipes_are_shown(capsys):
    assert main(["show", "recipes"]) == 0
    assert "spoken_digits_attention" in capsys.readouterr().out
    assert main(["show", "recipes", "digits"]) == 0
    assert '"task": "recognition"' in capsys.readouterr().out


def test_models_are_compared_and_tabulated(run, tmp_path, capsys):
    command = ["compare", "topics", "topics_attention", "--seeds", "2", "--out", str(tmp_path / "runs")]
    command += ["--results", str(tmp_path / "results"), f"data.source={run.parent / 'a.jsonl'}", *SMALL]
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "topics_attention" in printed
    records = read_records(tmp_path / "results" / "recognition.jsonl")
    assert [(r.config["model"], r.config["seed"]) for r in records] == [
        ("topics", 0),
        ("topics_attention", 0),
        ("topics", 1),
        ("topics_attention", 1),
    ]
    assert records[0].config["train"]["data"]["source"] == "a.jsonl"
    assert {"accuracy", "macro_f1", "loss", "parameters", "training_seconds", "scored"} <= set(records[0].figures)
    mean = sum(r.figures["accuracy"] for r in records[::2]) / 2
    lines = results_table(tmp_path / "results", ["recognition"]).strip().splitlines()
    assert lines[0].startswith("**Recognition** of topics, a.jsonl, ")
    assert ": 4 held out, 16 read in training; " in lines[0]
    row = next(line for line in lines if line.startswith("| topics |")).split(" | ")
    assert row[2] == "2"
    assert row[3].startswith(f"{100 * mean:.2f} %")
    # The same again, in processes: nothing is trained anew, and the table shows each seed once.
    written = (tmp_path / "runs").glob("*/*/checkpoints/step-4/model.safetensors")
    before = {path: path.stat().st_mtime_ns for path in written}
    assert main([*command, "--jobs", "2"]) == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert results_table(tmp_path / "results", ["recognition"]).count("| 2 |") == 2


def test_what_cannot_be_compared_is_said(capsys, tmp_path):
    assert main(["compare", "topics", "digits", "--out", str(tmp_path)]) == 2
    assert "topics and digits would not be trained alike: data" in capsys.readouterr().err
    assert main(["compare", "topics", "topics", "--out", str(tmp_path)]) == 2
    assert "topics is named twice" in capsys.readouterr().err
    assert main(["compare", "topics", "--equal-time", "--out", str(tmp_path)]) == 2
    assert "--equal-time is of language models alone" in capsys.readouterr().err
    assert main(["compare", "topics", "wave_lm", "--out", str(tmp_path)]) == 2
    assert "unknown recipe for recognition 'wave_lm'" in capsys.readouterr().err


def test_progress_is_said():
    start = RecognitionProgress(step=0, steps=9, where="cpu, float32")
    assert news(start) == "on cpu, float32"
    later = RecognitionProgress(step=3, steps=9, where="cpu", loss=0.5, items_per_second=1234.0, seconds_left=61.0)
    assert news(later) == "loss 0.500  1,234 inputs/s  1:01 left"
    at = RecognitionProgress(step=3, steps=9, where="cpu", validation=ClassScore(4, 0.5, ((2, 1), (0, 1))))
    assert score(at) == (0.75, "held out: accuracy 75.00%, macro F1 0.7333, 0.5000 nats")
