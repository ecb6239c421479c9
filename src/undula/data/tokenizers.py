"""Bytes, characters and byte-pair encoding as Hugging Face fast tokenizers, exact in both directions.

All three are a `tokenizers.Tokenizer` inside a `PreTrainedTokenizerFast`: saved beside the model with
`save_pretrained`, loaded by `AutoTokenizer.from_pretrained`, described by JSON alone (loading runs no code).

The only special id is `<eos>`, the border between two documents; it also pads (with an attention mask, on the
left, as generation wants). Characters have `<unk>` beside it. Sentences and their translations have `<pad>`, `<bos>`
and `<eos>`, ids 0 to 2, and pad on the right. The text "<eos>" is ordinary text, never the id.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import cast

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from undula.data.config import SMALLEST_BPE, TokenizerKind

EOS = "<eos>"
UNKNOWN = "<unk>"
PAD, BOS = "<pad>", "<bos>"


def build_tokenizer(kind: TokenizerKind, train_texts: Iterable[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Return the tokenizer of one kind, made from the training split alone.

    Args:
        kind: `byte`, `char` or `bpe`.
        train_texts: the training documents; `byte` does not look at them.
        vocab_size: number of ids of `bpe`.
    """
    if kind == "byte":
        return byte_tokenizer()
    if kind == "char":
        return char_tokenizer(train_texts)
    return bpe_tokenizer(train_texts, vocab_size)


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Return the tokenizer whose id is the UTF-8 byte: 0 to 255, and 256 for `<eos>`."""
    vocabulary = {letter: byte for byte, letter in enumerate(_byte_letters())}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    return wrap(tokenizer)


def char_tokenizer(train_texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Return the tokenizer whose ids are the sorted characters of the texts, then `<eos>` and `<unk>`.

    A character that training never saw becomes `<unk>`, which stands for no byte: its cost in bits is counted, its
    bytes are not, so bits per byte never look better for it.
    """
    letters = sorted(set(chain.from_iterable(train_texts)))
    vocabulary = {letter: i for i, letter in enumerate([*letters, EOS, UNKNOWN])}
    # BPE without merges is a table lookup per character; WordLevel needs a split per character, five times slower.
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=UNKNOWN, fuse_unk=False))
    tokenizer.decoder = decoders.Fuse()
    return wrap(tokenizer)


def bpe_tokenizer(
    train_texts: Iterable[str], vocab_size: int, special: Sequence[str] = (EOS,)
) -> PreTrainedTokenizerFast:
    """Return a byte-level BPE tokenizer with special ids first (`<eos>` as id 0), then the bytes, then the merges.

    Raises:
        ValueError: when `vocab_size` has no room for the bytes.
    """
    smallest = SMALLEST_BPE - 1 + len(special)
    if vocab_size < smallest:
        raise ValueError(f"vocab_size={vocab_size}; a bpe tokenizer needs at least {smallest}")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        min_frequency=2,
        special_tokens=list(special),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(train_texts, trainer)
    return wrap(tokenizer)


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Return a bare tokenizer of this file as the Hugging Face object that is saved with a model."""
    names = (PAD, BOS, EOS, UNKNOWN)
    special = [name for name in names if name == EOS or tokenizer.token_to_id(name) is not None]
    tokenizer.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    padded = PAD in special
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS if BOS in special else None,
        eos_token=EOS,
        pad_token=PAD if padded else EOS,
        unk_token=UNKNOWN if UNKNOWN in special else None,
        padding_side="right" if padded else "left",
        clean_up_tokenization_spaces=False,
        split_special_tokens=True,
    )


def encoder_of(tokenizer: PreTrainedTokenizerFast) -> Tokenizer:
    """Return a bare copy that encodes every text as text: no padding, no cut, no special ids."""
    bare = cast(Tokenizer, Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()))
    bare.no_padding()
    bare.no_truncation()
    bare.encode_special_tokens = True
    return bare


def token_byte_counts(tokenizer: PreTrainedTokenizerFast) -> list[int]:
    """Return for each id the number of UTF-8 bytes of text that it stands for; 0 for special ids.

    Raises:
        ValueError: when the tokenizer is neither byte-level nor one of plain characters.
    """
    bare = tokenizer.backend_tokenizer
    if not isinstance(bare.decoder, decoders.ByteLevel | decoders.Fuse):
        raise ValueError(
            f"cannot count the bytes of the ids of a tokenizer with decoder {type(bare.decoder).__name__}; "
            "wanted a byte-level or character tokenizer"
        )
    byte_level = isinstance(bare.decoder, decoders.ByteLevel)
    counts = [0] * (max(bare.get_vocab(with_added_tokens=True).values()) + 1)
    for token, i in bare.get_vocab(with_added_tokens=False).items():
        counts[i] = len(token) if byte_level else len(token.encode())
    for i, added in bare.get_added_tokens_decoder().items():
        counts[i] = 0 if added.special else len(added.content.encode())
    return counts


def _byte_letters() -> list[str]:
    """Return for each byte the letter that stands for it in byte-level vocabularies.

    Printable bytes stand for themselves; the others, in order, have the letters from code point 256 on.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = {ord(letter): letter for letter in alphabet if ord(letter) < 256}
    others = (byte for byte in range(256) if byte not in letters)
    letters.update(zip(others, (letter for letter in alphabet if ord(letter) >= 256), strict=True))
    return [letters[byte] for byte in range(256)]
