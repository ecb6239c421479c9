import json
import math

import pytest

from undula.training.records import append_line, drop_lines_after, read_lines


def test_numbers_that_json_does_not_know_become_null(tmp_path):
    path = tmp_path / "metrics.jsonl"
    append_line(path, {"step": 1, "loss": math.nan, "perplexity": math.inf})
    append_line(path, {"step": 2, "loss": 0.1 + 0.2})
    assert [json.loads(line) for line in path.read_text().splitlines()] == read_lines(path)
    assert read_lines(path) == [{"step": 1, "loss": None, "perplexity": None}, {"step": 2, "loss": 0.1 + 0.2}]


def test_a_last_line_that_was_cut_short_is_left_out_and_others_that_are_broken_are_not(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2, "lo')
    assert read_lines(path) == [{"step": 1}]
    path.write_text('{"step": 1}\n{"step": \n{"step": 3}\n')
    with pytest.raises(ValueError, match="line 2 is not JSON"):
        read_lines(path)
    assert read_lines(tmp_path / "nothing.jsonl") == []


def test_lines_after_a_step_are_forgotten(tmp_path):
    path = tmp_path / "metrics.jsonl"
    for step in (1, 5, 5, 9):
        append_line(path, {"step": step, "loss": 1 / 3})
    with path.open("a") as file:
        file.write('{"step": 1')
    drop_lines_after(path, 5)
    assert path.read_text() == '{"step": 1, "loss": 0.3333333333333333}\n' + 2 * (
        '{"step": 5, "loss": 0.3333333333333333}\n'
    )


def test_a_full_disk_is_one_clear_line():
    from pathlib import Path

    with pytest.raises(OSError, match="/dev/full could not be written: No space left on device; make room"):
        append_line(Path("/dev/full"), {"step": 1})
