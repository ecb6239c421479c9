"""Loss and gradients of a causal language model on a long sequence, a piece at a time."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from undula.allocator import release_free_memory
from undula.mixers.base import map_state
from undula.models.backbone import States
from undula.models.language_model import LanguageModel
from undula.ops.metrics import IGNORED, summed_nats
from undula.shapes import PaddingMask, TokenIds


class PiecesLoss(NamedTuple):
    """What the pieces add up to."""

    nats: Float[Tensor, ""]
    """Sum of -ln p(label) over the labels that count."""
    count: Int[Tensor, ""]
    """How many labels count."""
    aux: Float[Tensor, ""] | None
    """Mean over the tokens of what the model adds to the loss, each piece's own; None where it adds nothing."""


def loss_in_pieces(
    model: LanguageModel,
    input_ids: TokenIds,
    labels: Int[Tensor, "B T"],
    piece: int,
    attention_mask: PaddingMask | None = None,
) -> PiecesLoss:
    """Return the summed loss of a sequence that the model reads piece by piece, its state carried with the gradient.

    The same loss and gradients as of the whole sequence in one forward pass, rounding apart. A piece keeps its tokens
    and the state before it, and is computed again in the backward pass, scores and loss included: scores (B, T, V)
    never exist. Where every mixer's state is bounded, memory is that of one piece, and T / piece states; the time is
    that of streaming, and of one forward pass more. A state that grows (attention: keys and values so far) is kept for
    each piece, T^2 / (2 piece) positions of it: the result is right, the memory is not saved.

    Args:
        model: streams; dropout draws other numbers than in one pass.
        input_ids: tokens.
        labels: the token after each position, -100 where none counts.
        piece: tokens in one piece; the last one may be shorter. One that is longer than T changes nothing but to
            compute forward twice.
        attention_mask: 1 = real token; padding on the left.

    Raises:
        ValueError: when piece is not positive, or there are no tokens, or more than the model's longest sequence.
    """
    rows, length = input_ids.shape
    if piece < 1 or length < 1:
        raise ValueError(f"piece={piece} of {length} tokens; wanted at least 1 token in each piece, and a sequence")
    if model.longest is not None and length > model.longest:
        raise ValueError(f"got {length} tokens; the longest sequence of this model has {model.longest}")
    state = model.init_state(rows)
    nats: list[Tensor] = []
    added: list[Tensor] = []
    for start in range(0, length, piece):
        here = slice(start, start + piece)
        mask = None if attention_mask is None else attention_mask[:, here]
        given = (model, input_ids[:, here], labels[:, here], mask, state)
        if torch.is_grad_enabled():
            part, aux, state = checkpoint(_piece, *given, use_reentrant=False)
        else:
            part, aux, state = _piece(*given)
        nats.append(part)
        added += [] if aux is None else [aux * (input_ids[:, here].shape[1] / length)]
    total = torch.stack(added).sum() if added else None
    return PiecesLoss(torch.stack(nats).sum(), (labels != IGNORED).sum(), total)


def _piece(
    model: LanguageModel, input_ids: Tensor, labels: Tensor, mask: Tensor | None, state: States
) -> tuple[Tensor, Tensor | None, States]:
    if input_ids.device.type == "cpu":
        release_free_memory()
    logits, state = model(input_ids, mask, state=state)
    nats, _ = summed_nats(logits, labels)
    # Copies: a state may be a view of something as long as the piece, which would stay with it.
    return nats, model.aux_loss(), tuple(map_state(part, torch.clone) for part in state)
