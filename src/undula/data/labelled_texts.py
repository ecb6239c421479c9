"""Texts and what is to be told of each: from tables, and from the language reference inside CPython."""

import re
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any

from undula.data.corpus import PYTHON_DOCS
from undula.data.example import Content, Example, Found, Target
from undula.data.labelled_config import LabelledDataConfig
from undula.data.labelled_files import labelled_rows, target_of
from undula.optional import late_import

TOPICS = {
    "statements": (
        "assert assignment async augassign break class compound continue del else exceptions for function global if "
        "import nonlocal pass raise return try while with yield"
    ),
    "expressions": (
        "atom-identifiers atom-literals attribute-references await binary bitwise booleans calls comparisons "
        "conversions dict exprlists floating imaginary in integers lambda lists numbers operator-summary power "
        "shifting slicings strings subscriptions unary"
    ),
    "types": (
        "attribute-access bltin-code-objects bltin-ellipsis-object bltin-null-object bltin-type-objects callable-types "
        "context-managers customization numeric-types objects sequence-types specialattrs specialnames string-methods "
        "types typesfunctions typesmapping typesmethods typesmodules typesseq typesseq-mutable"
    ),
}
"""Which topics of the language reference are about what; the others are about several of these, or none."""

EMBEDDED = ("topics", "code", "words")
"""Sources that are made of the language reference."""

PASSAGE, SHORTEST = 240, 60
"""Most and fewest characters of a passage, spaces between words included."""

Word = tuple[str, str]
"""A word and its tag."""

QUOTED = re.compile(r'"([^"\s]+(?: [^"\s]+)*)"')
"""Code inside of a sentence, as the language reference writes it."""


def load_texts(config: LabelledDataConfig) -> Found:
    """Return the texts of a source, or their words, with their labels.

    Raises:
        FileNotFoundError: when there is no such file.
        ValueError: for a file that cannot be read, an empty text or label, tags that do not fit the tokens, or a number
            that is none.
    """
    if config.source in EMBEDDED:
        return Found(list(_embedded(config)))
    return labelled_rows(config, partial(_read, config))


def _read(config: LabelledDataConfig, content: Any, value: Any, where: str) -> tuple[Content, Target]:
    if config.target == "tags":
        return _tagged(content, value, where)
    if not isinstance(content, str) or not content.strip():
        raise ValueError(f"{where}: got {content!r}; wanted a text that is not empty")
    return content, target_of(value, config, where)


def _tagged(tokens: Any, tags: Any, where: str) -> tuple[list[str], list[str]]:
    if not isinstance(tokens, list) or not isinstance(tags, list) or len(tokens) != len(tags) or not tokens:
        raise ValueError(f"{where}: tokens {tokens!r} and tags {tags!r}; wanted two lists of one length, not empty")
    if not all(isinstance(token, str) and token.strip() for token in tokens):
        raise ValueError(f"{where}: tokens {tokens!r}; wanted words that are not empty")
    return tokens, [str(tag) for tag in tags]


def _embedded(config: LabelledDataConfig) -> Iterator[Example]:
    wanted = {"topics": "class", "code": "tags", "words": "number"}[config.source]
    if config.target != wanted:
        raise ValueError(f"data source {config.source!r} with target={config.target!r}; it has target={wanted!r}")
    form = _code_words if config.source == "code" else _plain_words
    for topic, paragraphs in _paragraphs().items():
        kind = next((kind for kind, topics in TOPICS.items() if topic in topics.split()), "")
        words = [word for paragraph in paragraphs for word in form(paragraph)]
        for number, passage in enumerate(_passages(words)):
            name, plain = f"{PYTHON_DOCS} {topic} {number}", [word for word, _ in passage]
            if config.source == "code":
                yield Example(name, plain, [tag for _, tag in passage], topic)
            elif config.source == "words":
                text = "".join(plain)
                yield Example(name, text, len(text) / len(plain), topic)
            elif kind:
                yield Example(name, " ".join(plain), kind, topic)


def _paragraphs() -> dict[str, list[str]]:
    """Paragraphs by topic; one that is in several topics belongs to the shortest of them alone."""
    topics: dict[str, str] = late_import("pydoc_data.topics").topics
    seen: set[str] = set()
    own: dict[str, list[str]] = {}
    for topic in sorted(topics, key=lambda name: (len(topics[name]), name)):
        paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", topics[topic])]
        own[topic] = [part for part in paragraphs if part not in seen and re.search("[a-z]", part)]
        seen.update(paragraphs)
    return dict(sorted(own.items()))


def _passages(words: Iterable[Word]) -> Iterator[list[Word]]:
    """Words in a row, in pieces of nearly equal length; the rest at the end where it is not too short."""
    piece: list[Word] = []
    size = 0
    for word in words:
        if piece and size + len(word[0]) > PASSAGE:
            yield piece
            piece, size = [], 0
        piece.append(word)
        size += len(word[0]) + 1
    if size >= SHORTEST:
        yield piece


def _plain_words(paragraph: str) -> Iterator[Word]:
    return ((word, "") for word in paragraph.split())


def _code_words(paragraph: str) -> Iterator[Word]:
    """The words of a paragraph without its quotation marks, each with the tag `code` or `text`."""
    end = 0
    for match in QUOTED.finditer(paragraph):
        yield from ((word, "text") for word in paragraph[end : match.start()].replace('"', "").split())
        yield from ((word, "code") for word in match[1].split())
        end = match.end()
    yield from ((word, "text") for word in paragraph[end:].replace('"', "").split())
