"""Several values are changed at once; wrong keys and values are refused."""

import pytest

from undula.data.config import DataConfig
from undula.models.config import BackboneConfig, ModelConfig
from undula.recipes.changes import changed
from undula.training.config import TrainConfig

CONFIG = TrainConfig(name="n", model=ModelConfig(context_length=64), data=DataConfig(block_size=64))


def test_dotted_and_nested_changes_are_the_same():
    dotted = changed(CONFIG, {"steps": 7, "optim.learning_rate": 0.01, "model.backbone.d_ff": 9})
    nested = changed(CONFIG, {"steps": 7, "optim": {"learning_rate": 0.01}, "model": {"backbone": {"d_ff": 9}}})
    assert dotted == nested
    both = changed(dotted, {"model.backbone": {"num_layers": 2}}).model.backbone
    assert (both.d_ff, both.num_layers) == (9, 2)
    assert (dotted.steps, dotted.optim.learning_rate, dotted.model.backbone.d_ff) == (7, 0.01, 9)
    assert changed(CONFIG, {}) == CONFIG


def test_values_that_must_agree_may_come_in_any_order():
    both = {"data.block_size": 128, "model.context_length": 128}
    assert changed(CONFIG, both) == changed(CONFIG, dict(reversed(both.items())))
    with pytest.raises(ValueError, match="longer than model.context_length=64"):
        changed(CONFIG, {"data.block_size": 128})


def test_a_tuple_may_be_one_value_or_several_with_commas():
    assert changed(CONFIG, {"model.backbone.mixers": "fft_conv"}).model.backbone.mixers == ("fft_conv",)
    assert changed(CONFIG, {"model.backbone.mixers": "fft_conv,attention"}).model.backbone.mixers == (
        "fft_conv",
        "attention",
    )
    assert changed(CONFIG, {"optim.betas": [0.8, 0.9]}).optim.betas == (0.8, 0.9)
    assert changed(CONFIG, {"optim.betas": "0.8,0.9"}).optim.betas == (0.8, 0.9)
    assert changed(CONFIG, {"model.backbone.pyramid.after": "2,3"}).model.backbone.pyramid.after == (2, 3)
    assert changed(CONFIG, {"model.backbone.pyramid.after": 2}).model.backbone.pyramid.after == (2,)


def test_options_of_mixers():
    options = changed(CONFIG, {"model.backbone.mixer_options.attention.qk_norm": True}).model.backbone.mixer_options
    assert options == {"attention": {"qk_norm": True}}
    # A whole configuration brings all its options: none of the old ones stays.
    backbone, options = BackboneConfig(mixer_options={"attention": {"short_conv": 4}}), {"fft_conv": {"num_modes": 4}}
    assert changed(backbone, {"mixer_options": options}).mixer_options == options


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"stps": 3}, "unknown key in TrainConfig 'stps'; did you mean 'steps'?"),
        ({"model.bakbone.d_ff": 3}, "unknown key in ModelConfig 'bakbone'; did you mean 'backbone'?"),
        ({"optim": {"learnig_rate": 3}}, "unknown key in OptimConfig 'learnig_rate'; did you mean 'learning_rate'?"),
        ({"steps.x": 3}, "steps.x: steps holds no keys of its own"),
        ({"optim": 3}, "optim: got 3, wanted the keys of OptimConfig"),
        ({"optim.learning_rate": "fast"}, "optim.learning_rate: got 'fast', wanted float"),
    ],
)
def test_what_is_refused(changes, said):
    with pytest.raises(ValueError, match=said.replace("?", r"\?")):
        changed(CONFIG, changes)
