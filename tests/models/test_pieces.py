"""A sequence read in pieces has the loss and the gradients of the whole one, and less is kept for them."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from tests.contract.cases import MODEL_CASES, VOCAB, model, moved
from undula.mixers.base import MIXERS, map_state, state_bytes
from undula.models.config import BackboneConfig, ModelConfig
from undula.models.language_model import build_language_model
from undula.models.pieces import loss_in_pieces
from undula.ops.metrics import IGNORED, summed_nats

LENGTH = 37


def tokens(length=LENGTH, rows=2):
    """Tokens and those after them, of which every fifth does not count."""
    ids = torch.randint(VOCAB, (rows, length + 1))
    labels = ids[:, 1:].clone()
    labels[:, ::5] = IGNORED
    return ids[:, :-1], labels


def gradients(subject, loss):
    subject.zero_grad()
    loss.backward()
    return {name: p.grad.clone() for name, p in subject.named_parameters() if p.grad is not None}


def assert_equal(got, want):
    assert got.keys() == want.keys()
    for name, gradient in want.items():
        torch.testing.assert_close(got[name], gradient, rtol=1e-10, atol=1e-10, msg=name)


# In evaluation mode: in training a selector draws, and other numbers in pieces.
@pytest.mark.parametrize("case", MODEL_CASES, ids=lambda case: "-".join((case[0], *case[1], *case[2:])))
def test_loss_and_gradients_are_those_of_the_whole(case):
    subject = moved(model(*case)).double().eval()
    ids, labels = tokens()
    whole, count = summed_nats(subject(ids), labels)
    want = gradients(subject, whole)
    assert max(g.abs().max().item() for g in want.values()) > 1e-3
    got = loss_in_pieces(subject, ids, labels, 16)
    torch.testing.assert_close(got.nats, whole, rtol=1e-10, atol=1e-10)
    assert got.count == count
    assert_equal(gradients(subject, got.nats), want)


@pytest.mark.parametrize("piece", [1, 5, 37, 100])
def test_pieces_of_any_size(piece):
    subject = moved(model("plain", ("fft_conv",), dropout=0.0)).double()
    ids, labels = tokens()
    whole, _ = summed_nats(subject(ids), labels)
    want = gradients(subject, whole)
    got = loss_in_pieces(subject, ids, labels, piece).nats
    torch.testing.assert_close(got, whole, rtol=1e-10, atol=1e-10)
    assert_equal(gradients(subject, got), want)
    with torch.no_grad():
        torch.testing.assert_close(loss_in_pieces(subject, ids, labels, piece).nats, whole, rtol=1e-10, atol=1e-10)


def test_a_state_that_is_cut_off_would_show():
    """The gradient really goes through the states: without them it is another one."""
    subject = moved(model("plain", ("fft_conv",), dropout=0.0)).double()
    ids, labels = tokens()
    want = gradients(subject, loss_in_pieces(subject, ids, labels, 8).nats)
    first, state = subject(ids[:, :24], state=subject.init_state(2))
    rest, _ = subject(ids[:, 24:], state=tuple(map_state(s, torch.Tensor.detach) for s in state))
    cut = gradients(subject, summed_nats(torch.cat([first, rest], dim=1), labels)[0])
    assert max((cut[name] - g).abs().max().item() for name, g in want.items()) > 1e-2


def test_padding_on_the_left_counts_for_nothing():
    subject = moved(model("plain", ("fft_conv", "attention"), dropout=0.0)).double()
    ids, labels = tokens()
    mask = torch.ones_like(ids)
    mask[1, :9], labels[1, :9] = 0, IGNORED
    alone = [summed_nats(subject(ids[:1]), labels[:1])[0], summed_nats(subject(ids[1:, 9:]), labels[1:, 9:])[0]]
    got = loss_in_pieces(subject, ids, labels, 8, mask).nats
    torch.testing.assert_close(got, sum(alone), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("variant", ["sparse", "gathered"])
def test_what_a_model_adds_is_the_mean_over_the_pieces(variant):
    subject = moved(model("wave", ("fft_conv",), "parallel", variant, dropout=0.0)).double().eval()
    ids, labels = tokens()
    shares, added = [], []
    state = subject.init_state(2)
    for start in (0, 16, 32):
        _, state = subject(ids[:, start : start + 16], state=state)
        added.append(subject.aux_loss())
        shares.append(ids[:, start : start + 16].shape[1] / LENGTH)
    got = loss_in_pieces(subject, ids, labels, 16).aux
    torch.testing.assert_close(got, sum(s * a for s, a in zip(shares, added, strict=True)))
    assert got > 0
    assert any(g.abs().max() > 0 for g in gradients(subject, got).values())
    assert loss_in_pieces(model("plain", ("fft_conv",)), ids, labels, 16).aux is None


def kept_elements(run):
    """How many numbers are saved for the backward pass, tensors that share memory counted once."""
    seen = {}

    def note(tensor):
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = max(seen.get(storage.data_ptr(), 0), storage.nbytes() // tensor.element_size())
        # Held, so that no address is used again.
        held.append(tensor)
        return tensor

    held = []
    with saved_tensors_hooks(note, lambda tensor: tensor):
        run()
    return sum(seen.values())


BOUNDED = [name for name in MIXERS if MIXERS[name].traits.bounded_state]


@pytest.mark.parametrize("mixer", BOUNDED)
def test_kept_for_the_backward_pass_is_one_piece_and_the_states(mixer):
    backbone = BackboneConfig(d_model=24, num_layers=2, num_heads=2, mixers=(mixer,), d_ff=32)
    subject = build_language_model(ModelConfig(vocab_size=VOCAB, backbone=backbone))
    parameters = sum(p.numel() for p in subject.parameters())
    length, piece = 2048, 64
    ids, labels = tokens(length, rows=1)
    whole = kept_elements(lambda: summed_nats(subject(ids), labels)) - parameters
    start = subject.init_state(1)
    one = kept_elements(lambda: summed_nats(subject(ids[:, :piece], state=start)[0], labels[:, :piece]))
    between = kept_elements(lambda: loss_in_pieces(subject, ids, labels, piece))
    states = length // piece * sum(map(state_bytes, start)) // 4
    # Of a piece nothing is kept but what goes in: tokens and labels here, the states beside them. In the backward pass
    # one piece at a time is computed again.
    assert between <= 2 * (length + 1) + 4 * length // piece
    assert between + one - parameters + states < whole / 4
    scores = []
    subject.head.register_forward_hook(lambda module, args, out: scores.append(out.shape[1]))
    loss_in_pieces(subject, ids, labels, piece).nats.backward()
    assert set(scores) == {piece}
    assert len(scores) == 2 * length // piece


def test_each_piece_begins_with_free_memory_given_back(monkeypatch):
    given = []
    monkeypatch.setattr("undula.models.pieces.release_free_memory", lambda: given.append(1))
    subject = model("plain", ("fft_conv",), dropout=0.0)
    found = loss_in_pieces(subject, *tokens(), 16)
    assert len(given) == 3
    found.nats.backward()
    assert len(given) == 6


@pytest.mark.parametrize(("piece", "length"), [(0, 8), (-1, 8), (4, 0)])
def test_no_pieces_and_no_tokens_are_refused(piece, length):
    ids = torch.zeros(1, length, dtype=torch.long)
    with pytest.raises(ValueError, match=f"piece={piece} of {length} tokens"):
        loss_in_pieces(model("plain", ("fft_conv",)), ids, ids, piece)
