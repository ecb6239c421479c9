"""`undula evolve`: generations and verdict on the screen, and bad arguments."""

import pytest

from tests.trained import train
from undula.cli.main import main
from undula.experiments import evolve
from undula.optim.basis import BasisFunction
from undula.optim.evolution import Outcome

STATS = {"generation": 1, "best_fitness": -1.25, "avg_fitness": -1.5, "std_fitness": 0.125}


@pytest.fixture
def instant(monkeypatch):
    """Evolutions that cost nothing; what was asked for is kept."""
    asked = []

    def say(applied, checkpoint=None):
        outcome = Outcome(basis=BasisFunction(), applied=applied, gain=0.012, error=0.003, windows=64, candidates=181)

        def evolved(folder, out, plan, watch):
            asked.append((folder, out, plan))
            watch(STATS)
            return evolve.Evolved(
                outcome=outcome, before=1.5, after=1.49, checkpoint=checkpoint, optimizer=True, files=()
            )

        monkeypatch.setattr(evolve, "evolve_run", evolved)
        return asked

    return say


def test_a_winner_is_told_with_its_number(tmp_path, instant, capsys):
    asked = instant(True, tmp_path / "step-4")
    words = ["--generations", "3", "--population", "5", "--windows", "9", "--structure", "--seed", "2"]
    assert main(["evolve", "runs/a", *words]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "generation 1 of 3: best 1.2500, mean 1.5000 ± 0.1250 nats per token" in shown
    assert "applied: -0.0120 ± 0.0030 nats on 64 windows that chose nothing" in shown
    assert "1.5000 before, 1.4900 after" in shown
    ((folder, out, plan),) = asked
    assert (str(folder), str(out)) == ("runs/a", "runs/a-evolved")
    assert (plan.generations, plan.population, plan.windows, plan.structure, plan.seed) == (3, 5, 9, True, 2)


def test_the_incumbent_is_kept_in_so_many_words(tmp_path, instant, capsys):
    asked = instant(False)
    assert main(["evolve", "runs/a", "--out", str(tmp_path / "b")]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "kept the incumbent: no candidate was better beyond noise (the best of 181: -0.0120 ± 0.0030" in shown
    assert "before" not in shown
    assert asked[0][1] == tmp_path / "b"


def test_a_whole_evolution(text, tmp_path, capsys):
    widths = ("model.backbone.d_model=16", "model.backbone.d_ff=16", "model.signal.harmonics=4", "data.tokenizer=char")
    mixers = "model.backbone.mixers=stochastic_wavelet"
    options = "model.backbone.mixer_options={}"
    assert train(tmp_path / "run", text, *widths, mixers, options, recipe="spectral_llm") == 0
    words = ["--generations", "1", "--population", "2", "--windows", "8"]
    assert main(["evolve", str(tmp_path / "run"), *words]) == 0
    shown = capsys.readouterr().out
    assert "generation 1 of 1" in shown
    assert any(word in shown for word in ("applied: ", "kept the incumbent: "))
    assert (tmp_path / "run-evolved" / "evolution.json").is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere"], "is not the folder of a run"),
        (["nowhere", "--population", "1"], "population=1; wanted at least 2"),
        (["nowhere", "--generations", "0"], "generations=0; wanted at least 1"),
    ],
)
def test_bad_arguments_are_one_line(words, said, capsys):
    assert main(["evolve", *words]) == 2
    assert said in capsys.readouterr().err
