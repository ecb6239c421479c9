"""What every model of ours has in common for transformers: start values of its own, and nothing made up in loading."""

import re
from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel

from undula.models.init import initialise

BESIDE_ENCODER = re.compile(r"(^|\.)(head|pooling)\.\w+$")
"""Weights in which the models of one encoder differ: with a head or without, of one kind or another."""


class WholeModel(PreTrainedModel):
    """A model whose weights are all in its checkpoint; the start values are those that its constructor made."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """Return the model of a folder or hub name, from safetensors alone; see `PreTrainedModel.from_pretrained`.

        A head may be put on an encoder that was saved without one, and an encoder taken from under a head: a new head
        has start values (transformers warns of them), an old one is left out.

        Raises:
            ValueError: when weights and configuration do not belong together.
        """
        with_info = kwargs.pop("output_loading_info", False)
        # Pickled weights are an error even where they are all that there is.
        kwargs["use_safetensors"] = True
        where = pretrained_model_name_or_path
        try:
            loaded: Any = super().from_pretrained(where, *model_args, output_loading_info=True, **kwargs)
        except SafetensorError as error:
            raise ValueError(f"{where}: the weights are damaged ({error}); take an earlier checkpoint") from error
        model, info = loaded
        other = cls.__name__ not in (model.config.architectures or [cls.__name__])
        for fault in ("missing", "unexpected", "mismatched"):
            keys = sorted(str(key) for key in info[f"{fault}_keys"])
            if other and fault != "mismatched" and all(BESIDE_ENCODER.search(key) for key in keys):
                if fault == "missing":
                    _start(model, keys)
            elif keys:
                raise ValueError(
                    f"{where}: {len(keys)} {fault} weights, such as {keys[0]}; the checkpoint "
                    "is damaged or belongs to another config.json"
                )
        model.after_loading()
        return (model, info) if with_info else model

    def after_loading(self) -> None:
        """Compute again what follows from the weights."""

    def _init_weights(self, module: nn.Module) -> None:
        """Leave the start values alone."""


def _start(model: nn.Module, keys: list[str]) -> None:
    """Give start values to what the checkpoint did not have; memory alone was made for it."""
    for path in sorted({key.rpartition(".")[0] for key in keys}):
        part = model.get_submodule(path)
        if isinstance(part, nn.Linear):
            initialise(part, 1)
        else:
            for value in part.parameters():
                nn.init.zeros_(value)
