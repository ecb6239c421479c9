"""What every model of ours has in common for transformers: start values of its own, and nothing made up in loading."""

from typing import Any

from safetensors import SafetensorError
from torch import nn
from transformers import PreTrainedModel


class WholeModel(PreTrainedModel):
    """A model whose weights are all in its checkpoint; the start values are those that its constructor made."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """Return the model of a folder or hub name, from safetensors alone; see `PreTrainedModel.from_pretrained`.

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
        for fault in ("missing", "unexpected", "mismatched"):
            keys = sorted(str(key) for key in info[f"{fault}_keys"])
            if keys:
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
