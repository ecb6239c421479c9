"""A small text, and small runs that were trained on it: what the tests of the upper rooms share."""

import pytest

from undula.cli.main import main
from undula.training.records import read_lines

SENTENCES = (
    "The statement number {0} is simple, and the value {0} is returned.\n",
    "A class named k{0} has {1} methods; none of them is called by us.\n",
    'If "{1}" is found in line {0}, an exception is raised and the loop ends.\n\n',
)
SMALL = ("batch_size=4", "data.block_size=16", "eval_batch_size=64", "log_every=1", "eval_every=2", "save_every=2")
SMALL = (*SMALL, "optim.warmup_steps=2", "model.backbone.num_layers=1", "keep_checkpoints=9")


def english(lines=120):
    """Return lines of text, no two of them equal."""
    return "".join(SENTENCES[i % 3].format(i, (7 * i) % 97) for i in range(lines))


def without_time(line):
    """A line of metrics without what the clock says."""
    return {name: value for name, value in line.items() if name != "seconds" and not name.endswith("_per_second")}


def timeless(folder):
    """The metrics of a run without what the clock says."""
    return [without_time(line) for line in read_lines(folder / "metrics.jsonl")]


def train(folder, source, *changes, recipe="smoke"):
    """Train a small run by the command line; return its exit code."""
    return main(["train", recipe, "--out", str(folder), f"data.source={source}", "steps=4", *SMALL, *changes])


@pytest.fixture(scope="session")
def text(tmp_path_factory):
    """The path of a small text; prepared corpora are kept beside it for the whole session."""
    folder = tmp_path_factory.mktemp("text")
    path = folder / "text.txt"
    path.write_text(english())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNDULA_CACHE", str(folder / "cache"))
        yield path


@pytest.fixture(scope="session")
def trained(text, tmp_path_factory):
    """The folder of a small trained run of the wave family; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("runs") / "trained"
    assert train(folder, text) == 0
    return folder


@pytest.fixture(scope="session")
def plain(text, tmp_path_factory):
    """The folder of a small plain attention model on characters, with a limited context; tests leave it as it is."""
    folder = tmp_path_factory.mktemp("runs") / "plain"
    widths = ("model.backbone.d_model=16", "model.backbone.d_ff=16", "model.context_length=24", "data.tokenizer=char")
    assert train(folder, text, *widths, recipe="attention_lm") == 0
    return folder
