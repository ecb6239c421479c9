"""How much a model remembers: the share of right answers in a task, read in a stream."""

from dataclasses import dataclass

from undula.data.synthetic import TaskWindows, joined
from undula.models.language_model import LanguageModel
from undula.ops.metrics import IGNORED
from undula.validation.evaluate import scoring

PIECE = 4096
"""Steps that are read at a time."""


@dataclass(frozen=True)
class Recalled:
    """How many answers were right."""

    right: int
    asked: int

    @property
    def accuracy(self) -> float:
        """Share of right answers; NaN of none."""
        return self.right / self.asked if self.asked else float("nan")


def recalled(model: LanguageModel, episodes: TaskWindows, batch_size: int = 8, piece: int = PIECE) -> Recalled:
    """Return how often the likeliest letter is the answer.

    Episodes are read a piece at a time, with the state carried: memory does not grow with their length, where the
    state does not.

    Args:
        model: streams.
        episodes: held out.
        batch_size: episodes that are read at once.
        piece: steps that are read at once.
    """
    right = asked = 0
    with scoring(model) as device:
        for first in range(0, len(episodes), batch_size):
            items = (episodes[i] for i in range(first, min(first + batch_size, len(episodes))))
            batch = {name: rows.to(device) for name, rows in joined(items).items()}
            ids, labels = batch["input_ids"], batch["shift_labels"]
            state = model.init_state(len(ids))
            for start in range(0, ids.shape[1], piece):
                here = slice(start, start + piece)
                logits, state = model(ids[:, here], state=state)
                wanted = labels[:, here]
                right += int((logits.argmax(-1) == wanted).sum())
                asked += int((wanted != IGNORED).sum())
    return Recalled(right, asked)
