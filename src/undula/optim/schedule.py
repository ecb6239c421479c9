"""The documented schedule of SpectralLLM: warm-up to the peak, a cosine to a share of it, then level."""

import logging

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from undula.optim.build import learning_rate
from undula.optim.config import OptimConfig

log = logging.getLogger(__name__)


def create_optimized_scheduler(
    optimizer: Optimizer, total_steps: int, warmup_steps: int = 500, min_lr_ratio: float = 0.1
) -> LambdaLR:
    """Return the schedule that multiplies the learning rate of each step by a factor.

    At step s, the first being 0: (s + 1) / W for s < W, then m + (1 - m) (1 + cos(pi p)) / 2 with
    p = min(1, (s - W) / (T - W)).

    The document prints m + (1 + cos(pi p)) / 2, which starts at 1.1 times the peak; what its text promises (from the
    peak to 10 % of it) is the formula above.

    Args:
        optimizer: whose learning rates are the peaks.
        total_steps: T; from there on the rate stays at the least.
        warmup_steps: W; when it does not fit into T, a tenth of T is taken, with a warning.
        min_lr_ratio: m, the least rate as a share of the peak.

    Raises:
        ValueError: for no steps, a negative warm-up or a share outside 0 to 1.

    Source: SpectralLLM, reference document, "create_optimized_scheduler".
    """
    if total_steps < 1 or warmup_steps < 0:
        raise ValueError(f"total_steps={total_steps}, warmup_steps={warmup_steps}; wanted at least 1 and at least 0")
    if not 0 <= min_lr_ratio <= 1:
        raise ValueError(f"min_lr_ratio={min_lr_ratio}; wanted a share of the peak, 0 to 1")
    warm = warmup_steps
    if warm >= total_steps:
        warm = max(1, total_steps // 10)
        log.warning("warmup_steps=%d of total_steps=%d never ends; taking %d", warmup_steps, total_steps, warm)

    shape = OptimConfig(learning_rate=1.0, min_learning_rate=min_lr_ratio, warmup_steps=warm)
    return LambdaLR(optimizer, lambda step: learning_rate(step, total_steps, shape))
