"""`undula bench`: measures, prints, records, makes tables, and answers mistakes in one line."""

import pytest

from undula.bench.records import read_records
from undula.cli.bench import parsed_length
from undula.cli.main import main


def test_measuring_and_the_table(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("undula.bench.table.TRIALS", ())
    quick = ["--repeats", "1", "--warmup", "0", "--results", str(tmp_path)]
    assert main(["bench", "train", "tiny", "--memory", "false", *quick]) == 0
    assert main(["bench", "mixers", "tiny", "--lengths", "8,16", "--memory", "false", *quick]) == 0
    assert main(["bench", "decode", "tiny", *quick]) == 0
    assert main(["bench", "optimizers", "tiny", *quick]) == 0
    assert main(["bench", "pyramid", "tiny", *quick]) == 0
    assert main(["bench", "sparsity", "tiny", *quick]) == 0
    assert main(["bench", "wavelet", "tiny", "--memory", "false", *quick]) == 0
    assert main(["bench", "phase", "tiny", "--memory", "false", *quick]) == 0
    output = capsys.readouterr().out
    peers = (
        "x-transformers",
        "torch SDPA",
        "transformers Llama",
        "AdamW fused",
        "single scale",
        "all harmonics",
        "PyWavelets",
        "cosine grouped",
    )
    for shown in (*peers, f"added to {tmp_path / 'train.jsonl'}"):
        assert shown in output
    assert {r.config["length"] for r in read_records(tmp_path / "mixers.jsonl")} == {8, 16}
    assert read_records(tmp_path / "train.jsonl")[0].config["setting"]["repeats"] == 1

    document = tmp_path / "README.md"
    document.write_text("<!-- results:begin -->\n<!-- results:end -->\n")
    assert main(["bench", "table", "--write", str(document), "--results", str(tmp_path)]) == 0
    capsys.readouterr()
    assert main(["bench", "table", "--results", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() in document.read_text()


@pytest.mark.parametrize(("text", "steps"), [("512", 512), ("4k", 4096), ("1K", 1024)])
def test_lengths(text, steps):
    assert parsed_length(text) == steps


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nope"], "unknown measurement 'nope'"),
        (["train", "tinny"], "unknown case 'tinny'; did you mean 'tiny'?"),
        (["mixers", "tiny", "--lengths", "4q"], "length '4q'; wanted a whole number"),
        (["mixers", "tiny", "--lengths", "0"], "length '0'"),
        (["train", "tiny", "--device", "tpu"], "device"),
        (["train", "tiny", "--repeats", "0"], "repeats=0; wanted at least 1"),
        (["train", "tiny", "--repeats", "x"], "repeats"),
        (["table", "--write", "/no/such/file"], "/no/such/file"),
    ],
)
def test_mistakes_are_one_line(words, said, tmp_path, capsys):
    assert main(["bench", *words, "--results", str(tmp_path)] if words != ["nope"] else ["bench", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_help(capsys):
    assert main(["bench"]) == 0
    assert (
        "undula bench train|mixers|decode|optimizers|phase|pyramid|sparsity|wavelet|wave-gpt|table"
        in capsys.readouterr().out
    )
