"""From one sequence to another: causal in the target, global in the source, streaming, blind to padding."""

from dataclasses import replace

import pytest
import torch

from undula.mixers.base import reorder_state
from undula.models.blocks import PreNormBlock
from undula.models.config import BackboneConfig, EmbeddingConfig, EncoderDecoderConfig
from undula.models.encoder_decoder import EncoderDecoder

VOCABULARY = 23
STACK = BackboneConfig(d_model=12, num_layers=2, num_heads=2, mixers=("fft_conv", "attention"), d_ff=16)
PLAN = EncoderDecoderConfig(vocab_size=VOCABULARY, encoder=STACK, decoder=replace(STACK, cross="landmarks"))
PLANS = {
    "landmarks": PLAN,
    "few landmarks": replace(PLAN, decoder=replace(STACK, cross="landmarks", num_landmarks=3)),
    "attention": replace(PLAN, decoder=replace(STACK, cross="attention")),
    "narrow table": replace(PLAN, embedding=EmbeddingConfig(width=8, tied=False)),
}
plans = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def made(plan):
    model = EncoderDecoder(plan).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def ids(rows, length, seed=0):
    return torch.randint(VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


@plans
@pytest.mark.parametrize("training", [False, True])
def test_no_score_depends_on_a_later_target(plan, training):
    model = made(plan).train(training)
    inputs = []
    model.embedding.register_forward_hook(lambda *call: inputs.append(call[2]) or call[2].retain_grad())
    scores = model(ids(1, 9), ids(1, 8, 1))
    for t in range(8):
        for x in inputs:
            x.grad = None
        scores[0, t].sum().backward(retain_graph=True)
        source, target = (x.grad[0].abs().amax(-1) for x in inputs)
        assert source.min() > 1e-6
        assert target[: t + 1].min() > 1e-6
        assert t == 7 or target[t + 1 :].max() < 1e-12


@plans
def test_prefixes_and_streams_equal_the_whole(plan):
    model, source, target = made(plan), ids(2, 9), ids(2, 11, 1)
    whole = model(source, target)
    with torch.no_grad():
        state, pieces = model.init_state(model.encode(source)), []
        for start, end in ((0, 1), (1, 2), (2, 6), (6, 7), (7, 11)):
            scores, state = model.decode(target[:, start:end], state=state)
            pieces.append(scores)
        assert (torch.cat(pieces, dim=1) - whole).abs().max() < 1e-10
        assert (model(source, target[:, :5]) - whole[:, :5]).abs().max() < 1e-10


def test_streams_in_float32_agree_to_five_digits():
    model, source, target = made(PLAN).float(), ids(2, 9), ids(2, 11, 1)
    whole, state = model(source, target), model.init_state(model.encode(source))
    for t in range(11):
        scores, state = model.decode(target[:, t : t + 1], state=state)
        assert (scores[:, 0] - whole[:, t]).abs().max() < 1e-5 * whole.abs().max()


@plans
@pytest.mark.parametrize(("left", "right"), [(0, 5), (4, 0), (3, 2)])
def test_padding_of_the_source_changes_nothing(plan, left, right):
    model, source, target = made(plan), ids(2, 7), ids(2, 5, 1)
    padded = torch.cat([ids(2, left, 2), source, ids(2, right, 3)], dim=1)
    mask = torch.zeros_like(padded)
    mask[:, left : left + 7] = 1
    alone, other = model(source, target), model(padded, target, mask)
    assert (other - alone).abs().max() < 1e-10
    weights = model.alignment(padded, target, mask)
    assert weights[:, :, mask[0] == 0].abs().max() == 0
    torch.testing.assert_close(weights[:, :, mask[0] == 1], model.alignment(source, target))
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 5, dtype=torch.float64))


def test_left_padding_of_the_target_changes_nothing():
    model, source, target = made(PLAN), ids(2, 7), ids(2, 5, 1)
    mask = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]] * 2)
    padded = model.decode(torch.cat([ids(2, 3, 2), target], dim=1), model.encode(source), target_mask=mask)
    assert (padded[:, 3:] - model(source, target)).abs().max() < 1e-10


def test_states_branch_off():
    model, source, target = made(PLAN), ids(3, 7), ids(3, 4, 1)
    order, more = torch.tensor([2, 0, 0]), ids(3, 2, 4)
    _, state = model.decode(target, state=model.init_state(model.encode(source)))
    got, _ = model.decode(more, state=tuple(reorder_state(part, order) for part in state))
    want = model(source[order], torch.cat([target[order], more], dim=1))[:, 4:]
    assert (got - want).abs().max() < 1e-10


@plans
def test_everything_learns(plan):
    model = made(plan)
    (model(ids(2, 30), ids(2, 9, 1)) * torch.randn(2, 9, VOCABULARY)).sum().backward()
    assert [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() < 1e-9] == []


def test_one_table_serves_source_target_and_scores():
    tied, own = EncoderDecoder(PLAN), EncoderDecoder(replace(PLAN, embedding=EmbeddingConfig(tied=False)))
    count = [sum(p.numel() for p in model.parameters()) for model in (tied, own)]
    assert count[1] - count[0] == VOCABULARY * 12


def test_without_a_source_or_with_two_widths_nothing_is_built():
    for change, message in (
        ({"decoder": STACK}, r"encoder.cross=None, decoder.cross=None; wanted None for the encoder, and 'landmarks'"),
        (
            {"encoder": PLAN.decoder},
            r"encoder.cross='landmarks', decoder.cross='landmarks'; wanted None for the encoder",
        ),
        ({"encoder": replace(STACK, d_model=8)}, r"encoder.d_model=8, decoder.d_model=12; wanted one width"),
        ({"decoder": replace(PLAN.decoder, block="parallel")}, r"block='parallel' reads no source; .* are 'pre_norm'"),
        ({"decoder": replace(STACK, cross="atention")}, r"unknown cross mixer 'atention'; did you mean 'attention'"),
    ):
        with pytest.raises(ValueError, match=message):
            EncoderDecoder(replace(PLAN, **change))


def test_bad_input_is_refused():
    model = made(replace(PLAN, context_length=8))
    for call, message in (
        (lambda: model(ids(2, 0), ids(2, 3)), r"the source has the shape \(2, 0\), no token; give at least one"),
        (lambda: model(ids(2, 4), ids(3, 3)), r"got 2 sources and 3 targets; give one target to each"),
        (lambda: model(ids(1, 9), ids(1, 3)), r"the source has 9 tokens, more than context_length=8; cut it"),
        (lambda: model(ids(1, 3), ids(1, 9)), r"the target has 9 tokens, more than context_length=8; cut it"),
        (lambda: model(ids(2, 3), ids(2, 3), torch.tensor([[1, 1, 1], [0, 0, 0]])), r"source 1 is empty: nothing but"),
        (
            lambda: model(ids(2, 3), ids(2, 3), torch.ones(2, 4)),
            r"source_mask has the shape \(2, 4\); wanted .*\(2, 3\)",
        ),
        (lambda: model.decoder(torch.zeros(1, 2, 12).double()), r"got no source for a block that reads one"),
        (lambda: model.decoder.init_state(1), r"this backbone reads a source; give init_state its memory"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


def test_a_block_without_a_source_is_what_it_was():
    assert [name for name, _ in PreNormBlock(EncoderDecoder(PLAN).encoder.mixers()[0], 8).named_children()] == [
        "norm",
        "attn",
        "ffn_norm",
        "ffn",
        "dropout",
    ]
