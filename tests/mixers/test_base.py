"""Building mixers by name, their options, and what states are."""

from dataclasses import dataclass

import pytest
import torch

from undula.mixers.base import (
    MIXERS,
    Mixer,
    State,
    Traits,
    build_mixer,
    map_state,
    mixer_options,
    reorder_state,
    state_bytes,
)


@dataclass
class Example(State):
    near: torch.Tensor
    far: torch.Tensor
    none: torch.Tensor | None


def example():
    return Example(torch.arange(3.0)[:, None], torch.arange(6, dtype=torch.float64).view(3, 2), None)


def test_states_are_reordered_by_rows():
    state = reorder_state(example(), torch.tensor([2, 2, 0, 1]))
    assert torch.equal(state.near, torch.tensor([[2.0], [2], [0], [1]]))
    assert torch.equal(state.far[0], torch.tensor([4.0, 5], dtype=torch.float64))
    assert state.none is None


def test_mapping_changes_a_copy():
    state = example()
    doubled = map_state(state, lambda t: 2 * t)
    assert torch.equal(doubled.near, 2 * state.near)
    assert torch.equal(state.near, torch.arange(3.0)[:, None])


def test_the_size_of_a_state_counts_its_tensors():
    assert state_bytes(example()) == 3 * 4 + 6 * 8
    assert state_bytes(State()) == 0


@dataclass
class Nest(State):
    one: State
    several: tuple[State, ...]
    steps: int


def test_states_within_states_are_reached():
    nest = Nest(example(), (example(), example()), 7)
    assert state_bytes(nest) == 3 * state_bytes(example())
    turned = reorder_state(nest, torch.tensor([2, 0]))
    assert turned.steps == 7
    for part in (turned.one, *turned.several):
        assert torch.equal(part.near, torch.tensor([[2.0], [0.0]]))
        assert part.none is None
    assert torch.equal(nest.several[1].near, torch.arange(3.0)[:, None])


class Scale(Mixer):
    """A mixer with the standard names: nothing to translate, so `build` is inherited."""

    traits = Traits(cost="T", source="made up for tests")

    def __init__(self, d_model: int, *, num_heads: int, factor: float = 2.0):
        super().__init__()
        self.d_model, self.num_heads, self.factor = d_model, num_heads, factor


def test_a_mixer_with_standard_names_is_built_from_its_constructor():
    MIXERS.register("scale")(Scale)
    try:
        built = build_mixer("scale", 8, 2, factor=3.0)
        assert (built.d_model, built.num_heads, built.factor) == (8, 2, 3.0)
        assert mixer_options(Scale) == {"factor": 2.0}
        with pytest.raises(ValueError, match="unknown option of mixer 'scale' 'facto'; did you mean 'factor'?"):
            build_mixer("scale", 8, 2, facto=1.0)
    finally:
        MIXERS.remove("scale")
    assert "scale" not in MIXERS


def test_options_are_those_of_build_where_names_differ():
    assert mixer_options(MIXERS["fft_conv"]) == {"num_modes": 8, "short_conv": 4, "d_inner": None, "memory": 0.0}
    assert "n_heads_kv" not in mixer_options(MIXERS["attention"])
    assert mixer_options(MIXERS["attention"])["num_kv_heads"] is None
