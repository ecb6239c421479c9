"""How the parameters are moved, as plain data (no torch here: `--help` reads this)."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from undula.names import unknown_name

OptimizerName = Literal["adamw", "wave_native"]


@dataclass(frozen=True, kw_only=True)
class WaveNativeConfig:
    """What `WaveNativeOptimizer` needs beside a learning rate and a decay.

    Args:
        damping: part of the velocity that is lost each step.
        coherence_weight: part of the gradient that is projected onto what a matrix spans.
        refresh: steps between two computations of what the matrices span; 1 is the documented update, and slower.
        project_every: steps between two projections; 1 is the documented update, and slower.
        rank: project onto this many leading directions; None: onto all.
        adaptive: steps of Adam's size; the memory of the square is the second of `betas`. Needs project_every=1.

    Raises:
        ValueError: for a value out of range.
    """

    damping: float = 0.1
    coherence_weight: float = 0.7
    refresh: int = 32
    project_every: int = 16
    rank: int | None = None
    adaptive: bool = False

    def __post_init__(self) -> None:
        for name in ("damping", "coherence_weight"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}={getattr(self, name)}; wanted a number from 0 to 1")
        for name in ("refresh", "project_every", "rank"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name}={value}; wanted a whole number, at least 1")
        if self.adaptive and self.project_every > 1:
            raise ValueError(f"project_every={self.project_every} with adaptive=True; say project_every=1")
        if self.adaptive and not self.damping:
            raise ValueError("damping=0 with adaptive=True; wanted more than 0: such an average forgets nothing")


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """An optimizer, a linear warm-up and a cosine down to the least learning rate.

    Args:
        kind: `adamw`, with decoupled weight decay, or `wave_native`.
        wave_native: options of the latter; read with that kind alone.
        learning_rate: the highest, reached at the end of the warm-up.
        min_learning_rate: the last.
        warmup_steps: steps over which the learning rate grows from learning_rate / warmup_steps.
        betas: memory of AdamW's averages of the gradient and of its square, per step.
        weight_decay: on the weights of linear layers and embeddings alone.
        grad_clip: longest gradient, as a Euclidean norm over all parameters; 0 for no limit.

    Raises:
        ValueError: for a value out of range.
    """

    kind: OptimizerName = "adamw"
    wave_native: WaveNativeConfig = field(default_factory=WaveNativeConfig)
    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-4
    warmup_steps: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.1
    grad_clip: float = 1.0

    def __post_init__(self) -> None:
        if self.kind not in get_args(OptimizerName):
            raise unknown_name("kind of optimizer", self.kind, get_args(OptimizerName))
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate={self.learning_rate}; wanted a positive number, such as 1e-3")
        if not 0 <= self.min_learning_rate <= self.learning_rate:
            raise ValueError(
                f"min_learning_rate={self.min_learning_rate}; wanted 0 up to learning_rate={self.learning_rate}"
            )
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ValueError(f"betas={self.betas}; wanted two numbers from 0 up to, not including, 1")
        for name in ("warmup_steps", "weight_decay", "grad_clip"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}; wanted 0 or more")
