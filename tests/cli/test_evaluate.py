"""`undula evaluate`: the library's own score, of the held-out text or of another one."""

import pytest

from tests.trained import english
from undula.cli.main import main
from undula.experiments.run import evaluate_run


@pytest.fixture
def other(tmp_path):
    path = tmp_path / "other.txt"
    path.write_text(english(30)[::-1])
    return path


def shown(capsys):
    return {line[:13].strip(): line[13:].split()[0] for line in capsys.readouterr().out.splitlines()[1:]}


def test_score_of_the_held_out_text(trained, capsys):
    assert main(["evaluate", str(trained)]) == 0
    assert shown(capsys)["bits per byte"] == f"{evaluate_run(trained).bits_per_byte:.4f}"


def test_score_of_another_text(trained, other, capsys):
    assert main(["evaluate", str(trained), "--data", str(other)]) == 0
    found, score = shown(capsys), evaluate_run(trained, str(other))
    assert found["bits per byte"] == f"{score.bits_per_byte:.4f}" != f"{evaluate_run(trained).bits_per_byte:.4f}"
    assert found["predicted"] == f"{len(other.read_text()) - 1:,}"


@pytest.mark.parametrize(("content", "said"), [(b"", "is empty"), (b"a\0b", "is not text"), (None, "no such file")])
def test_bad_text_is_one_line(content, said, trained, tmp_path, capsys):
    path = tmp_path / "t.txt"
    if content is not None:
        path.write_bytes(content)
    assert main(["evaluate", str(trained), "--data", str(path)]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
