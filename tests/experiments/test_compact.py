"""What compacting a trained model costs is told of that model, beside the one it is held against."""

import pytest

from tests.training.tiny import tiny_config, write_text
from undula.bench.quality_tables import compacted
from undula.bench.records import read_records
from undula.cli.main import main
from undula.experiments.run import evaluate_run, load_run, train_run
from undula.models.config import BackboneConfig, CodecConfig, ModelConfig, SparsityConfig

BACKBONE = BackboneConfig(d_model=24, num_layers=1, num_heads=2, d_ff=16, block="parallel")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """The folders of a run that settled, of one of full width, and of one on another text."""
    folder = tmp_path_factory.mktemp("runs")
    model = ModelConfig(family="wave", backbone=BACKBONE, codec=CodecConfig(d_model=8, num_heads=0))
    settled = SparsityConfig(k_ratio=0.5, min_k=1, settles=True)
    text = write_text(folder)
    other = folder / "other.txt"
    other.write_text("".join(f"line {i} of another text\n" for i in range(200)))
    plans = {
        "settled": tiny_config(text, model=ModelConfig(**{**vars(model), "sparsity": settled}), settling=0.25),
        "whole": tiny_config(text, model=model),
        "other": tiny_config(other, model=model),
    }
    for name, config in plans.items():
        train_run(config, folder / name, cache_dir=folder / "cache")
    return folder


def command(runs, out, *whole):
    wholes = ",".join(str(runs / name) for name in whole)
    given = ["--steps", "8", "--rate", "0.001", "--threads", "1", "--out", str(out), "--results", str(out)]
    return main(["bench", "compact", str(runs / "settled"), "--whole", f"[{wholes}]", *given])


def test_loss_size_and_time_are_those_of_the_two_models(runs, tmp_path, capsys):
    assert command(runs, tmp_path, "whole") == 0
    (record,) = read_records(tmp_path / "compact.jsonl")
    figures, uncut = record.figures, evaluate_run(runs / "settled").loss
    assert figures["loss_whole"] == pytest.approx(evaluate_run(runs / "whole").loss)
    assert figures["loss_uncut"] == pytest.approx(uncut)
    assert figures["loss_cut"] == pytest.approx(uncut, abs=1e-5)  # it had settled
    small = load_run(tmp_path / "tiny-compacted-3")
    assert figures["loss"] == pytest.approx(evaluate_run(small.folder).loss)
    assert abs(figures["loss"] - uncut) > 1e-4
    assert figures["compacted_parameters"] == small.model.num_parameters() < figures["whole_parameters"]
    assert (small.config.model.backbone.d_model, small.config.steps) == (12, 8)
    for name in ("whole", "compacted"):
        assert 0 < figures[f"{name}_seconds_least"] <= figures[f"{name}_seconds"]
    assert "tiny" in capsys.readouterr().out
    table = compacted([record, record])
    assert "2 seeds, trained for 8 steps more" in table
    assert f"{figures['loss_cut']:.3f}" in table


def test_another_text_and_unequal_numbers_are_refused(runs, tmp_path, capsys):
    assert command(runs, tmp_path / "a", "other") == 2
    assert "the data are no longer those" in capsys.readouterr().err
    assert command(runs, tmp_path / "b", "whole", "whole") == 2
    assert "got 1 runs and 2 of full width" in capsys.readouterr().err
