"""What training, generation and audits know of a causal language model, and the table of the kinds there are."""

from abc import abstractmethod

import torch
from jaxtyping import Bool, Int
from torch import Tensor, nn

from undula.models.backbone import LayerHook, States
from undula.names import Registry
from undula.nn.aux_loss import summed_aux_loss
from undula.shapes import Logits, PaddingMask, TokenIds
from undula.wave import Wave


def check_tokens(ids: TokenIds, vocab_size: int, longest: int | None = None, name: str = "max_seq_len") -> None:
    """Refuse tokens that a model cannot read.

    Args:
        ids: the tokens.
        vocab_size: number of tokens there are.
        longest: tokens of the longest sequence; None: no limit.
        name: what the model calls that limit.

    Raises:
        ValueError: for no tokens, more than the limit, or, on the CPU, where asking costs nothing, ids outside the
            vocabulary; other devices report those in their own way.
    """
    steps = ids.shape[1]
    if steps < 1 or (longest is not None and steps > longest):
        room = "at least 1" if longest is None else f"1 to {name}={longest}"
        more = ": shorten the sequence, or build the model for longer ones" if steps else ""
        raise ValueError(f"got {steps} tokens; wanted {room}{more}")
    if ids.device.type == "cpu" and not torch.compiler.is_compiling() and ids.numel():
        least, most = torch.aminmax(ids)
        if least < 0 or most >= vocab_size:
            raise ValueError(
                f"got ids from {int(least)} to {int(most)}; wanted 0 to {vocab_size - 1} (vocab_size={vocab_size}): is "
                "the tokenizer that of the model?"
            )


class LanguageModel(nn.Module):
    """What training, generation and audits know of a causal language model."""

    @abstractmethod
    def forward(
        self,
        input_ids: TokenIds,
        attention_mask: PaddingMask | None = None,
        *,
        state: States | None = None,
        on_layer: LayerHook | None = None,
    ) -> Logits | tuple[Logits, States]:
        """Return scores (B, T, V) of the token after each position; with a state, also the new state.

        Args:
            input_ids: tokens.
            attention_mask: 1 = real token.
            state: from `init_state` or an earlier call, to continue a sequence.
            on_layer: called with each layer's index and residual stream.
        """

    @abstractmethod
    def init_state(
        self, batch_size: int, *, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> States:
        """Return the state before the first token."""

    @property
    def longest(self) -> int | None:
        """Tokens of the longest sequence, from the first to the last piece; None: no limit."""
        return None

    def use_counts(self, counts: Int[Tensor, " V"]) -> None:
        """Take note of how often each token occurs in the text that the model will be trained on."""
        del counts

    def set_freq_limit(self, freq_limit: float) -> None:
        """Limit what a frequency curriculum lets through.

        Raises:
            ValueError: for a model without one.
        """
        raise ValueError(f"freq_limit={freq_limit}, but only the family 'wave' with freq_limit has a curriculum")

    def settle(self) -> None:
        """Choose the harmonics that are left from now on.

        Raises:
            ValueError: for a model that does not settle.
        """
        raise ValueError("only the family 'wave' with sparsity.settles chooses harmonics once and for all")

    def after_loading(self) -> None:
        """Take note of what was loaded from a checkpoint, where that is more than numbers."""

    def finalize_annealing(self) -> bool:
        """Give free what training faded out to nothing; return whether there was any."""
        return False

    def aux_loss(self) -> Tensor | None:
        """Return what the last forward pass in training adds to the loss, from all parts; None for nothing."""
        return summed_aux_loss(self)

    def harmonic_amplitudes(self) -> Tensor | None:
        """Return the amplitudes of the tokens' harmonics; None where tokens have none."""
        return None

    def waves(self, input_ids: TokenIds) -> Wave | None:
        """Return the waves (B, T, H) that tokens become, frequencies in cycles per token; None where they do not."""
        return None

    def kept_harmonics(self, input_ids: TokenIds) -> Bool[Tensor, "B T H"] | None:
        """Return which harmonics the blocks see of each token; None where nothing is chosen."""
        return None


FAMILIES: Registry[type[LanguageModel]] = Registry("model family")
