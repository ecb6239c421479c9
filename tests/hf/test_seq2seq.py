"""Encoder-decoders as Hugging Face models: decoding in every mode, folders, errors; SpectralSeq2Seq over them."""

import copy
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForSeq2SeqLM, GenerationMixin
from transformers.generation.streamers import BaseStreamer
from transformers.modeling_outputs import BaseModelOutput

from tests.hf.tiny import left_padded, tiny
from tests.hf.tiny import tokens as prompts
from undula.hf.cache import UndulaCache
from undula.hf.seq2seq import UndulaForSeq2SeqLM, UndulaSeq2SeqConfig
from undula.hf.spectral_seq2seq import SpectralSeq2Seq
from undula.models.config import BackboneConfig, EncoderDecoderConfig
from undula.models.spectral_config import SpectralConfig

VOCABULARY, PAD, BEGIN, END = 17, 0, 1, 2
STACK = BackboneConfig(d_model=12, num_layers=1, num_heads=2, mixers=("fft_conv",), d_ff=16)
MODES = {
    "greedy": {},
    "sampled": {"do_sample": True, "temperature": 0.7, "top_k": 8, "top_p": 0.9, "min_p": 0.01},
    "several samples": {"do_sample": True, "num_return_sequences": 3},
    "beams": {"num_beams": 4},
    "beams, several": {"num_beams": 4, "num_return_sequences": 3, "length_penalty": 0.5, "early_stopping": "never"},
    "groups": {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.8, "num_return_sequences": 2},
    "coverage": {"num_beams": 4, "coverage_penalty": 0.5},
    "drawn beams": {"num_beams": 3, "do_sample": True},
    "repetition": {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2},
    "repetition, beams": {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2, "num_beams": 3, "min_length": 5},
}
BEAMS = {
    "plain": {},
    "stops early": {"early_stopping": True, "num_return_sequences": 2},
    "never": {"early_stopping": "never", "length_penalty": 2.0, "num_return_sequences": 4},
    "short": {"length_penalty": -1.0},
    "processors": {"repetition_penalty": 1.5, "no_repeat_ngram_size": 2, "min_length": 4},
}


def tokens(rows, length, seed=0):
    return torch.randint(3, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))


def made(cross="landmarks", dtype=torch.float64):
    plan = EncoderDecoderConfig(vocab_size=VOCABULARY, encoder=STACK, decoder=replace(STACK, cross=cross))
    torch.manual_seed(0)
    model = UndulaForSeq2SeqLM(UndulaSeq2SeqConfig(model=plan)).eval().to(dtype)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module", params=["landmarks", "attention"])
def model(request):
    return made(request.param)


def generated(model, ids, **options):
    torch.manual_seed(0)
    return model.generate(ids, **{"max_length": 12, **options})


@pytest.mark.parametrize("mode", MODES)
def test_cached_equals_uncached(model, mode):
    ids = tokens(3, 9)
    cached = generated(model, ids, **MODES[mode])
    assert torch.equal(cached, generated(model, ids, use_cache=False, **MODES[mode]))
    assert (cached[:, 0] == BEGIN).all()
    assert len(cached.unique()) > 4


@pytest.mark.parametrize("options", BEAMS.values(), ids=BEAMS)
def test_beams_find_what_the_search_of_transformers_finds(options):
    for model, ids in ((made(), tokens(4, 9)), (tiny("hybrid"), prompts(4, 5))):
        # Not padding of id 0, in whose place transformers fills rows with the end token.
        given = {"num_beams": 4, "max_length": 14, "eos_token_id": END, "pad_token_id": 5, **options}
        given |= {"output_scores": True, "return_dict_in_generate": True}
        ours, theirs = model.generate(ids, **given), GenerationMixin.generate(model, ids, **given)
        assert torch.equal(ours.sequences, theirs.sequences)
        assert (ours.sequences_scores - theirs.sequences_scores).abs().max() < 1e-5


def test_scores_of_beams_are_those_of_the_forward_pass(model):
    ids = tokens(2, 9)
    out = generated(model, ids, num_beams=3, num_return_sequences=3, length_penalty=0.0, return_dict_in_generate=True)
    sources = ids.repeat_interleave(3, dim=0)
    logits = model(sources, decoder_input_ids=out.sequences[:, :-1]).logits.log_softmax(-1)
    each = logits.gather(-1, out.sequences[:, 1:, None])[..., 0]
    ended = (out.sequences[:, :-1] == END).cumsum(1) > 0
    assert (each.masked_fill(ended, 0.0).sum(1) - out.sequences_scores).abs().max() < 1e-10


def test_coverage_is_what_the_alignments_say(model):
    ids = tokens(2, 9)
    ids[1, 6:] = PAD
    given = {"num_beams": 3, "num_return_sequences": 3, "return_dict_in_generate": True, "length_penalty": 0.0}
    out = generated(model, ids, coverage_penalty=0.7, **given)
    for row in range(6):
        source, found = ids[row // 3 : row // 3 + 1], out.sequences[row : row + 1]
        end = found[0].tolist().index(END) if END in found[0] else found.shape[1] - 1
        before, after = found[:, :end], found[0, 1 : end + 1]
        result = model(source, decoder_input_ids=before, output_attentions=True)
        total = result.logits[0].log_softmax(-1).gather(-1, after[:, None]).sum()
        covered = torch.stack(result.cross_attentions).mean(dim=(0, 2))[0].sum(0)[source[0] != PAD]
        want = total + 0.7 * covered.clamp(max=1.0).log().sum()
        assert (out.sequences_scores[row] - want).abs() < 1e-10


@pytest.mark.parametrize("mode", ["beams", "groups", "coverage"])
def test_beams_are_wrong_when_states_are_not_reordered(mode, monkeypatch):
    model, ids = made(), tokens(6, 9)
    right = generated(model, ids, **MODES[mode])
    monkeypatch.setattr(UndulaCache, "reorder_cache", lambda self, beam_idx: None)
    assert not torch.equal(generated(model, ids, **MODES[mode]), right)


@pytest.mark.parametrize("mode", ["greedy", "beams", "groups", "coverage", "repetition, beams"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_equals_its_sources_alone(model, mode, side):
    sources = [tokens(1, n, seed=n) for n in (3, 9, 6)]
    fill = [(9 - s.shape[1], 0) if side == "left" else (0, 9 - s.shape[1]) for s in sources]
    batch = torch.cat([torch.nn.functional.pad(s, f, value=PAD) for s, f in zip(sources, fill, strict=True)])
    count = MODES[mode].get("num_return_sequences", 1)
    each = [generated(model, source, **MODES[mode]) for source in sources]
    for given in ({}, {"attention_mask": (batch != PAD).long()}):
        together = generated(model, batch, **MODES[mode], **given)
        for i, alone in enumerate(each):
            rows = together[count * i : count * i + count]
            assert torch.equal(rows[:, : alone.shape[1]], alone)
            assert (rows[:, alone.shape[1] :] == PAD).all()


@pytest.mark.parametrize("mode", ["groups", "beams, several"])
def test_left_padded_prompts_of_a_language_model_equal_themselves_alone(mode):
    model, rows = tiny("hybrid"), [prompts(n, seed=n) for n in (3, 7, 5)]
    ids, mask = left_padded(rows)
    options = {"max_new_tokens": 6, "pad_token_id": 0, **MODES[mode]}
    count = options["num_return_sequences"]
    batch = model.generate(ids, attention_mask=mask, **options)[:, 7:]
    alone = [model.generate(row[None], **options)[:, len(row) :] for row in rows]
    assert torch.equal(batch, torch.cat(alone))
    assert len(batch) == 3 * count


def test_the_source_is_encoded_once(model):
    calls = []
    handles = [model.model.encoder.register_forward_pre_hook(lambda *_: calls.append("encoder"))]
    cross = model.model.decoder.layers[0].cross
    projections = [cross.kv_proj.register_forward_pre_hook(lambda *_: calls.append("keys"))]
    for mode in ("greedy", "beams", "coverage"):
        calls.clear()
        generated(model, tokens(2, 9), **MODES[mode])
        assert calls == ["encoder", "keys"]
    for handle in (*handles, *projections):
        handle.remove()


def test_tokens_are_streamed_as_they_come(model):
    class Listener(BaseStreamer):
        def __init__(self):
            self.told = []

        def put(self, value):
            self.told += value.flatten().tolist()

        def end(self):
            self.told.append("end")

    listener, ids = Listener(), tokens(1, 9)
    out = generated(model, ids, streamer=listener)
    assert listener.told == [*out[0].tolist(), "end"]
    with pytest.raises(ValueError, match="beams are known at their end alone; set num_beams=1, or leave out"):
        generated(model, ids, streamer=Listener(), num_beams=2)


def test_a_saved_folder_is_the_same_model(model, tmp_path):
    model.save_pretrained(tmp_path)
    again = AutoModelForSeq2SeqLM.from_pretrained(tmp_path).eval()
    ids = tokens(2, 9)
    assert isinstance(again, UndulaForSeq2SeqLM)
    assert torch.equal(generated(again, ids, num_beams=3), generated(model, ids, num_beams=3))
    assert again.config.to_dict()["model"] == model.config.model
    assert (again.config.decoder_start_token_id, again.config.vocab_size) == (BEGIN, VOCABULARY)


def test_labels_give_the_loss_of_shifted_targets(model):
    ids, labels = tokens(2, 9), torch.tensor([[5, 6, 7, END], [8, END, -100, -100]])
    out = model(ids, labels=labels)
    targets = torch.tensor([[BEGIN, 5, 6, 7], [BEGIN, 8, END, PAD]])
    assert torch.equal(out.logits, model(ids, decoder_input_ids=targets).logits)
    nats = -out.logits.log_softmax(-1)
    want = sum(nats[b, t, labels[b, t]] for b, t in ((0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1))) / 6
    torch.testing.assert_close(out.loss, want)


def test_outputs_of_the_encoder_serve_again(model):
    ids = tokens(2, 9)
    ids[1, 5:] = PAD
    mask, targets = (ids != PAD).long(), tokens(2, 4, 1)
    want = model(ids, mask, decoder_input_ids=targets).logits
    hidden = model.get_encoder()(ids)
    assert torch.equal(model(encoder_outputs=hidden, decoder_input_ids=targets).logits, want)
    plain = BaseModelOutput(last_hidden_state=hidden.last_hidden_state)
    assert torch.equal(model(attention_mask=mask, encoder_outputs=plain, decoder_input_ids=targets).logits, want)


BAD = [
    ({"num_beams": 4, "num_beam_groups": 3}, "num_beams=4 is not a multiple of num_beam_groups=3"),
    ({"do_sample": True, "top_p": 1.5}, "top_p=1.5; wanted a share"),
    ({"min_length": 13}, "min_length=13 is above max_length=12"),
    ({"coverage_penalty": 0.5}, "coverage_penalty=0.5 ranks beams"),
    ({"cache_implementation": "static"}, "undula models have one kind of cache"),
    ({"num_beam": 3}, "num_beam"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=lambda value: str(value)[:30])
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        generated(made(), tokens(1, 5), **options)


def test_bad_input_is_refused():
    model = made()
    for call, message in (
        (lambda: model(), "got neither input_ids nor encoder_outputs; give the sources"),
        (lambda: model(tokens(1, 5)), "got neither decoder_input_ids nor labels; give one of them"),
        (lambda: model(tokens(2, 5), decoder_input_ids=tokens(3, 2)), "got 2 sources and 3 targets"),
        (lambda: model(tokens(2, 5), decoder_input_ids=tokens(3, 2), use_cache=True), "got 2 sources and 3 targets"),
        (lambda: generated(model, torch.full((2, 4), PAD)), "source 0 is empty: nothing but padding"),
        (lambda: generated(model, tokens(2, 0)), r"the source has the shape \(2, 0\), no token"),
        (lambda: generated(tiny("fft_conv"), prompts(1, 4), num_beams=2, coverage_penalty=1.0), "no source to cover"),
        (lambda: UndulaSeq2SeqConfig(model={"encodr": {}}), "unknown key in model 'encodr'; did you mean 'encoder'"),
    ):
        with pytest.raises(ValueError, match=message):
            call()


SMALL = SpectralConfig(
    vocab_size=VOCABULARY,
    embed_dim=8,
    hidden_dim=12,
    num_layers=2,
    num_heads=2,
    max_seq_len=32,
    chunk_size=8,
    dropout=0.0,
    layer_type="dense",
)


@pytest.fixture(scope="module")
def spectral():
    torch.manual_seed(0)
    model = SpectralSeq2Seq(SMALL, END, PAD, BEGIN).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def test_spectral_seq2seq_uses_one_head_and_one_code_for_both(spectral):
    src = tokens(2, 9)
    out = spectral.generate(src, max_length=10)
    best = spectral(src, out).argmax(-1)
    for row, want in zip(out.tolist(), best.tolist(), strict=True):
        n = row.index(END) + 1 if END in row else len(row)
        assert row[1:n] == want[: n - 1]
    beams = {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5, "coverage_penalty": 0.2, "max_length": 10}
    hf = spectral.model.generate(src, early_stopping=True, min_length=1, **beams)
    assert torch.equal(spectral.generate(src, **beams), hf)


def test_spectral_seq2seq_aligns_and_pads(spectral):
    src, tgt = tokens(2, 9), tokens(2, 4, 1)
    src[0, 6:] = PAD
    weights = spectral.alignment(src, tgt)
    assert weights.shape == (2, 4, 9)
    assert weights[0, :, 6:].abs().max() == 0
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 4, dtype=torch.float64))
    assert (spectral(src, tgt)[0] - spectral(src[:1, :6], tgt[:1])[0]).abs().max() < 1e-10


def ending(end):
    """A model of other random numbers, whose end token may be any."""
    torch.manual_seed(1)
    model = SpectralSeq2Seq(SMALL, end, PAD, BEGIN).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


def test_every_option_of_the_documented_call_is_read():
    src = tokens(4, 9)
    late = ending(END)
    early = ending(int(late.generate(src, max_length=5)[0, 4]))
    drawn, beams = {"do_sample": True, "top_k": 0}, {"num_beams": 4, "num_return_sequences": 2}
    groups = {**beams, "num_beam_groups": 2}
    for base, change in (
        ({}, {"max_length": 2}),
        ({}, {"repetition_penalty": 9.0}),
        ({}, {"no_repeat_ngram_size": 1}),
        ({}, {"num_beams": 4}),
        (beams, {"length_penalty": 4.0}),
        ({"max_length": 6}, {"min_length": 6}),
        (beams, {"num_return_sequences": 3}),
        (groups, {"diversity_penalty": 3.0}),
        (beams, {"coverage_penalty": 5.0}),
        (drawn, {"temperature": 0.2}),
        (drawn, {"top_k": 1}),
        (drawn, {"top_p": 0.1}),
        (drawn, {"min_p": 0.9}),
    ):
        results = []
        for options in (base, {**base, **change}):
            torch.manual_seed(1)
            spectral = early if {"length_penalty", "min_length"} & set(change) else late
            results.append(spectral.generate(src, **{"max_length": 10, **options}))
        assert results[0].shape != results[1].shape or not torch.equal(*results), change


def test_a_wrong_spectral_model_is_refused():
    with pytest.raises(ValueError, match="eos_token_id=17; wanted one of the vocab_size=17 tokens"):
        SpectralSeq2Seq(SMALL, eos_token_id=17)
    with pytest.raises(ValueError, match="modality='audio'; this model reads tokens: take 'text'"):
        SpectralSeq2Seq(replace(SMALL, modality="audio"))
    with pytest.raises(ValueError, match="the source has 33 tokens, more than context_length=32"):
        SpectralSeq2Seq(SMALL).generate(tokens(1, 33))


def test_copies_of_a_model_are_apart(spectral):
    other = copy.deepcopy(spectral)
    torch.nn.init.zeros_(other.model.model.embedding.table.weight)
    src = tokens(1, 9)
    assert not torch.equal(other(src, src), spectral(src, src))
