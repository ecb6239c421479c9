"""What the documents tell people to type works: their Python runs, their commands exist."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/enhancements.md",
    "docs/senses.md",
    "docs/spectral.md",
    "docs/spectral-llm.md",
    "docs/wave-gpt.md",
)
VERB = "import sys; from undula.cli.main import main; sys.exit(main())"


def blocks(text, *languages):
    """Return (number of the first line, source) of each fenced block in one of the languages."""
    found = re.finditer(r"^```(\w+)[^\n]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, m.start(2)) + 1, m.group(2)) for m in found if m.group(1) in languages]


def program(text):
    """Return a document's Python blocks as one program, each on the lines where the document has it."""
    lines = [""] * text.count("\n")
    for first, source in blocks(text, "python"):
        lines[first - 1 : first - 1 + source.count("\n")] = source.splitlines()
    return "\n".join(lines) + "\n"


def commands(text):
    """Return the words of each command shown: every line of a bash block, and what stands after $ in a console."""
    shown = [line for _, source in blocks(text, "bash", "sh") for line in source.splitlines()]
    console = [line for _, source in blocks(text, "console") for line in source.splitlines()]
    shown += [line[2:] for line in console if line.startswith("$ ")]
    parts = [part.split("#")[0].split() for line in shown for part in line.split("&&")]
    return [words for words in parts if words]


def made_targets(words_of_commands):
    """Return the targets of every `make` among the commands."""
    rest = [word for words in words_of_commands if words[0] == "make" for word in words[1:]]
    return {word for word in rest if "=" not in word and not word.startswith("-")}


def used_verbs(words_of_commands):
    """Return the first argument of every `undula` among the commands, wherever the program lies."""
    calls = [words for words in words_of_commands if words[0].rpartition("/")[2] == "undula" and len(words) > 1]
    return {words[1] for words in calls if not words[1].startswith("-")}


def documented(pick):
    return sorted({name for document in DOCUMENTS for name in pick(commands((ROOT / document).read_text()))})


EXAMPLE = """# Title

```console
$ git clone somewhere && cd somewhere
$ make test JOBS=4    # a remark
made: nothing
$ .venv/bin/undula train wave_lm steps=3
```

```python
x = 1
```

```bash
make demo
undula --help
```

```python
if x != 1:
    raise ValueError(x)
```
"""


def test_commands_and_programs_are_found():
    assert made_targets(commands(EXAMPLE)) == {"test", "demo"}
    assert used_verbs(commands(EXAMPLE)) == {"train"}
    # Each line of the program stands where the document has it, so that an error's line number is the document's.
    kept = {"x = 1", "if x != 1:", "    raise ValueError(x)"}
    assert program(EXAMPLE).splitlines() == [line if line in kept else "" for line in EXAMPLE.splitlines()]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_python_of_the_document_runs(document, tmp_path):
    script = tmp_path / Path(document).with_suffix(".py").name
    script.write_text(program((ROOT / document).read_text()))
    run = subprocess.run([sys.executable, script.name], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_every_documented_make_target_exists():
    exist = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(documented(made_targets)) - set(exist) == set()


def test_every_documented_verb_answers_for_help():
    for verb in documented(used_verbs):
        run = subprocess.run([sys.executable, "-c", VERB, verb, "--help"], capture_output=True, text=True, check=False)
        assert (verb, run.returncode) == (verb, 0), run.stderr
