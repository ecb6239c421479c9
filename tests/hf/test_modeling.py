"""The model in the Hugging Face interface: loss, packing, saving, loading."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, DataCollatorWithFlattening, Trainer, TrainingArguments

from tests.hf.tiny import CONFIGS, VOCABULARY, left_padded, plain, tiny, tokens
from undula.hf.configuration import UndulaConfig
from undula.hf.modeling import UndulaForCausalLM
from undula.models.backbone import Backbone
from undula.models.language_model import build_language_model

DOCUMENTS = [tokens(n, seed=n) for n in (5, 1, 9, 4)]


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    return tiny(request.param)


def packed(**options):
    """Return documents packed as trainers send them."""
    collator = DataCollatorWithFlattening(return_tensors="pt", **options)
    batch = collator([{"input_ids": document.tolist()} for document in DOCUMENTS])
    return {name: value for name, value in batch.items() if name != "labels"}


PACKED = {
    "all_of_it": packed(return_flash_attn_kwargs=True, return_seq_idx=True),
    "seq_idx": packed(return_position_ids=False, return_seq_idx=True),
    "cu_seq_lens": packed(return_position_ids=False, return_flash_attn_kwargs=True),
    "position_ids": packed(),
}


@pytest.mark.parametrize("how", PACKED)
def test_packed_documents_do_not_see_each_other(model, how):
    together = model(**PACKED[how]).logits[0]
    alone = torch.cat([model(document[None]).logits[0] for document in DOCUMENTS])
    assert (together - alone).abs().max() < 1e-9


def test_without_unpacking_documents_see_each_other(model):
    row = PACKED["position_ids"]["input_ids"]
    alone = torch.cat([model(document[None]).logits[0] for document in DOCUMENTS])
    assert (model(row).logits[0, 5:] - alone[5:]).abs().amax(-1).min() > 1e-6


def test_packed_loss_and_gradients_are_those_of_the_documents(model):
    row = PACKED["all_of_it"]
    count = sum(len(document) - 1 for document in DOCUMENTS)
    model(**row, labels=row["input_ids"]).loss.backward()
    together = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    for document in (d for d in DOCUMENTS if len(d) > 1):
        model(document[None], labels=document[None], num_items_in_batch=count).loss.backward()
    worst = max((p.grad - together[name]).abs().max() for name, p in model.named_parameters())
    model.zero_grad()
    # The loss is computed in float32, whatever the model's type.
    assert worst < 1e-4


def test_packed_row_with_padding_at_its_end(model):
    ids = F.pad(PACKED["seq_idx"]["input_ids"], (0, 3))
    seq_idx = F.pad(PACKED["seq_idx"]["seq_idx"], (0, 3), value=9)
    mask = (torch.arange(ids.shape[1]) < ids.shape[1] - 3).long()[None]
    plainly = model(**PACKED["seq_idx"]).logits
    assert (model(ids, seq_idx=seq_idx, attention_mask=mask).logits[:, :-3] - plainly).abs().max() < 1e-9


def test_packed_row_with_a_cache_is_refused():
    with pytest.raises(ValueError, match=r"got a cache and 4 documents packed in 1 row.*pack for training only"):
        tiny("attention")(**PACKED["seq_idx"], use_cache=True)


def test_context_limits_documents_rather_than_the_row():
    model = tiny(plain("attention", context_length=9))
    assert model(**PACKED["seq_idx"]).logits.shape[1] == 19
    with pytest.raises(ValueError, match="got 19 tokens .*context_length=9"):
        model(PACKED["seq_idx"]["input_ids"])


def test_loss_is_that_of_the_next_token(model):
    ids = tokens(2, 9)
    out = model(ids, labels=ids)
    wanted = F.cross_entropy(model(ids).logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
    assert abs(out.loss - wanted) < 1e-5
    shifted = F.pad(ids[:, 1:], (0, 1), value=-100)
    assert model(ids, shift_labels=shifted).loss == out.loss
    # Labels that are shifted already must not be shifted again.
    assert abs(model(ids, labels=shifted).loss - out.loss) > 1e-3


def test_loss_is_divided_by_the_items_given():
    model, ids = tiny("attention"), tokens(2, 9)
    mean = model(ids, labels=ids).loss
    assert abs(model(ids, labels=ids, num_items_in_batch=torch.tensor(32)).loss - mean / 2) < 1e-6
    assert UndulaForCausalLM.accepts_loss_kwargs is True


@pytest.mark.parametrize("labels", ["labels", "shift_labels"])
def test_trainer_evaluates_by_either_kind_of_labels(labels, tmp_path):
    model = tiny("attention", torch.float32)
    ids = tokens(4, 9)
    shifted = F.pad(ids[:, 1:], (0, 1), value=-100)
    rows = [{"input_ids": a, labels: b} for a, b in zip(ids, ids if labels == "labels" else shifted, strict=True)]
    names = None if labels == "labels" else [labels]
    arguments = TrainingArguments(tmp_path, use_cpu=True, report_to=[], label_names=names)
    metrics = Trainer(model=model, args=arguments).evaluate(rows)
    assert abs(metrics["eval_loss"] - model(ids, labels=ids).loss) < 1e-4


def test_default_makes_no_cache_in_training_or_evaluation():
    model, ids = tiny("attention"), tokens(2, 4)
    assert model(ids).past_key_values is None
    assert model.train()(ids, labels=ids).past_key_values is None
    assert model(ids, use_cache=True).past_key_values.get_seq_length() == 4


def test_mask_of_ones_is_dropped_and_a_mask_of_padding_kept():
    model, seen = tiny("attention"), []
    model.model.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    ids, mask = left_padded([tokens(3), tokens(5)])
    model(ids, attention_mask=torch.ones_like(ids))
    model(ids, attention_mask=mask)
    assert seen[0] is None
    assert torch.equal(seen[1], mask)


def test_mask_of_a_wrong_shape_is_refused():
    model = tiny("attention")
    with pytest.raises(ValueError, match=r"attention_mask has the shape \(2, 3\); wanted \(2, 4\)"):
        model(tokens(2, 4), attention_mask=torch.ones(2, 3))
    cache = model(tokens(2, 4), use_cache=True).past_key_values
    with pytest.raises(ValueError, match=r"wanted \(2, 1\) for the tokens, or \(2, 5\) for these and the 4 before"):
        model(tokens(2, 1), attention_mask=torch.ones(2, 4), past_key_values=cache)


def test_logits_to_keep():
    model, ids = tiny("hybrid"), tokens(2, 6)
    whole = model(ids).logits
    assert torch.equal(model(ids, logits_to_keep=2).logits, whole[:, -2:])
    assert torch.equal(model(ids, logits_to_keep=torch.tensor([0, 3])).logits, whole[:, [0, 3]])
    assert torch.equal(model(ids, return_dict=False)[0], whole)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs_embeds": torch.zeros(1, 4, 24)}, "got inputs_embeds; undula models take tokens"),
        ({"output_attentions": True}, "got output_attentions, which undula models do not support"),
    ],
)
def test_what_is_not_supported_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        tiny("attention")(tokens(1, 4), **options)


def test_no_input_is_refused():
    with pytest.raises(ValueError, match="got no input_ids"):
        tiny("attention")()


def test_optional_arguments_that_ask_for_nothing_are_taken():
    model, ids = tiny("attention"), tokens(1, 4)
    out = model(ids, inputs_embeds=None, output_attentions=False, output_hidden_states=None, return_dict=True)
    assert torch.equal(out.logits, model(ids).logits)


def test_hidden_states_are_the_residual_stream():
    model, ids = tiny("hybrid"), tokens(2, 6)
    with torch.no_grad():
        layers = model(ids, output_hidden_states=True).hidden_states
        inner = model.model
        assert len(layers) == 3
        assert torch.equal(layers[0], inner.embedding(ids))
        assert torch.equal(inner.head(inner.backbone.norm_f(layers[-1])), model(ids).logits)
        cached = model(ids, output_hidden_states=True, use_cache=True).hidden_states
    torch.testing.assert_close(cached, layers)
    assert model(ids).hidden_states is None
    with pytest.raises(ValueError, match="output_hidden_states with packed rows"):
        model(ids[:1], seq_idx=torch.tensor([[0, 0, 0, 1, 1, 1]]), output_hidden_states=True)


def test_start_values_are_those_of_the_model(model):
    config = model.config.model_config
    torch.manual_seed(3)
    ours = build_language_model(config).state_dict()
    torch.manual_seed(3)
    theirs = UndulaForCausalLM(UndulaConfig(model=config)).model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_checkpointing_changes_no_gradient_and_computes_blocks_twice(model):
    ids, calls, grads = tokens(2, 6), [], []
    block = next(part for part in model.modules() if isinstance(part, Backbone)).layers[0]
    handle = block.attn.register_forward_hook(lambda *args: calls.append(1))
    for change in (lambda: None, model.activation_checkpointing_enable, model.activation_checkpointing_disable):
        change()
        model.train().zero_grad()
        before = len(calls)
        torch.manual_seed(0)
        model(ids, labels=ids).loss.backward()
        grads.append((len(calls) - before, [p.grad.clone() for p in model.parameters()]))
    handle.remove()
    model.eval().zero_grad()
    assert [count for count, _ in grads] == [1, 2, 1]
    assert all(torch.equal(a, b) for a, b in zip(grads[0][1], grads[1][1], strict=True))


def test_blocks_are_never_split(model):
    blocks = {type(b).__name__ for m in model.modules() if hasattr(m, "norm_f") for b in m.layers}
    assert blocks <= model._no_split_modules


def test_embeddings_are_found_and_the_vocabulary_is_fixed(model):
    assert model.get_input_embeddings().weight.shape[0] == VOCABULARY
    assert model.resize_token_embeddings(VOCABULARY) is model.get_input_embeddings()
    with pytest.raises(ValueError, match="got 64 tokens, the model has 41"):
        model.resize_token_embeddings(pad_to_multiple_of=64)


def test_saved_model_is_the_same(model, tmp_path):
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "config.json",
        "generation_config.json",
        "model.safetensors",
    ]
    random_state = torch.get_rng_state()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert (type(loaded), loaded.dtype, loaded.training) == (UndulaForCausalLM, torch.float64, False)
    ours, theirs = model.state_dict(), loaded.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    ids = tokens(2, 7)
    # Rounding alone: on some processors the order in which kernels add follows from where in memory a tensor lies.
    torch.testing.assert_close(loaded(ids).logits, model(ids).logits, rtol=1e-12, atol=1e-12)


def test_bfloat16(model, tmp_path):
    model.save_pretrained(tmp_path)
    half = UndulaForCausalLM.from_pretrained(tmp_path, dtype=torch.bfloat16)
    ids = tokens(2, 12)
    wanted, got = model(ids).logits, half(ids).logits
    assert {p.dtype for p in half.parameters()} | {got.dtype} == {torch.bfloat16}
    assert (got.double() - wanted).norm() < 0.05 * wanted.norm()
    cached = half.generate(ids, max_new_tokens=4, num_beams=2, do_sample=False)
    assert torch.equal(cached[:, :12], ids)
    step = half(ids[:, -1:], past_key_values=half(ids[:, :-1], use_cache=True).past_key_values).logits
    assert (step.double() - wanted[:, -1:]).norm() < 0.05 * wanted.norm()


def test_fresh_process_loads_the_folder(tmp_path):
    model, ids = tiny("wave"), tokens(1, 7)
    model.save_pretrained(tmp_path)
    code = (
        "import sys, torch, undula.hf.modeling\n"
        "from transformers import AutoModelForCausalLM\n"
        f"model = AutoModelForCausalLM.from_pretrained({str(tmp_path)!r})\n"
        f"ids = torch.tensor({ids.tolist()})\n"
        "sys.stdout.write(str([model.generate(ids, max_new_tokens=6)[0].tolist(), model(ids).logits.sum().item()]))"
    )
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    continued, total = json.loads(run.stdout)
    assert continued == model.generate(ids, max_new_tokens=6)[0].tolist()
    assert total == pytest.approx(model(ids).logits.sum().item(), rel=1e-12)


@pytest.fixture
def folder(tmp_path):
    tiny("fft_conv").save_pretrained(tmp_path)
    return tmp_path


def rewrite(folder, change):
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def test_truncated_weights_are_an_error(folder):
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"the weights are damaged \(.*\); take an earlier checkpoint"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_pickled_weights_are_not_loaded(folder):
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_missing_weight_is_an_error_rather_than_random(folder):
    rewrite(folder, lambda weights: weights.pop("model.head.weight"))
    with pytest.raises(ValueError, match=r"1 missing weights, such as model.head.weight"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_unexpected_weight_is_an_error(folder):
    rewrite(folder, lambda weights: weights.update(other=torch.zeros(2)))
    with pytest.raises(ValueError, match=r"1 unexpected weights, such as other"):
        AutoModelForCausalLM.from_pretrained(folder)


def test_weight_of_another_shape_is_an_error(folder):
    rewrite(folder, lambda weights: weights.update({"model.head.weight": torch.zeros(7, 24)}))
    with pytest.raises(ValueError, match=r"1 mismatched weights, such as .*model.head.weight"):
        AutoModelForCausalLM.from_pretrained(folder, ignore_mismatched_sizes=True)


def test_wrong_key_in_the_configuration_is_an_error(folder):
    config = json.loads((folder / "config.json").read_text())
    config["model"]["backbone"]["num_layer"] = config["model"]["backbone"].pop("num_layers")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"unknown key in model.backbone 'num_layer'; did you mean 'num_layers'\?"):
        AutoModelForCausalLM.from_pretrained(folder)


@pytest.mark.parametrize("shifted", [False, True])
def test_a_loss_in_pieces_is_the_loss(model, shifted):
    ids = tokens(13, seed=1)[None]
    named = {"shift_labels": F.pad(ids[:, 1:], (0, 1), value=-100)} if shifted else {"labels": ids}
    whole = model(ids, labels=ids)
    whole.loss.backward()
    want = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    got = model(ids, piece=5, **named)
    assert set(got) == {"loss"}
    got.loss.backward()
    torch.testing.assert_close(got.loss, whole.loss, rtol=1e-10, atol=1e-10)
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.grad, want[name], rtol=1e-9, atol=1e-9)
    model.zero_grad()
    torch.testing.assert_close(model(ids, piece=5, num_items_in_batch=2, **named).loss, whole.loss * 6)


@pytest.mark.parametrize("more", [{}, {"labels": None, "use_cache": True}, {"output_hidden_states": True}])
def test_a_loss_in_pieces_needs_labels_and_gives_nothing_else(model, more):
    ids = tokens(5, seed=1)[None]
    with pytest.raises(ValueError, match="piece=2 gives the loss alone: it needs labels"):
        model(ids, piece=2, **({"labels": ids} if "output_hidden_states" in more else {}), **more)
