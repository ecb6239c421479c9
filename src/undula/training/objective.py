"""What a training step makes small, and the parts that it is the sum of."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from undula.losses.coherence import WaveCoherenceLoss
from undula.losses.config import LossConfig
from undula.models.language_model import LanguageModel
from undula.ops.metrics import mean_nats

PARTS = ("ce", "coherence", "phase", "energy", "harmonic")
"""Of a wave coherence loss, in metrics.jsonl beside the loss: nats per token, and what is added to them."""


class Objective:
    """The loss of a batch: mean nats per token, with the terms that the configuration asks for.

    Args:
        config: which terms.
        model: what is trained; may know the amplitudes of its tokens' harmonics.
    """

    def __init__(self, config: LossConfig, model: nn.Module) -> None:
        self.language_model = next((part for part in model.modules() if isinstance(part, LanguageModel)), None)
        self.coherence = None
        if config.kind == "wave_coherence":
            self.coherence = WaveCoherenceLoss(
                config.lambda_phase, config.lambda_energy, config.lambda_harmonic, config.window_size
            )
        self.sums: dict[str, Tensor] = {}
        self.batches = 0

    @property
    def asks(self) -> Mapping[str, Any]:
        """What the model's forward is asked for beside the scores."""
        return {} if self.coherence is None else {"output_hidden_states": True}

    def __call__(self, outputs: Any, labels: Tensor) -> Tensor:
        """Return the loss, and remember its parts."""
        added = None if self.language_model is None else self.language_model.aux_loss()
        loss = self._on_scores(outputs, labels)
        return loss if added is None else loss + added

    def _on_scores(self, outputs: Any, labels: Tensor) -> Tensor:
        if self.coherence is None:
            return mean_nats(outputs.logits, labels)
        amplitudes = None if self.language_model is None else self.language_model.harmonic_amplitudes()
        parts = self.coherence(outputs.logits, labels, outputs.hidden_states, amplitudes)
        for name in PARTS:
            value = parts[name].detach()
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.batches += 1
        return parts["total"]

    def means(self) -> dict[str, float]:
        """Return the mean of each part since the last call."""
        if not self.batches:
            return {}
        values = torch.stack([self.sums[name] for name in PARTS]) / self.batches
        self.sums, self.batches = {}, 0
        return dict(zip(PARTS, values.tolist(), strict=True))
