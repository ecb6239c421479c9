"""How the parameters are moved, as plain data (no torch here: `--help` reads this)."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class OptimConfig:
    """AdamW with decoupled weight decay, a linear warm-up and a cosine down to the least learning rate.

    Args:
        learning_rate: the highest, reached at the end of the warm-up.
        min_learning_rate: the last.
        warmup_steps: steps over which the learning rate grows from learning_rate / warmup_steps.
        betas: memory of the averages of the gradient and of its square, per step.
        weight_decay: on the weights of linear layers and embeddings alone.
        grad_clip: longest gradient, as a Euclidean norm over all parameters; 0 for no limit.

    Raises:
        ValueError: for a value out of range.
    """

    learning_rate: float = 1e-3
    min_learning_rate: float = 1e-4
    warmup_steps: int = 100
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = 0.1
    grad_clip: float = 1.0

    def __post_init__(self) -> None:
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
