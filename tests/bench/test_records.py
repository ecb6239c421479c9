"""A record is one line of JSON that says what was measured, how, on what, with what, and when."""

import json
import math
import subprocess
from datetime import datetime

import pytest
import torch
import transformers

import undula
from undula.bench.environment import make_records
from undula.bench.records import append_records, read_records, results_file
from undula.bench.setting import BenchSetting
from undula.config import to_dict

FIELDS = ["what", "config", "figures", "versions", "machine", "commit", "dirty", "date"]


@pytest.fixture
def records():
    pairs = [({"model": "a"}, {"seconds": 0.5, "spread": math.nan}), ({"model": "b"}, {"losses": (1.0, math.inf)})]
    return make_records("train", pairs, BenchSetting(threads=2), peers=("x-transformers", "no-such-package"))


def test_line_holds_everything(records, tmp_path):
    path = tmp_path / "new" / "train.jsonl"
    append_records(path, records)
    first, second = map(json.loads, path.read_text().splitlines())
    assert list(first) == FIELDS
    assert first["what"] == "train"
    assert first["config"] == {"model": "a", "setting": to_dict(BenchSetting(threads=2))}
    assert first["figures"] == {"seconds": 0.5, "spread": None}
    assert second["figures"] == {"losses": [1.0, None]}
    assert first["versions"].pop("python").startswith("3.")
    assert first["versions"].pop("x-transformers") is not None
    wanted = {"torch": torch.__version__, "transformers": transformers.__version__, "undula": undula.__version__}
    assert first["versions"] == {**wanted, "no-such-package": None}
    assert set(first["machine"]) == {"cpu", "cores", "threads", "gpu", "allocator"}
    assert (first["machine"]["threads"], first["machine"]["gpu"]) == (2, None)
    assert first["machine"]["cpu"]
    assert first["date"] == second["date"]
    assert datetime.fromisoformat(first["date"]).utcoffset().total_seconds() == 0


def test_records_are_added_and_read_back(records, tmp_path):
    path = tmp_path / "train.jsonl"
    assert read_records(path) == []
    append_records(path, records[:1])
    append_records(path, records[1:])
    assert [record.config["model"] for record in read_records(path)] == ["a", "b"]
    assert read_records(path)[1].versions == records[1].versions


@pytest.mark.parametrize("line", ["{", '{"what": "train"}', '{"waht": 1}', "3"])
def test_line_that_is_no_record_is_named(line, records, tmp_path):
    path = tmp_path / "train.jsonl"
    append_records(path, records[:1])
    with path.open("a") as file:
        file.write(f"{line}\n")
    with pytest.raises(ValueError, match="train.jsonl, line 2 is no record .*; delete the line"):
        read_records(path)


def test_commit_is_that_of_the_source(records):
    folder = undula.__path__[0]
    git = subprocess.run(["git", "-C", folder, "log", "-1", "--format=%H"], capture_output=True, text=True, check=False)
    assert records[0].commit == (git.stdout.strip() or None)


def test_results_lie_in_the_repository(tmp_path, monkeypatch):
    inner = tmp_path / "repository" / "inner"
    inner.mkdir(parents=True)
    subprocess.run(["git", "init", "-q", str(inner.parent)], check=True)
    monkeypatch.chdir(inner)
    assert results_file("train").resolve() == inner.parent.resolve() / "benchmarks" / "results" / "train.jsonl"
    assert results_file("train", tmp_path) == tmp_path / "train.jsonl"


def test_results_without_a_repository_lie_in_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert results_file("mixers") == tmp_path / "benchmarks" / "results" / "mixers.jsonl"
