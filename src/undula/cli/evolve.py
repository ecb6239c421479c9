"""Evolve the wavelets of a trained model, and keep the winner if it is better beyond noise."""

from pathlib import Path
from typing import Any

from undula.cli.arguments import parser
from undula.cli.main import INTERRUPTED, SUCCESS
from undula.cli.screen import console, table
from undula.optional import late_import


def run(arguments: list[str]) -> int:
    """Evolve, print each generation and the verdict; returns 0. Ctrl-C leaves what the same command goes on from."""
    reader = parser("evolve", f"{__doc__} Candidates are compared on the same held-out windows; others confirm.")
    reader.add_argument("run", type=str, help="folder of a run whose model has wavelets")
    reader.add_argument("--generations", type=int, default=10, help="how many")
    reader.add_argument("--population", type=int, default=20, help="candidates in each generation")
    reader.add_argument("--windows", type=int, default=64, help="held-out windows that choose; as many again confirm")
    reader.add_argument("--structure", action="store_true", help="also evolve levels and sparsity")
    reader.add_argument("--seed", type=int, default=0, help="of all draws")
    reader.add_argument("--out", type=str, help="folder of history, picture and new run (default: RUN-evolved)")
    asked = reader.parse_args(arguments)
    screen, folder = console(), Path(asked.run)
    out = Path(asked.out) if asked.out else folder.with_name(f"{folder.name}-evolved")
    module = late_import("undula.experiments.evolve")
    names = ("generations", "population", "windows", "structure", "seed")
    plan = module.EvolvePlan(**{name: getattr(asked, name) for name in names})

    def told(stats: dict[str, Any]) -> None:
        losses = f"best {-stats['best_fitness']:.4f}, mean {-stats['avg_fitness']:.4f} ± {stats['std_fitness']:.4f}"
        screen.print(f"generation {stats['generation']} of {plan.generations}: {losses} nats per token")

    try:
        found = module.evolve_run(folder, out, plan, watch=told)
    except KeyboardInterrupt:
        screen.print("stopped; the same command goes on after the last generation", soft_wrap=True)
        return INTERRUPTED
    screen.print(found.outcome.verdict, style="bold", soft_wrap=True)
    rows = [(path.name, str(path)) for path in found.files]
    if found.checkpoint is not None:
        kept = "kept" if found.optimizer else "left out: the parameters have other shapes"
        rows += [
            ("text that chose nothing", f"{found.before:.4f} before, {found.after:.4f} after, nats per token"),
            ("checkpoint", str(found.checkpoint)),
            ("optimizer's state", kept),
            ("next", f"undula evaluate {out}"),
        ]
    screen.print(table(("evolution", str(out)), rows))
    return SUCCESS
