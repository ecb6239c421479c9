import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from undula.data.corpus import load_documents
from undula.data.tokenizers import (
    bpe_tokenizer,
    build_tokenizer,
    byte_tokenizer,
    char_tokenizer,
    encoder_of,
    token_byte_counts,
)

AWKWARD = [
    "plain words",
    "\n\n\nthree lines\n",
    "  two  spaces  and   three ",
    "\ttabs\t\tand \t both",
    "carriage\r\nreturns\r\n\r\n",
    " leading space",
    "trailing space ",
    "emoji 😀👩‍👩‍👧 and e\u0301 and é",
    "Don't . , ! do n't 's it 's ?",
    "<eos> <unk> <pad> </s>",
    "中文字符 עברית",
    "\x00\x01\x7f\u2028\ufeff\u00a0",
    "",
    " ",
    "\n",
]
KINDS = ("byte", "char", "bpe")


def make(kind):
    return build_tokenizer(kind, [*AWKWARD, *load_documents("python-docs")[:10]], 600)


@pytest.fixture(scope="module", params=KINDS)
def tokenizer(request):
    return make(request.param)


@pytest.mark.parametrize("text", AWKWARD)
def test_decoding_undoes_encoding(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.decode(ids, skip_special_tokens=True) == text
    assert encoder_of(tokenizer).encode(text).ids == ids
    assert tokenizer.eos_token_id not in ids


@given(st.text())
def test_decoding_undoes_encoding_of_anything(text):
    for tokenizer in (byte_tokenizer(), char_tokenizer([text])):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


@given(st.text(max_size=80))
def test_bpe_round_trip_of_text_it_never_saw(text):
    assert BPE.decode(BPE(text)["input_ids"]) == text


BPE = bpe_tokenizer(load_documents("python-docs")[:10], 600)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_by_auto_tokenizer(tmp_path, kind):
    tokenizer = make(kind)
    tokenizer.save_pretrained(tmp_path)
    assert not list(tmp_path.glob("*.py"))
    assert "auto_map" not in json.loads((tmp_path / "tokenizer_config.json").read_text())
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert isinstance(loaded, PreTrainedTokenizerFast)
    assert len(loaded) == len(tokenizer)
    assert (loaded.eos_token_id, loaded.pad_token_id, loaded.unk_token_id, loaded.padding_side) == (
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        tokenizer.unk_token_id,
        "left",
    )
    for text in AWKWARD:
        ids = loaded(text)["input_ids"]
        assert ids == tokenizer(text)["input_ids"]
        assert loaded.decode(ids) == text
        assert encoder_of(loaded).encode(text).ids == ids
    assert token_byte_counts(loaded) == token_byte_counts(tokenizer)


def test_batches_are_padded_on_the_left(tokenizer):
    batch = tokenizer(["ab ab", "a"], padding=True)
    long, short = batch["input_ids"]
    missing = len(long) - 1
    assert missing > 0
    assert short == [tokenizer.eos_token_id] * missing + tokenizer("a")["input_ids"]
    assert batch["attention_mask"] == [[1] * len(long), [0] * missing + [1]]
    assert sorted(batch) == ["attention_mask", "input_ids"]


def test_padding_of_an_earlier_call_does_not_reach_the_encoder(tokenizer):
    tokenizer(["a", "abc"], padding="max_length", truncation=True, max_length=9)
    assert len(encoder_of(tokenizer).encode("a").ids) == 1
    assert encoder_of(tokenizer).encode("abc" * 20).ids == tokenizer("abc" * 20)["input_ids"]


def test_byte_ids_are_the_bytes():
    tokenizer = byte_tokenizer()
    assert len(tokenizer) == 257
    assert tokenizer.eos_token_id == 256
    text = "".join(AWKWARD) + "\u0080\u07ff\uffff\U0010ffff"
    assert tokenizer(text)["input_ids"] == list(text.encode())
    assert token_byte_counts(tokenizer) == [1] * 256 + [0]


def test_char_vocabulary_is_the_sorted_characters_and_two_more():
    tokenizer = char_tokenizer(["hello", "\n world"])
    letters = sorted(set("hello\n world"))
    assert tokenizer.convert_ids_to_tokens(range(len(letters))) == letters
    assert len(tokenizer) == len(letters) + 2
    assert (tokenizer.eos_token_id, tokenizer.unk_token_id) == (len(letters), len(letters) + 1)


def test_each_unseen_character_is_one_unknown_token():
    tokenizer = char_tokenizer(["abc"])
    unknown = tokenizer.unk_token_id
    assert tokenizer("azzb😀")["input_ids"] == [0, unknown, unknown, 1, unknown]
    assert token_byte_counts(tokenizer)[unknown] == 0


def test_bytes_of_the_tokens_are_the_bytes_of_the_text(tokenizer):
    counts = token_byte_counts(tokenizer)
    assert len(counts) == len(tokenizer)
    for text in AWKWARD:
        assert sum(counts[i] for i in tokenizer(text)["input_ids"]) == len(text.encode())


def test_bytes_of_another_kind_of_tokenizer_are_refused():
    words = Tokenizer(models.WordLevel({"a": 0, "<unk>": 1}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.decoder = decoders.WordPiece()
    with pytest.raises(ValueError, match="decoder WordPiece; wanted a byte-level"):
        token_byte_counts(PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<unk>"))


def test_bpe_fills_its_vocabulary_and_shortens_the_text():
    documents = load_documents("python-docs")
    tokenizer = bpe_tokenizer(documents, 1000)
    assert len(tokenizer) == 1000
    assert tokenizer.eos_token_id == 0
    text = documents[0]
    assert len(tokenizer(text)["input_ids"]) < 0.45 * len(text.encode())


def test_bpe_of_little_text_has_fewer_ids():
    assert len(bpe_tokenizer(["abab"], 4096)) == 258  # 256 bytes, <eos> and "ab"


def test_bpe_needs_room_for_the_bytes():
    with pytest.raises(ValueError, match="vocab_size=256; a bpe tokenizer needs at least 257"):
        bpe_tokenizer(["abc"], 256)
