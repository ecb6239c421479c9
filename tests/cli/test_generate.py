"""`undula generate`: text appears piece by piece; what is asked for is checked."""

import pytest

from undula.cli.main import main


def generated(capsys, folder, *words):
    code = main(["generate", str(folder), "--max-new-tokens", "12", *words])
    shown = capsys.readouterr()
    assert shown.err == ""
    return code, shown.out


def test_the_seed_decides_the_text(trained, capsys):
    first, again, other = (generated(capsys, trained, "--prompt", "The é", "--seed", seed) for seed in ("3", "3", "4"))
    assert first[0] == 0
    assert first == again != other
    assert first[1].startswith("The é")
    assert first[1].endswith("\n")


def test_options_of_sampling_are_read(plain, capsys):
    prompt = ("--prompt", "The ")
    greedy = generated(capsys, plain, *prompt, "--temperature", "0")
    assert generated(capsys, plain, *prompt, "--temperature", "0", "--seed", "9") == greedy
    assert generated(capsys, plain, *prompt, "--top-k", "1", "--seed", "9") == greedy
    assert generated(capsys, plain, *prompt, "--top-p", "1e-6", "--seed", "9") == greedy
    assert generated(capsys, plain, *prompt, "--temperature", "5", "--seed", "9") != greedy


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["--prompt", "The statement", "--max-new-tokens", "12"],
            "got 25 tokens (prompt and new ones together), more than",
        ),
        (["--prompt", "The {}é"], "has no '{', '}', 'é'; leave it out of the prompt"),
        (["--temperature", "-1"], "temperature=-1.0; wanted 0 or more"),
        (["--top-p", "0"], "top_p=0.0; wanted a share above 0"),
        (["--top-k", "-2"], "top_k=-2; wanted 0 (all tokens) or more"),
        (["--max-new-tokens", "0"], "max_new_tokens=0; wanted at least 1"),
        (["--seed", "-1"], "seed=-1; wanted 0 or more"),
    ],
)
def test_bad_input_is_one_line(words, said, plain, capsys):
    assert main(["generate", str(plain), *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_no_run(tmp_path, capsys):
    assert main(["generate", str(tmp_path / "none"), "--prompt", "A"]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err
