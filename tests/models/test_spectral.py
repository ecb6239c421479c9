"""Spectral layers and language models: compositions, generation, mistakes."""

import pytest
import torch

from tests.contract.cases import moved
from tests.models.test_spectral_config import small
from undula.audit.run import audit_language_model
from undula.models.backbone import Backbone
from undula.models.language_model import build_language_model
from undula.models.spectral import SpectralFFN, SpectralLanguageModel, SpectralLayer
from undula.models.spectral_config import LayerType
from undula.nn.mixture import MixtureOfExperts

TYPES = [kind.value for kind in LayerType]


def model(**changes):
    return moved(SpectralLanguageModel(small(**changes))).double().eval()


def tokens(*shape, seed=0):
    return torch.randint(40, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", TYPES)
def test_every_layer_type_is_causal_and_streams(kind):
    """The page's language model was bidirectional, whatever its type."""
    built = SpectralLanguageModel(small(layer_type=kind, hidden_dim=16, num_layers=2))
    found = audit_language_model(built, 40, audits=["leak", "streaming"])
    assert len(found) >= 2
    assert [finding.name for finding in found if not finding.passed] == []


@pytest.mark.parametrize("kind", TYPES)
def test_every_parameter_of_every_type_has_a_gradient(kind):
    """`freq_importance` and the selector's offset had none; experts were never built."""
    built = moved(SpectralLanguageModel(small(layer_type=kind, num_layers=2))).train()
    loss = built(tokens(4, 70)).square().mean()
    extra = built.aux_loss()
    (loss if extra is None else loss + extra).backward()
    assert [name for name, p in built.named_parameters() if p.grad is None or p.grad.abs().max() == 0] == []


def test_types_are_different_functions():
    ids, outputs = tokens(1, 70), {}
    for kind in TYPES:
        torch.manual_seed(0)
        built = SpectralLanguageModel(small(layer_type=kind)).eval()
        if kind == "adaptive":
            # At the start its heads keep what sparse ones keep; the share is theirs to learn.
            moved(built.body.backbone.layers[0].attn.memory)
        outputs[kind] = built(ids)
    pairs = [(a, b) for a in TYPES for b in TYPES if a < b]
    assert [pair for pair in pairs if torch.equal(outputs[pair[0]], outputs[pair[1]])] == []
    sizes = [SpectralLanguageModel(small(layer_type=kind)).get_num_params() for kind in ("sparse", "adaptive")]
    assert sizes[0] < sizes[1]


@pytest.mark.parametrize("tied", [True, False])
def test_the_model_is_the_chain_of_its_parts(tied):
    built = model(tie_word_embeddings=tied)
    ids = tokens(2, 9)
    table = built.body.embedding.table.weight
    x = built.body.backbone(table[ids] @ built.body.embedding.expand.weight.T)
    want = x @ built.head.reduce.weight.T @ (table if tied else built.head.own.weight).T
    torch.testing.assert_close(built(ids), want)


def test_plain_data_builds_the_same_model():
    built = model(layer_type="hybrid")
    twin = build_language_model(small(layer_type="hybrid").model()).double().eval()
    twin.load_state_dict(built.state_dict())
    assert torch.equal(twin(tokens(1, 20)), built(tokens(1, 20)))


def test_checkpointing_keeps_less_and_computes_the_same():
    def run(on):
        torch.manual_seed(0)
        built = SpectralLanguageModel(small(use_gradient_checkpointing=on, dropout=0.1, layer_type="moe")).train()
        calls = []
        built.body.backbone.layers[0].register_forward_pre_hook(lambda *_: calls.append(1))
        torch.manual_seed(1)
        loss = built(tokens(2, 30)).square().mean()
        (loss + built.aux_loss()).backward()
        with torch.no_grad():
            built(tokens(2, 30))
        return len(calls), loss.detach(), {name: p.grad for name, p in built.named_parameters()}

    (once, loss, plain), (twice, same, checkpointed) = run(False), run(True)
    assert (once, twice) == (2, 3)
    assert torch.equal(loss, same)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient)


def test_parameters_without_the_table():
    built = SpectralLanguageModel(small())
    whole = sum(p.numel() for p in built.parameters())
    assert built.get_num_params(non_embedding=False) == whole
    assert built.get_num_params() == whole - 40 * 16


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (torch.full((1, 3), 40), "got ids from 40 to 40; wanted 0 to 39"),
        (torch.tensor([[0, -1]]), "got ids from -1 to 0; wanted 0 to 39"),
        (torch.zeros(1, 0, dtype=torch.long), "got 0 tokens; wanted 1 to max_seq_len=512"),
        (torch.zeros(1, 513, dtype=torch.long), "got 513 tokens; wanted 1 to max_seq_len=512"),
    ],
)
def test_ids_that_cannot_be_are_refused(ids, message):
    with pytest.raises(ValueError, match=message):
        SpectralLanguageModel(small())(ids)


# Generation.


def test_greedy_generation_is_the_argmax_of_whole_passes():
    built, ids = model(layer_type="hybrid").train(), tokens(2, 5)
    want = ids
    for _ in range(12):
        want = torch.cat([want, built.eval()(want)[:, -1:].argmax(-1)], dim=1)
    built.train()
    assert torch.equal(built.generate(ids, 17, do_sample=False), want)
    assert built.training


def test_each_step_computes_one_position():
    built, seen = model(), []
    built.body.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    built.generate(tokens(2, 9), 14)
    assert seen == [9, 1, 1, 1, 1]


def test_a_prompt_does_not_depend_on_the_others_nor_on_its_padding():
    built = model()
    short, long = tokens(1, 4, seed=1), tokens(1, 9, seed=2)
    both = torch.cat([torch.nn.functional.pad(short, (5, 0), value=7), long])
    mask = torch.ones_like(both)
    mask[0, :5] = 0
    options = {"do_sample": False, "repetition_penalty": 1.5}
    got = built.generate(both, 20, **options, attention_mask=mask)
    assert torch.equal(got[:1, 5:], built.generate(short, 15, **options))
    assert torch.equal(got[1:], built.generate(long, 20, **options))


def test_rows_that_ended_stay_ended():
    built, ids = model(), tokens(3, 4)
    free = built.generate(ids, 20, do_sample=False)
    end = free[0, 8].item()
    got = built.generate(ids, 20, do_sample=False, eos_token_id=end)
    for row, unstopped in zip(got.tolist(), free.tolist(), strict=True):
        stop = unstopped.index(end, 4) + 1 if end in unstopped[4:] else len(row)
        assert row[:stop] == unstopped[: min(stop, len(row))]
        assert set(row[stop:]) <= {end}
    alone = built.generate(ids[:1], 20, do_sample=False, eos_token_id=end)
    assert alone.shape[1] == free[0].tolist().index(end, 4) + 1


def test_repetition_can_be_ruled_out():
    row = model().generate(tokens(1, 3), 30, do_sample=False, repetition_penalty=1e9)[0].tolist()
    assert len(set(row)) == 30


def test_sampling_follows_its_generator():
    built, ids = model(), tokens(2, 4)
    first, again, other = (
        built.generate(ids, 20, temperature=3.0, generator=torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_length": 4}, "got a prompt of 4 tokens and max_length=4"),
        ({"max_length": 513}, "at most max_seq_len=512"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"top_p": 0.0}, "top_p=0.0"),
        ({"top_p": 1.5}, "top_p=1.5"),
        ({"top_k": 0}, "top_k=0"),
        ({"repetition_penalty": 0.0}, "repetition_penalty=0.0"),
    ],
)
def test_requests_that_cannot_be_met_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        SpectralLanguageModel(small()).generate(tokens(1, 4), **options)


# Layers.


@pytest.mark.parametrize("kind", TYPES)
def test_a_layer_is_the_one_of_the_model(kind):
    built = model(layer_type=kind)
    for index, block in enumerate(built.body.backbone.layers):
        layer = SpectralLayer(small(layer_type=kind), index).double().eval()
        layer.block.load_state_dict(block.state_dict())
        x = torch.randn(2, 40, 32, dtype=torch.float64)
        assert torch.equal(layer(x), block(x))
        y, state = layer(x[:, :23], state=layer.init_state(2))
        rest, _ = layer(x[:, 23:], state=state)
        torch.testing.assert_close(torch.cat([y, rest], dim=1), layer(x), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("kind", TYPES)
def test_a_layer_hides_the_future_unless_it_is_an_encoders(kind):
    x = torch.randn(1, 40, 32, dtype=torch.float64)
    changed = x.clone()
    changed[:, 39] += 1.0
    for causal in (True, False):
        layer = moved(SpectralLayer(small(layer_type=kind), causal=causal)).double().eval()
        moved_by = (layer(x) - layer(changed))[:, :39].abs().max()
        assert moved_by < 1e-10 if causal else moved_by > 1e-6


def test_a_layer_that_is_not_there():
    with pytest.raises(ValueError, match="layer=4 of num_layers=4; wanted 0 to 3"):
        SpectralLayer(small(), 4)


def test_the_feed_forward_is_that_of_the_layers():
    for changes, experts in (({}, False), ({"use_moe": True}, True)):
        ffn = SpectralFFN(small(**changes)).eval()
        block = Backbone(small(**changes).backbone()).layers[0].eval()
        ffn.ffn.load_state_dict(block.ffn.state_dict())
        x = torch.randn(2, 5, 32)
        assert torch.equal(ffn(x), block.ffn(x))
        assert isinstance(ffn.ffn, MixtureOfExperts) is experts
