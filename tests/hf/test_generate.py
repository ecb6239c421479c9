"""Decoding through the cache gives what decoding without one gives, for every mixer."""

import copy

import pytest
import torch
from transformers import DynamicCache, LogitsProcessorList, pipeline

from tests.hf.tiny import CONFIGS, left_padded, plain, tiny, tokens
from undula.data.tokenizers import byte_tokenizer
from undula.hf.cache import UndulaCache
from undula.hf.configuration import UndulaConfig
from undula.hf.modeling import UndulaForCausalLM
from undula.models.config import BackboneConfig, ModelConfig

MODES = {
    "greedy": {},
    "temperature": {"do_sample": True, "temperature": 0.7, "top_k": 0},
    "top_k": {"do_sample": True, "top_k": 5},
    "top_p": {"do_sample": True, "top_p": 0.8, "top_k": 0},
    "min_p": {"do_sample": True, "min_p": 0.1, "top_k": 0},
    "several_samples": {"do_sample": True, "num_return_sequences": 3},
    "beams": {"num_beams": 4},
    "beams_several_returns": {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 0.5},
    "beam_sampling": {"num_beams": 3, "do_sample": True},
    "repetition_penalty": {"repetition_penalty": 1.5},
    "no_repeat_ngram": {"no_repeat_ngram_size": 2},
    "no_repeat_ngram_beams": {"no_repeat_ngram_size": 2, "num_beams": 3},
}


def generated(model, ids, **options):
    torch.manual_seed(0)
    return model.generate(ids, **{"max_new_tokens": 6, **options})


@pytest.fixture(scope="module", params=CONFIGS)
def model(request):
    return tiny(request.param)


@pytest.mark.parametrize("mode", MODES)
def test_cached_equals_uncached(model, mode):
    ids = tokens(2, 7)
    cached = generated(model, ids, **MODES[mode])
    assert torch.equal(cached, generated(model, ids, use_cache=False, **MODES[mode]))
    assert len(cached.unique()) > 4


def test_beams_are_wrong_when_the_cache_is_not_reordered(model, monkeypatch):
    ids = tokens(4, 7)
    right = generated(model, ids, num_beams=4, max_new_tokens=12)
    monkeypatch.setattr(UndulaCache, "reorder_cache", lambda self, beam_idx: None)
    assert not torch.equal(generated(model, ids, num_beams=4, max_new_tokens=12), right)


@pytest.mark.parametrize("mode", ["greedy", "beams", "no_repeat_ngram"])
def test_left_padded_batch_equals_its_prompts_alone(model, mode):
    prompts = [tokens(n, seed=n) for n in (3, 7, 5)]
    ids, mask = left_padded(prompts)
    batch = generated(model, ids, attention_mask=mask, pad_token_id=0, **MODES[mode])
    alone = [generated(model, prompt[None], **MODES[mode])[0, len(prompt) :] for prompt in prompts]
    assert torch.equal(batch[:, 7:], torch.stack(alone))


def test_padding_without_a_mask_differs(model):
    prompts = [tokens(n, seed=n) for n in (3, 7)]
    ids, mask = left_padded(prompts)
    scores = model(ids, attention_mask=mask).logits[0, -1]
    assert (model(ids).logits[0, -1] - scores).abs().max() > 1e-3


@pytest.mark.parametrize("size", [1, 4])
def test_prefill_in_chunks_changes_nothing(model, size):
    ids, mask = left_padded([tokens(n, seed=n) for n in (4, 11)])
    options = {"attention_mask": mask, "pad_token_id": 0}
    chunked = generated(model, ids, prefill_chunk_size=size, **options)
    assert torch.equal(chunked, generated(model, ids, **options))


def test_second_turn_goes_on_from_the_cache(model):
    ids, mask = left_padded([tokens(n, seed=n) for n in (4, 6)])
    cache = UndulaCache()
    first = generated(model, ids, attention_mask=mask, pad_token_id=0, past_key_values=cache)
    assert cache.get_seq_length() == first.shape[1] - 1
    question = torch.cat([first, tokens(2, 5, seed=3)], dim=1)
    mask = torch.nn.functional.pad(mask, (0, question.shape[1] - 6), value=1)
    seen = []
    handle = model.model.register_forward_pre_hook(lambda module, args: seen.append(args[0].shape[1]))
    reused = generated(model, question, attention_mask=mask, pad_token_id=0, past_key_values=cache)
    handle.remove()
    assert torch.equal(reused, generated(model, question, attention_mask=mask, pad_token_id=0))
    assert seen == [6, *[1] * 5]


def test_a_copy_of_the_cache_goes_another_way(model):
    prompt = tokens(1, 6)
    cache = model(prompt, use_cache=True).past_key_values
    for seed in (1, 2):
        ids = torch.cat([prompt, tokens(1, 3, seed=seed)], dim=1)
        branch = generated(model, ids, past_key_values=copy.deepcopy(cache))
        assert torch.equal(branch, generated(model, ids))


def test_token_by_token_equals_the_whole(model):
    model = copy.deepcopy(model).float()
    ids = tokens(2, 37)
    whole = model(ids).logits
    cache, steps = UndulaCache(), []
    for t in range(ids.shape[1]):
        steps.append(model(ids[:, t : t + 1], past_key_values=cache).logits)
    assert (torch.cat(steps, dim=1) - whole).abs().max() < 1e-5 * whole.abs().max()
    assert cache.get_seq_length() == 37


def test_scores_are_those_of_the_forward_pass(model):
    ids = tokens(2, 5)
    out = generated(model, ids, output_scores=True, return_dict_in_generate=True)
    whole = model(out.sequences).logits[:, 4:-1]
    assert (torch.stack(out.scores, dim=1) - whole).abs().max() < 1e-5


@pytest.mark.parametrize("mode", ["greedy", "beams", "several_samples"])
def test_generate_sends_masks_of_two_axes_only(mode, monkeypatch):
    model, masks = tiny("hybrid"), []
    forward = UndulaForCausalLM.forward

    def spy(self, *args, attention_mask=None, **kwargs):
        masks.append(attention_mask)
        return forward(self, *args, attention_mask=attention_mask, **kwargs)

    ids, mask = left_padded([tokens(3), tokens(5)])
    monkeypatch.setattr(UndulaForCausalLM, "_supports_logits_to_keep", lambda self: True)
    monkeypatch.setattr(UndulaForCausalLM, "_validate_model_kwargs", lambda self, given: None)
    monkeypatch.setattr(UndulaForCausalLM, "forward", spy)
    generated(model, ids, attention_mask=mask, pad_token_id=0, **MODES[mode])
    assert {mask.ndim for mask in masks} == {2}


def test_generation_stops_at_the_end_of_text():
    model = tiny("fft_conv")
    ids = tokens(1, 5)
    free = generated(model, ids, max_new_tokens=12)[0, 5:]
    end = int(free[4])
    stopped = generated(model, ids, max_new_tokens=12, eos_token_id=end, pad_token_id=0)[0, 5:]
    assert stopped.tolist() == free[: free.tolist().index(end) + 1].tolist()


def test_a_processor_of_the_users_own_is_applied():
    def forbid_the_best(input_ids, scores):
        return scores.scatter(1, scores.argmax(1, keepdim=True), -torch.inf)

    model, ids = tiny("hybrid"), tokens(1, 5)
    second = generated(model, ids, logits_processor=LogitsProcessorList([forbid_the_best]), max_new_tokens=1)
    assert second[0, -1] == model(ids).logits[0, -1].topk(2).indices[1]


@pytest.mark.parametrize("options", [{"prompt_lookup_num_tokens": 3}, {"assistant_model": "itself"}])
def test_assisted_decoding_is_refused(options):
    model = tiny("attention")
    options = {name: model if value == "itself" else value for name, value in options.items()}
    with pytest.raises(ValueError, match="not supported with stateful models"):
        generated(model, tokens(1, 5), **options)


@pytest.mark.parametrize("kind", ["static", "offloaded", "quantized"])
def test_other_kinds_of_cache_are_refused(kind):
    with pytest.raises(ValueError, match="have one kind of cache; leave it out"):
        generated(tiny("attention"), tokens(1, 5), cache_implementation=kind)


def test_a_cache_of_keys_and_values_is_refused():
    with pytest.raises(ValueError, match=r"got a DynamicCache; .*UndulaCache"):
        generated(tiny("attention"), tokens(1, 5), past_key_values=DynamicCache())


@pytest.mark.parametrize(("prompt", "new"), [(17, 1), (12, 5), (20, None)])
def test_more_than_the_context_is_refused(prompt, new):
    model = tiny(plain("attention", context_length=16))
    with pytest.raises(ValueError, match=r"more than the model's context_length=16; shorten them, or train with"):
        model.generate(tokens(1, prompt), max_new_tokens=new)


def test_a_full_context_is_used():
    model = tiny(plain("attention", context_length=16))
    unlimited = tiny("attention")
    ids = tokens(1, 12)
    assert torch.equal(generated(model, ids, max_new_tokens=4), generated(unlimited, ids, max_new_tokens=4))


def test_pipeline_writes_text():
    tokenizer = byte_tokenizer()
    backbone = BackboneConfig(d_model=24, num_layers=1, num_heads=4, d_ff=32, mixers=("fft_conv",))
    ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    model = UndulaForCausalLM(UndulaConfig(model=ModelConfig(vocab_size=257, backbone=backbone), **ids)).eval()
    write = pipeline("text-generation", model=model, tokenizer=tokenizer, batch_size=2, device="cpu")
    prompts = ["a wave", "and a longer one"]
    batch = write(prompts, max_new_tokens=6, do_sample=False)
    for prompt, (answer,) in zip(prompts, batch, strict=True):
        encoded = tokenizer(prompt, return_tensors="pt")
        alone = model.generate(**encoded, max_new_tokens=6, do_sample=False)
        assert answer["generated_text"] == tokenizer.decode(alone[0])
        assert answer["generated_text"].startswith(prompt)
