"""`undula animate`: the film, the text, and what it answers to mistakes."""

import pytest

from undula.cli.main import main


def test_film_and_text(trained, tmp_path, capsys):
    path = tmp_path / "x.gif"
    words = ["animate", str(trained), "--prompt", "The", "--tokens", "2", "--output", str(path), "--fps", "3"]
    assert main(words) == 0
    output = capsys.readouterr().out
    assert output.startswith("The")
    assert f"written: {path}" in output
    assert path.read_bytes()[:6] == b"GIF89a"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--output", "x.avi"], "unknown kind of film '.avi'"),
        (["--tokens", "0"], "max_new_tokens=0"),
        (["--fps", "0", "--output", "x.gif", "--tokens", "1"], "fps=0.0"),
    ],
)
def test_mistakes_are_one_line(words, said, trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["animate", str(trained), "--prompt", "The", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_no_run(tmp_path, capsys):
    assert main(["animate", str(tmp_path / "none")]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err
