"""What a training step makes small, and the parts that it is the sum of."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from undula.losses.coherence import WaveCoherenceLoss
from undula.losses.config import LossConfig
from undula.models.language_model import LanguageModel
from undula.ops.metrics import mean_nats

PARTS = ("ce", "aux", "coherence", "phase", "energy", "harmonic")
"""What may stand in metrics.jsonl beside the loss: nats per token (`ce`), and what is added to them."""


class Means:
    """Means of the named parts of losses since they were last taken."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self.batches = 0

    def add(self, parts: Mapping[str, Tensor]) -> None:
        """Take note of the parts of a batch's loss."""
        for name, value in parts.items():
            self.sums[name] = self.sums[name] + value.detach() if name in self.sums else value.detach()
        self.batches += 1

    def take(self) -> dict[str, float]:
        """Return the mean of each part since the last call; nothing where there was none."""
        sums, batches = self.sums, self.batches
        self.sums, self.batches = {}, 0
        if not sums:
            return {}
        return dict(zip(sums, (torch.stack(list(sums.values())) / batches).tolist(), strict=True))


class Objective:
    """The loss of a batch: mean nats per token, with the terms that the configuration asks for.

    Args:
        config: which terms.
        model: what is trained; may know the amplitudes of its tokens' harmonics.
        piece: tokens that the model reads at a time; 0: all.
    """

    def __init__(self, config: LossConfig, model: nn.Module, piece: int = 0) -> None:
        self.piece = piece
        self.language_model = next((part for part in model.modules() if isinstance(part, LanguageModel)), None)
        self.coherence = None
        if config.kind == "wave_coherence":
            self.coherence = WaveCoherenceLoss(
                config.lambda_phase, config.lambda_energy, config.lambda_harmonic, config.window_size
            )
        self.parts = Means()

    def asks(self, labels: Tensor) -> Mapping[str, Any]:
        """Return what the model's forward is asked for beside the scores; in pieces, for the loss in their place."""
        if self.piece:
            return {"piece": self.piece, "shift_labels": labels}
        return {} if self.coherence is None else {"output_hidden_states": True}

    def __call__(self, outputs: Any, labels: Tensor) -> Tensor:
        """Return the loss, and remember its parts."""
        model = self.language_model
        if self.piece:
            parts, loss, added = {}, outputs.loss, outputs.aux_loss
        else:
            added = None if model is None else model.aux_loss()
            parts = self._coherent(outputs, labels)
            loss = parts.pop("total") if parts else mean_nats(outputs.logits, labels)
        if added is not None:
            parts = {"ce": loss, **parts, "aux": added}
            loss = loss + added
        self.parts.add(parts)
        return loss

    def _coherent(self, outputs: Any, labels: Tensor) -> dict[str, Tensor]:
        amplitudes = None if self.language_model is None else self.language_model.harmonic_amplitudes()
        if self.coherence is None:
            return {}
        return self.coherence(outputs.logits, labels, outputs.hidden_states, amplitudes)
