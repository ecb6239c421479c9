"""Evolve the wavelets of a trained model: a new run folder with the winner, if it is better beyond noise.

OUT/evolution.json   every generation, the verdict, and scores on text that chose nothing
OUT/evolution.png    losses over the generations
OUT/state.json       what an evolution that was stopped goes on from
OUT/config.json, checkpoints, LATEST, metrics.jsonl   a run folder with the new model, where it was applied
"""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

from undula.config import to_dict
from undula.data.build import prepare
from undula.data.stream import EvalWindows
from undula.data.synthetic import joined
from undula.experiments.folder import CONFIG, check_data, newest
from undula.experiments.run import Run, load_run
from undula.experiments.validate import text_windows
from undula.files import write_flushed
from undula.hf.basis import basis_of, with_basis
from undula.hf.modeling import UndulaForCausalLM
from undula.optim.basis import BasisFunction
from undula.optim.evolution import FEWEST, HRFEvoController, Outcome
from undula.training.evolution import ModelBasis, window_losses
from undula.training.manifest import publish
from undula.training.quiet import no_progress_bars
from undula.training.records import METRICS
from undula.training.trainer import BUILDING
from undula.validation.batches import evaluate_batches
from undula.validation.results import plain
from undula.viz.evolution import generations
from undula.viz.style import png

HISTORY, PICTURE, STATE = "evolution.json", "evolution.png", "state.json"
WEIGHTS = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class EvolvePlan:
    """How long, and on what.

    Args:
        generations: how many.
        population: candidates in each.
        windows: held-out windows that choose; as many again confirm.
        structure: levels and sparsity evolve, too: the model may become smaller.
        batch_size: windows in one forward pass.
        seed: of all draws.

    Raises:
        ValueError: for a number out of range.
    """

    generations: int = 10
    population: int = 20
    windows: int = 64
    structure: bool = False
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("generations", 1), ("population", 2), ("windows", FEWEST), ("batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name}={getattr(self, name)}; wanted at least {least}")


@dataclass(frozen=True, kw_only=True)
class Evolved:
    """What came of it.

    Args:
        outcome: the verdict.
        files: what was written.
        before: nats per token of the old model on held-out text that neither chose nor confirmed; NaN without such text
            or a new model.
        after: of the new one.
        checkpoint: the new model's; None where the incumbent was kept.
        optimizer: whether the checkpoint has the optimizer's state, so that training can go on.
    """

    outcome: Outcome
    files: tuple[Path, ...]
    before: float = math.nan
    after: float = math.nan
    checkpoint: Path | None = None
    optimizer: bool = False


class Candidates:
    """A model with one basis after the other.

    Args:
        model: what they are candidates for.
    """

    def __init__(self, model: UndulaForCausalLM) -> None:
        self.model, self.made, self.built = model, model, (0, math.nan)

    def with_basis(self, basis: BasisFunction) -> UndulaForCausalLM:
        """Return the model with a basis; the same one is changed while levels and sparsity stay."""
        if self.built != (basis.levels, basis.sparsity):
            self.made, self.built = with_basis(self.model, basis), (basis.levels, basis.sparsity)
        ModelBasis(self.made).write(basis)
        return self.made


def evolve_run(
    folder: Path,
    out: Path,
    plan: EvolvePlan,
    *,
    cache_dir: Path | None = None,
    watch: Callable[[dict[str, Any]], None] = lambda _: None,
) -> Evolved:
    """Evolve the basis of a run's newest model on its held-out text; the run itself stays as it is.

    Of the first 2 `windows` held-out windows every second one chooses, the others confirm; all further ones tell what
    the new model is worth. The same call goes on where it was stopped.

    Args:
        folder: the run's.
        out: another folder, which is made.
        plan: how long, and on what.
        cache_dir: where prepared corpora are kept.
        watch: told the statistics of each generation.

    Raises:
        FileNotFoundError: when the folder is no run, or has no checkpoint yet.
        ValueError: when the model has no wavelets that could evolve, the held-out text is too short, or `out` holds
            another evolution or run.
    """
    run = load_run(folder)
    prepared = prepare(run.config.data, cache_dir)
    check_data(run.checkpoint, prepared.fingerprint)
    controller = _controller(run, plan)
    choose, confirm, rest = _parts(text_windows(prepared, None), plan)
    _open(out, controller, run)
    candidates = Candidates(run.model)

    def after() -> None:
        controller.save_state(out / STATE)
        watch(controller.history[-1])

    def losses(batches: list[Any]) -> Callable[[BasisFunction], np.ndarray]:
        return lambda basis: window_losses(candidates.with_basis(basis), batches)

    outcome = controller.run_evolution(losses(choose), losses(confirm), after)
    found = Evolved(outcome=outcome, files=(out / HISTORY, out / PICTURE))
    if outcome.applied:
        evolved = with_basis(run.model, outcome.basis)
        scores = [evaluate_batches(model, rest).metrics.loss for model in (run.model, evolved)]
        checkpoint, optimizer = _published(run, evolved, out)
        found = replace(found, before=scores[0], after=scores[1], checkpoint=checkpoint, optimizer=optimizer)
    _write_story(out, plan, controller, found)
    return found


def _controller(run: Run, plan: EvolvePlan) -> HRFEvoController:
    incumbent = basis_of(run.model)
    return HRFEvoController(
        {"evolution_population": plan.population, "evolution_generations": plan.generations},
        incumbent,
        seed=plan.seed,
        most_levels=incumbent.levels if plan.structure else None,
    )


def _open(out: Path, controller: HRFEvoController, run: Run) -> None:
    """Make the folder, or take up the evolution in it."""
    if (out / STATE).exists():
        controller.load_state(out / STATE)
    elif (out / CONFIG).exists():
        raise ValueError(f"{out} holds a run already; choose another folder for the evolved one")
    if (out / CONFIG).exists() and newest(out).step > run.checkpoint.step:
        raise ValueError(f"{out} was trained further since it was evolved; choose another folder")
    out.mkdir(parents=True, exist_ok=True)


def _write_story(out: Path, plan: EvolvePlan, controller: HRFEvoController, found: Evolved) -> None:
    """Write the history and its picture."""
    losses = [[None if f is None else -f for f in one["fitness"]] for one in controller.history]
    incumbent = -(controller.incumbent.fitness or math.nan)
    figure = generations(losses, incumbent, "Loss less the incumbent's (nats per token)")
    (out / PICTURE).write_bytes(png(figure))
    outcome = found.outcome
    story = {
        "plan": asdict(plan),
        "verdict": outcome.verdict,
        "applied": outcome.applied,
        "gain": outcome.gain,
        "error": outcome.error,
        "windows": outcome.windows,
        "incumbent": controller.incumbent.to_dict(),
        "best": outcome.basis.to_dict(),
        "rest": {"before": found.before, "after": found.after},
        "optimizer_kept": found.optimizer,
        "generations": controller.history,
    }
    write_flushed(out / HISTORY, json.dumps(plain(story), indent=1, allow_nan=False) + "\n")


def _parts(windows: EvalWindows, plan: EvolvePlan) -> tuple[list[Any], list[Any], list[Any]]:
    """Batches that choose, that confirm, and all others; only whole windows, so that all weigh the same."""
    whole, wanted = windows.num_predicted // windows.block_size, 2 * plan.windows
    if whole < wanted:
        raise ValueError(
            f"the held-out text has {whole} windows of {windows.block_size} tokens; windows={plan.windows} needs twice "
            f"as many: at most {whole // 2} here"
        )
    parts = [range(0, wanted, 2), range(1, wanted, 2), range(wanted, whole)]
    size = plan.batch_size
    chosen, confirm, rest = (
        [joined(windows[i] for i in part[start : start + size]) for start in range(0, len(part), size)]
        for part in parts
    )
    return chosen, confirm, rest


def _published(run: Run, model: UndulaForCausalLM, out: Path) -> tuple[Path, bool]:
    """Write the new model as a run folder, with the trainer's state where it still belongs to the parameters."""
    built = out / "checkpoints" / BUILDING / f"step-{run.checkpoint.step}"
    shutil.rmtree(built, ignore_errors=True)
    built.mkdir(parents=True)
    with no_progress_bars():
        model.save_pretrained(built)
    run.tokenizer.save_pretrained(built)
    optimizer = _shapes(run.checkpoint.path / WEIGHTS) == _shapes(built / WEIGHTS)
    for path in run.checkpoint.path.iterdir():
        # Angles are no parameters: what the optimizer knows of each parameter stays true while its shape does.
        if optimizer and path.is_file() and not (built / path.name).exists() and path.name != "manifest.json":
            shutil.copy2(path, built / path.name)
    config = replace(run.config, model=model.config.model_config)
    write_flushed(out / CONFIG, json.dumps(to_dict(config), indent=1) + "\n")
    if (run.folder / METRICS).exists():
        shutil.copy2(run.folder / METRICS, out / METRICS)
    checkpoint = publish(built, out / "checkpoints", run.checkpoint.step, run.checkpoint.data)
    shutil.rmtree(out / "checkpoints" / BUILDING)
    return checkpoint.path, optimizer


def _shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shapes of all that is trained in a file of weights."""
    with safe_open(path, framework="pt") as file:
        shapes = {name: tuple(torch.Size(file.get_slice(name).get_shape())) for name in file.keys()}  # noqa: SIM118
    return {name: shape for name, shape in shapes.items() if not name.endswith(".angles")}
