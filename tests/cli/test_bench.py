"""`undula bench`: measures, prints, records, makes tables, and answers mistakes in one line."""

import pytest

from undula.bench.records import read_records
from undula.cli.arguments import parsed_length
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
    assert main(["bench", "pieces", "tiny", *quick]) == 0
    assert main(["bench", "transforms", "tiny", *quick]) == 0
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
        "matrix products",
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


@pytest.mark.parametrize(
    ("text", "steps"), [("512", 512), ("4k", 4096), ("1K", 1024), ("64k", 65536), ("128k", 131072), ("200k", 200000)]
)
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
    said = capsys.readouterr().out
    assert "undula bench MEASUREMENT" in said
    for kind in ("train", "mixers", "decode", "optimizers", "phase", "pyramid", "sparsity", "wave-gpt", "table"):
        assert f"\n  {kind} " in said
    for kind in ("needle", "copy", "plot", "codec", "wavelet", "pieces", "transforms"):
        assert f"\n  {kind} " in said


def test_pictures_of_records(tmp_path, capsys, monkeypatch):
    assert main(["bench", "plot", "--results", str(tmp_path)]) == 2
    assert "no records of mixers; make some" in capsys.readouterr().err
    monkeypatch.setattr("undula.bench.table.TRIALS", ())
    words = [
        "--only",
        "fft_conv",
        "--lengths",
        "8,16",
        "--memory",
        "false",
        "--repeats",
        "1",
        "--results",
        str(tmp_path),
    ]
    assert main(["bench", "mixers", "tiny", *words]) == 0
    assert {r.config["model"] for r in read_records(tmp_path / "mixers.jsonl")} == {
        "torch SDPA",
        "FFT convolution",
        "fft_conv",
    }


def test_recall_is_trained_asked_and_recorded(tmp_path, capsys):
    words = [
        "fft_conv, memory",
        "--count",
        "2",
        "--lengths",
        "32,64",
        "--episodes",
        "3",
        "--out",
        str(tmp_path / "runs"),
    ]
    small = ["steps=3", "data.block_size=32", "model.backbone.d_model=8", "model.backbone.d_ff=8", "eval_every=3"]
    assert main(["bench", "needle", *words, *small, "--results", str(tmp_path)]) == 0
    assert "needle:2, right answers; trained on up to 32 steps" in capsys.readouterr().out
    (record,) = read_records(tmp_path / "needle.jsonl")
    assert record.what == "needle"
    assert set(record.figures["accuracy"]) == {"32", "64"}
    assert record.figures["answers"] == 6
    assert record.config["run"]["data"]["source"] == "needle:2"
    # A finished run is asked again, not trained again.
    assert main(["bench", "needle", *words, *small, "--results", str(tmp_path)]) == 0
    again = read_records(tmp_path / "needle.jsonl")[1]
    assert again.figures["accuracy"] == record.figures["accuracy"]
    capsys.readouterr()
    assert main(["bench", "table", "--results", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    assert "| model | parameters | 32 steps | 64 steps |" in table
    assert table.count("| fft_conv, memory |") == 1
    assert main(["bench", "needle", "nope"]) == 2
    assert "unknown model 'nope'" in capsys.readouterr().err
