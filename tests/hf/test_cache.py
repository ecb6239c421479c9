"""The cache counts, reorders and resets; it cannot be turned back."""

import pytest
import torch

from tests.hf.tiny import CONFIGS, tiny, tokens
from undula.hf.cache import UndulaCache
from undula.mixers.base import State


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    return tiny(request.param)


def next_scores(model, cache, ids):
    return model(ids, past_key_values=cache).logits


def filled(model, rows=3):
    return model(tokens(rows, 6), use_cache=True).past_key_values


@pytest.mark.parametrize(
    ("change", "order"),
    [
        (lambda cache: cache.reorder_cache(torch.tensor([2, 0, 0])), [2, 0, 0]),
        (lambda cache: cache.batch_select_indices(torch.tensor([1])), [1]),
        (lambda cache: cache.batch_repeat_interleave(2), [0, 0, 1, 1, 2, 2]),
    ],
    ids=["reorder", "select", "repeat"],
)
def test_rows_of_the_batch_move(model, change, order):
    ids = tokens(3, 8)
    cache = filled(model)
    change(cache)
    assert cache.batch_size == len(order)
    after = next_scores(model, cache, ids[order, 6:])
    prompts = tokens(3, 6)
    whole = model(torch.cat([prompts, ids[:, 6:]], dim=1)[order]).logits[:, 6:]
    assert (after - whole).abs().max() < 1e-9


def test_reset_starts_anew(model):
    cache = filled(model)
    cache.reset()
    assert (cache.get_seq_length(), cache.is_initialized, cache.nbytes, bool(cache)) == (0, False, 0, True)
    ids = tokens(2, 4)
    assert (next_scores(model, cache, ids) - model(ids).logits).abs().max() < 1e-9


def tensors(cache):
    """All tensors of a cache's states, those within states of states too."""
    waiting, found = list(cache.states), []
    for value in waiting:
        if isinstance(value, torch.Tensor):
            found.append(value)
        elif isinstance(value, State | tuple):
            waiting += vars(value).values() if isinstance(value, State) else value
    return found


def test_counts_tokens_and_memory(model):
    cache = filled(model)
    assert (cache.get_seq_length(), cache.get_mask_sizes(2, 0), len(cache)) == (6, (8, 0), len(cache.states))
    assert cache.nbytes == sum(t.numel() * t.element_size() for t in tensors(cache)) > 0
    assert all(isinstance(state, State) for state in cache.states)


def test_holds_no_gradients(model):
    cache = filled(model)
    assert not any(t.requires_grad for t in tensors(cache))


def test_another_batch_is_refused(model):
    with pytest.raises(ValueError, match="got a batch of 2, but the cache holds one of 3"):
        next_scores(model, filled(model), tokens(2, 1))


def test_cannot_be_cropped():
    cache = filled(tiny("attention"))
    cache.crop(0)
    assert cache.get_seq_length() == 6
    with pytest.raises(ValueError, match="cannot be turned back"):
        cache.crop(1)
    assert not cache.is_croppable


def test_takes_no_keys_and_values():
    with pytest.raises(TypeError, match="holds states of mixers"):
        UndulaCache().update(torch.zeros(1), torch.zeros(1), 0)
