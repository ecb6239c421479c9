"""The score of a model on a whole held-out text."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from undula.data.stream import EvalWindows
from undula.data.synthetic import TaskWindows, joined
from undula.ops.metrics import IGNORED, Metrics, summed_nats


def evaluate(model: nn.Module, windows: EvalWindows | TaskWindows, batch_size: int = 64, piece: int = 0) -> Metrics:
    """Return the score over all windows: each held-out token counts once, and weighs the same.

    The model is left as it was: no gradient, every module back in its mode, no random number used up.

    Args:
        model: maps `input_ids` (B, T) to logits (B, T, V), or to an object with `logits`.
        windows: the held-out text.
        batch_size: windows in one forward pass; decides speed and memory, not the score.
        piece: tokens of a window that the model reads at a time, carrying its state; decides memory, not the score. The
            model then has a forward pass like `UndulaForCausalLM`. 0: whole windows.

    Raises:
        ValueError: when batch_size is not positive.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; wanted at least 1 window")
    nats, count = 0.0, 0
    with scoring(model) as device:
        for start in range(0, len(windows), batch_size):
            items = (windows[i] for i in range(start, min(start + batch_size, len(windows))))
            batch = {name: rows.to(device) for name, rows in joined(items).items()}
            part, tokens = _scored(model, batch["input_ids"], batch["shift_labels"], piece)
            nats += part
            count += tokens
    return Metrics(nats, count, windows.predicted_bytes)


@contextmanager
def scoring(model: nn.Module) -> Iterator[torch.device]:
    """Have a model score for a while, and leave it and the random numbers as they were; give its device."""
    device = next(model.parameters()).device
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([] if device.type == "cpu" else [device], device_type=device.type):
            yield device
    finally:
        for module, mode in modes.items():
            module.training = mode


def _scored(model: nn.Module, input_ids: Tensor, labels: Tensor, piece: int) -> tuple[float, int]:
    """Nats of all labels that count, and their number."""
    if not piece:
        nats, count = summed_nats(_logits(model, input_ids), labels)
        return nats.item(), int(count)
    count = int((labels != IGNORED).sum())
    return (model(input_ids=input_ids, shift_labels=labels, piece=piece).loss.item() * count if count else 0.0), count


def _logits(model: nn.Module, input_ids: Tensor) -> Tensor:
    output = model(input_ids=input_ids)
    return output if isinstance(output, Tensor) else output.logits
