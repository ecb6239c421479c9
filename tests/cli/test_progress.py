"""The display of a run, on a terminal and elsewhere."""

import io

import pytest
from rich.console import Console

from undula.cli.progress import LiveProgress, clock, news
from undula.ops.metrics import Metrics
from undula.training.records import Progress


def at(step, **more):
    return Progress(
        step=step,
        steps=1000,
        loss=2.0,
        bits_per_byte=2.885,
        tokens_per_second=12345.0,
        seconds_left=61.0,
        where="cpu, float32",
        **more,
    )


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "0:00"), (61, "1:01"), (3599.7, "1:00:00"), (7325, "2:02:05")])
def test_clock(seconds, text):
    assert clock(seconds) == text


def test_news():
    assert news(at(10)) == "loss 2.000  2.885 bits/byte  12,345 tokens/s  1:01 left"
    assert news(Progress(step=0, steps=9, where="cuda, bfloat16")) == "on cuda, bfloat16"


def test_plain_lines_are_few_and_every_score_has_one():
    file = io.StringIO()
    score = Metrics(100.0, 50, 50)
    with LiveProgress(Console(file=file, width=120), "wave_lm") as live:
        for step in range(0, 1001, 10):
            live(at(step, validation=score if step >= 500 else Metrics()))
    lines = file.getvalue().splitlines()
    assert [line for line in lines if "held-out" in line] == ["wave_lm: step 500, held-out text 2.8854 bits per byte"]
    assert 20 <= len(lines) <= 22
    assert lines[-1].startswith("wave_lm: step 1,000/1,000  loss 2.000")


def test_a_terminal_shows_one_line_that_moves():
    file = io.StringIO()
    screen = Console(file=file, width=140, force_terminal=True, legacy_windows=False)
    with LiveProgress(screen, "wave_lm") as live:
        live(at(500, validation=Metrics(100.0, 50, 50)))
        live(at(1000, validation=Metrics(100.0, 50, 50)))
    shown = file.getvalue()
    assert "1,000/1,000 steps" in shown
    assert "12,345 tokens/s" in shown
    assert shown.count("held-out text") == 1
