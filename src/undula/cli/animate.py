"""Film a trained model while it writes: its waves, what it expects, what each layer listens to."""

from pathlib import Path

from undula.cli.arguments import parser
from undula.cli.main import SUCCESS
from undula.cli.screen import console
from undula.optional import late_import


def run(arguments: list[str]) -> int:
    """Write the film and print the text; returns the exit code."""
    reader = parser("animate", __doc__ or "")
    reader.add_argument("run", type=str, help="folder of a run")
    reader.add_argument("--prompt", type=str, default="To be or not to be", help="the text to continue")
    reader.add_argument("--tokens", type=int, default=20, help="tokens to add, a scene for each")
    reader.add_argument("--output", type=str, default="wave_inference.mp4", help="the film, .mp4 or .gif")
    reader.add_argument("--fps", type=float, default=5.0, help="scenes in a second")
    reader.add_argument("--temperature", type=float, default=0.8, help="0: always the likeliest token")
    reader.add_argument("--seed", type=int, default=0, help="another seed gives another text")
    asked = reader.parse_args(arguments)
    module, screen, path = late_import("undula.experiments.animate"), console(), Path(asked.output)
    sampling = late_import("undula.experiments.sample").Sampling(
        max_new_tokens=asked.tokens, temperature=asked.temperature, seed=asked.seed
    )
    loaded = late_import("undula.experiments.run").load_run(Path(asked.run))
    with screen.status("writing") as status:
        text = module.animate(
            loaded,
            str(asked.prompt),
            path,
            sampling,
            frames_per_second=asked.fps,
            on_scene=lambda number, count: status.update(f"drawing scene {number} of {count}"),
        )
    screen.print(text, markup=False, soft_wrap=True)
    screen.print(f"written: {path}", soft_wrap=True)
    return SUCCESS
