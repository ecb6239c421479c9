"""Comparisons: the same batches for all, finished cells are kept, and what fails its audit is not ranked."""

import dataclasses
import hashlib
import json
import math

import pytest
import torch

from undula.bench.records import read_records
from undula.bench.setting import BenchSetting
from undula.data.build import prepare
from undula.data.config import DataConfig
from undula.experiments import cell as cells_module
from undula.experiments.cell import Cell, batch_checksum, check_batches
from undula.experiments.compare import ComparePlan, compare, equal_time, order
from undula.experiments.ranking import EQUAL_STEPS, EQUAL_TIME, parameter_warnings, rows_of
from undula.mixers.base import MIXERS
from undula.mixers.short_conv import ShortConv
from undula.models.config import BackboneConfig, ModelConfig
from undula.optim.config import OptimConfig
from undula.training.config import TrainConfig
from undula.training.trainer import RunTrainer

PLAN = ComparePlan(title="trial", seeds=2, audits=("leak",), setting=BenchSetting(repeats=1, warmup=0))


@pytest.fixture(autouse=True)
def no_memory(monkeypatch):
    """Memory is measured in new processes, which takes seconds; the harness's own test does that."""
    monkeypatch.setattr("undula.bench.train.peak_memory", lambda *_, **__: 7)


def config(text, name, mixer, **changes):
    backbone = BackboneConfig(d_model=8, num_layers=1, num_heads=2, d_ff=8, mixers=(mixer,))
    made = TrainConfig(
        name=name,
        model=ModelConfig(backbone=backbone),
        data=DataConfig(source=str(text), block_size=16),
        optim=OptimConfig(warmup_steps=1),
        steps=3,
        batch_size=2,
        log_every=1,
    )
    return dataclasses.replace(made, **changes)


@pytest.fixture
def configs(text):
    return [config(text, "short", "short_conv"), config(text, "attention_lm", "attention")]


def made(model, seed=0, loss=2.0, **changes):
    values = {"steps": 3, "parameters": 100, "bits_per_byte": loss / math.log(2), "batches": "b", "findings": ()}
    values |= {"training_tokens_per_second": 5.0, "failed": (), "where": "cpu"}
    return Cell(model=model, seed=seed, loss=loss, **{**values, **changes})


SPEEDS = {name: {"tokens_per_second": 10.0, "ratio": 0.5, "peak_bytes": 1} for name in ("a", "b", "c")}


def test_comparison(configs, text, tmp_path, monkeypatch):
    seen, given = [], RunTrainer.compute_loss

    def watched(self, model, inputs, *args, **kwargs):
        tokens = [inputs["input_ids"], inputs["shift_labels"]]
        seen.append((self.config.name, self.config.seed, [t.clone() for t in tokens]))
        return given(self, model, inputs, *args, **kwargs)

    monkeypatch.setattr(RunTrainer, "compute_loss", watched)
    found = compare(configs, tmp_path / "out", PLAN, results=tmp_path / "results")

    # Seeds outside, models inside.
    assert list(dict.fromkeys((name, seed) for name, seed, _ in seen)) == [
        ("short", 0), ("attention_lm", 0), ("short", 1), ("attention_lm", 1),
    ]  # fmt: skip
    # The recorded checksum is that of what the models were given, batch by batch, and equal for both.
    for cell in found.cells:
        total = hashlib.sha256()
        for name, seed, (tokens, labels) in seen:
            if (name, seed) == (cell.model, cell.seed):
                for row, shifted in zip(tokens, labels, strict=True):
                    total.update(row.numpy().tobytes() + shifted.numpy().tobytes())
        assert cell.batches == total.hexdigest()
    assert len({cell.batches for cell in found.cells}) == 2

    records = read_records(tmp_path / "results" / "compare.jsonl")
    assert [record.what for record in records] == ["compare cell"] * 4 + ["compare"]
    assert [(r.config["model"], r.config["seed"]) for r in records[:2]] == [("short", 0), ("attention_lm", 0)]
    assert records[-1].config["baseline"] == "attention_lm"
    data = records[-1].config["shared"]["data"]
    assert (data["source"], len(data["fingerprint"])) == (text.name, 64)
    assert all(r.config["train"]["data"] == data for r in records[:-1])
    assert str(text.parent) not in (tmp_path / "results" / "compare.jsonl").read_text()
    rows = {row["model"]: row for row in records[-1].figures["rows"]}
    assert rows["short"]["losses"] == [c.loss for c in found.cells if c.model == "short"]
    assert rows["attention_lm"]["speed_ratio"] == 1.0
    assert sorted(row.rank for row in found.rows) == [1, 2]
    assert {row.audit for row in found.rows} == {"passed"}


def test_finished_cells_are_not_trained_again(configs, tmp_path, monkeypatch):
    results = tmp_path / "results"
    one = dataclasses.replace(PLAN, seeds=1)
    first = compare(configs, tmp_path / "out", one, results=results)
    trained = []

    def counted(plan, progress=None):
        trained.append((plan.model, plan.config.seed))
        return run_cell(plan, progress)

    run_cell = cells_module.run_cell
    monkeypatch.setattr("undula.experiments.compare.run_cell", counted)
    second = compare(configs, tmp_path / "out", one, results=results)
    assert trained == []
    assert second.rows == first.rows
    # Another seed is missing, and so is a model with another value.
    changed = [configs[0], dataclasses.replace(configs[1], optim=OptimConfig(warmup_steps=2))]
    compare(changed, tmp_path / "out", PLAN, results=results)
    assert trained == [("attention_lm", 0), ("short", 1), ("attention_lm", 1)]
    assert [r.what for r in read_records(results / "compare.jsonl")].count("compare cell") == 5


def test_model_that_leaks_is_shown_but_not_ranked(configs, text, tmp_path):
    class Leaky(ShortConv):
        def forward(self, x, causal=True, attention_mask=None, *, state=None):
            y = super().forward(x, causal, attention_mask, state=state)
            return y + y.mean(1, keepdim=True) if state is None else y

    MIXERS.register("leaky")(Leaky)
    try:
        leaky = config(text, "leaky", "leaky")
        one = dataclasses.replace(PLAN, seeds=1)
        found = compare([leaky, *configs], tmp_path / "out", one, results=tmp_path / "results")
    finally:
        MIXERS.remove("leaky")
    rows = {row.model: row for row in found.rows}
    assert rows["leaky"].rank is None
    assert rows["leaky"].reason == "failed its audit (leak)"
    assert math.isfinite(rows["leaky"].loss)
    assert math.isnan(rows["leaky"].against_baseline)
    assert found.rows[-1].model == "leaky"
    assert sorted(rows[name].rank for name in ("short", "attention_lm")) == [1, 2]
    finding = next(cell for cell in found.cells if cell.model == "leaky").findings[0]
    assert finding["value"] > finding["limit"]


def test_equal_time_has_its_own_schedule(configs, tmp_path, monkeypatch):
    speeds = {"short": {"tokens_per_second": 9.0, "ratio": 5 / 3, "peak_bytes": 1}}
    speeds["attention_lm"] = {"tokens_per_second": 5.0, "ratio": 1.0, "peak_bytes": 1}
    monkeypatch.setattr("undula.experiments.compare.measured_speeds", lambda *_: speeds)
    plan = dataclasses.replace(PLAN, seeds=1, equal_time=True)
    found = compare(configs, tmp_path / "out", plan, results=tmp_path / "results")
    rows = {(row.model, row.budget): row.steps for row in found.rows}
    assert rows == {
        ("short", EQUAL_STEPS): 3, ("attention_lm", EQUAL_STEPS): 3,
        ("short", EQUAL_TIME): 5, ("attention_lm", EQUAL_TIME): 3,
    }  # fmt: skip
    folders = sorted((tmp_path / "out" / "cells" / "short").iterdir())
    lines = [[json.loads(x) for x in (f / "metrics.jsonl").read_text().splitlines()] for f in folders]
    last = [[line for line in run if "learning_rate" in line][-1] for run in lines]
    assert sorted(line["step"] for line in last) == [3, 5]
    # The schedule reaches its end in both: cosine of (steps - 2) / (steps - 1) of the way after one step of warm-up.
    for line in last:
        wanted = 1e-4 + 0.5 * (1 + math.cos(math.pi * (line["step"] - 2) / (line["step"] - 1))) * 9e-4
        assert line["learning_rate"] == pytest.approx(wanted)


def test_steps_of_equal_time(text):
    asked = config(text, "a", "attention", steps=100)
    assert equal_time(asked, SPEEDS).steps == 50
    assert equal_time(dataclasses.replace(asked, steps=1), SPEEDS).steps == 1


def test_checksum_depends_on_seed_and_steps(text):
    asked = config(text, "a", "attention")
    prepared = prepare(asked.data)
    sums = [batch_checksum(dataclasses.replace(asked, **c), prepared) for c in ({}, {"seed": 1}, {"steps": 4})]
    assert len(set(sums)) == 3
    assert batch_checksum(dataclasses.replace(asked, name="b"), prepared) == sums[0]


def test_unequal_batches_are_refused():
    check_batches([made("a"), made("b"), made("b", seed=1, batches="c"), made("a", batches="d", steps=4)])
    with pytest.raises(ValueError, match="a and b saw different batches from seed 0"):
        check_batches([made("a"), made("b", batches="c")])


def test_order_is_seeds_then_models(configs):
    assert [(c.name, c.seed) for c in order(configs, 2)] == [
        ("short", 0), ("attention_lm", 0), ("short", 1), ("attention_lm", 1),
    ]  # fmt: skip


def test_rows():
    cells = [made("a", 0, 2.0), made("b", 0, 1.0), made("a", 1, 4.0), made("b", 1, 3.0), made("c", 0, math.nan)]
    b, a, c = rows_of(cells, SPEEDS, "a")
    assert [(row.model, row.rank) for row in (b, a, c)] == [("b", 1), ("a", 2), ("c", None)]
    assert (b.loss, b.loss_spread, b.losses) == (2.0, pytest.approx(2**0.5), (1.0, 3.0))
    assert b.against_baseline == pytest.approx((0.5 + 0.75) / 2 - 1)
    assert a.bits_per_byte == pytest.approx(3 / math.log(2))
    assert c.reason == "its loss is not finite"


def test_nothing_is_held_against_a_baseline_that_fails():
    rows = rows_of([made("a", failed=("prefix",)), made("b", loss=1.0)], SPEEDS, "a")
    assert [(row.model, row.rank, row.audit) for row in rows] == [("b", 1, "passed"), ("a", None, "failed: prefix")]
    assert math.isnan(rows[0].against_baseline)


def test_unequal_sizes_are_said():
    cells = [made("a", parameters=100), made("b", parameters=103), made("c", parameters=104)]
    assert parameter_warnings(rows_of(cells, SPEEDS, "a"), "a") == [
        "c has +4.0% parameters against a (100): not equal within 3%"
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"steps": 4}, "would not be trained alike: steps \\(3 and 4\\)"),
        ({"batch_size": 3}, "batch_size \\(2 and 3\\)"),
        ({"name": "short"}, "short is named twice"),
    ],
)
def test_unequal_runs_are_refused(change, said, configs, tmp_path):
    with pytest.raises(ValueError, match=said):
        compare([configs[0], dataclasses.replace(configs[1], **change)], tmp_path / "out", PLAN, results=tmp_path)
    assert not (tmp_path / "out").exists()


def test_unknown_baseline_is_refused(configs, tmp_path):
    with pytest.raises(ValueError, match="baseline='attention' does not take part; it is one of short, attention_lm"):
        compare(configs, tmp_path, dataclasses.replace(PLAN, baseline="attention"), results=tmp_path)


def test_threads_are_left_alone(configs, tmp_path):
    before = torch.get_num_threads()
    plan = dataclasses.replace(PLAN, seeds=1, setting=BenchSetting(repeats=1, warmup=0, threads=before + 1))
    compare(configs[:1], tmp_path / "out", plan, results=tmp_path)
    assert torch.get_num_threads() == before


@pytest.mark.slow
def test_processes_give_the_same(configs, tmp_path):
    one = compare(configs, tmp_path / "one", PLAN, results=tmp_path)
    two = compare(configs, tmp_path / "two", dataclasses.replace(PLAN, jobs=2), results=tmp_path)
    assert [(c.model, c.seed, c.loss, c.batches) for c in two.cells] == [
        (c.model, c.seed, c.loss, c.batches) for c in one.cells
    ]
