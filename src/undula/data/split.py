"""Training and validation documents that share no document, no copy of one, and no long passage."""

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import combinations, zip_longest
from typing import NamedTuple

from undula.data.config import DataConfig
from undula.data.documents import Documents, ParquetDocuments

PIECES = 50
"""A single file is cut into this many pieces (fewer when short), so that one piece is 2 % of the text."""
SHORTEST_PIECE = 256
"""Characters; shorter pieces would hold out fragments without context."""
SHORTEST_PASSAGE = 60
"""Characters of a paragraph that counts as a copy when another document has it too; shorter ones are headings."""
SHARED_PART = 0.05
"""Two documents with this share of the smaller one in common belong together."""
BOILERPLATE = 20
"""A paragraph in more documents than this is a licence or a header, and says nothing about copies."""

SLACK = 1.02
"""The held-out side may grow this much beyond its share: pieces end with a line, so they are a little too long."""


LONG_LINE = 200
"""Characters of a line that tells which document it is from; shorter ones may be headings, rules or verses."""


@dataclass(frozen=True)
class Side:
    """The documents of one side, in the order of the corpus, which is read again for each loop over them.

    Args:
        documents: the whole corpus.
        taken: for each of its documents 1 when it is on this side, else 0.
    """

    documents: Iterable[str]
    taken: bytes

    def __iter__(self) -> Iterator[str]:
        for text, taken in zip_longest(self.documents, self.taken):
            if text is None or taken is None:  # all others may have moved to a wrong side
                raise ValueError("the number of documents changed while they were read; leave the files alone")
            if taken:
                yield text


class Split(NamedTuple):
    """The documents of each side, in the order of the corpus."""

    train: Iterable[str]
    validation: Iterable[str]


def split_documents(documents: Documents, config: DataConfig) -> Split:
    """Return the corpus in two parts, the second with about `val_fraction` of the characters.

    `documents`: documents that repeat each other's passages are kept together (the topics of `python-docs` quote
    each other at length), and whole groups are held out, chosen by a hash of the seed and the text, so the choice
    depends neither on the tokenizer nor on the block size. A single document is first cut into contiguous pieces
    at line ends; neighbours on the same side are joined again.

    `tail`: the last `val_fraction` of the characters of all documents in a row; the cut may fall inside a document.

    Documents in files are gone through once, and a few numbers are kept of each. Copies stay together here too, those
    in other spacing and those with other headings, menus or footers around the same longest line.

    Raises:
        ValueError: when no choice of documents comes near `val_fraction` (within a factor of two), a side is empty,
            or `tail` is asked of documents in files, where it would hold out copies of what is trained on.
    """
    if isinstance(documents, ParquetDocuments):
        return _split_files(documents, config)
    if config.split == "tail":
        return _tail(documents, config.val_fraction)
    if len(documents) == 1:
        pieces = cut_at_lines(documents[0])
        held_out = _held_out([[i] for i in range(len(pieces))], pieces, config)
        return Split(_runs(pieces, held_out, wanted=False), _runs(pieces, held_out, wanted=True))
    held_out = _held_out(group_copies(documents), documents, config)
    train = [text for i, text in enumerate(documents) if i not in held_out]
    return Split(train, [documents[i] for i in sorted(held_out)])


def cut_at_lines(text: str) -> list[str]:
    """Return contiguous pieces that join to `text`, each at least 2 % of it, ending where a line ends."""
    size = max(len(text) // PIECES, SHORTEST_PIECE)
    pieces: list[str] = []
    start = 0
    while len(text) - start >= 2 * size:
        end = text.find("\n", start + size) + 1
        if end == 0 or len(text) - end < size:
            break
        pieces.append(text[start:end])
        start = end
    return [*pieces, text[start:]]


def group_copies(documents: list[str]) -> list[list[int]]:
    """Return the indices of the documents in groups; what shares passages, directly or by a third, is one group."""
    return _joined(len(documents), _links(documents))


def _joined(count: int, links: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return 0 .. count - 1 in groups; what is linked, directly or by a third, is one group."""
    leader = list(range(count))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for a, b in links:
        leader[find(b)] = find(a)
    groups: dict[int, list[int]] = defaultdict(list)
    for i in range(count):
        groups[find(i)].append(i)
    return list(groups.values())


def _links(documents: list[str]) -> list[tuple[int, int]]:
    """Return the pairs of documents of which one repeats the other, whole or in passages."""
    first: dict[str, int] = {}
    holders: dict[str, list[int]] = defaultdict(list)
    links: list[tuple[int, int]] = []
    for i, text in enumerate(documents):
        whole = " ".join(text.split())
        if first.setdefault(whole, i) != i:
            links.append((first[whole], i))
        for passage in {" ".join(p.split()) for p in re.split(r"\n\s*\n", text)}:
            if len(passage) >= SHORTEST_PASSAGE:
                holders[passage].append(i)
    shared: Counter[tuple[int, int]] = Counter()
    for passage, where in holders.items():
        if len(where) <= BOILERPLATE:
            for pair in combinations(where, 2):
                shared[pair] += len(passage)
    sizes = [len(text) for text in documents]
    return links + [(a, b) for (a, b), n in shared.items() if n >= SHARED_PART * min(sizes[a], sizes[b])]


def _split_files(documents: ParquetDocuments, config: DataConfig) -> Split:
    if config.split == "tail":
        raise ValueError(
            f"split='tail' could hold out copies of what is trained on in {documents.files[0]}; use split='documents'"
        )
    sizes: list[int] = []
    wholes: list[bytes] = []
    first: dict[bytes, int] = {}
    links: list[tuple[int, int]] = []
    for i, text in enumerate(documents):
        keys = _keys(text)
        sizes.append(len(text))
        wholes.append(keys[0])
        links += [(j, i) for key in keys if (j := first.setdefault(key, i)) != i]
    groups = _joined(len(sizes), links)
    draws = [_hash(str(config.split_seed).encode() + min(wholes[i] for i in group)) for group in groups]
    chosen = _choose([sum(sizes[i] for i in group) for group in groups], draws, config.val_fraction)
    held_out = bytearray(len(sizes))
    for g in chosen:
        for i in groups[g]:
            held_out[i] = 1
    return Split(Side(documents, bytes(1 - x for x in held_out)), Side(documents, bytes(held_out)))


def _keys(text: str) -> tuple[bytes, ...]:
    """Return what copies of a document have in common: its words in a row, and its longest line when that is long."""
    lines = [" ".join(line.split()) for line in text.casefold().splitlines()]
    longest = max(lines, key=len)
    whole = _hash(" ".join(line for line in lines if line).encode())
    return (whole, _hash(longest.encode())) if len(longest) >= LONG_LINE else (whole,)


def _hash(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=12).digest()


def _held_out(groups: list[list[int]], documents: list[str], config: DataConfig) -> set[int]:
    """Return the indices of the documents to hold out."""
    sizes = [sum(len(documents[i]) for i in group) for group in groups]
    draws = [_draw(config.split_seed, documents, group) for group in groups]
    return {i for g in _choose(sizes, draws, config.val_fraction) for i in groups[g]}


def _choose(sizes: list[int], draws: list[bytes], val_fraction: float) -> set[int]:
    """Return the groups to hold out: in the order of their draws, as far as they fit."""
    total, target = sum(sizes), val_fraction * sum(sizes)
    chosen: set[int] = set()
    got = 0
    order = sorted(range(len(sizes)), key=lambda g: (draws[g], g))
    for g in order:
        if got + sizes[g] <= SLACK * target:
            chosen.add(g)
            got += sizes[g]
    left = [g for g in order if g not in chosen]
    if got < target / 2 and left:
        smallest = min(left, key=lambda g: sizes[g])
        chosen.add(smallest)
        got += sizes[smallest]
    if got > 2 * target or len(chosen) == len(sizes):
        raise ValueError(
            f"cannot hold out {val_fraction:.0%} of {total} characters in {len(sizes)} separate documents or pieces "
            f"(the nearest is {got / total:.0%}); use split='tail' (text files alone), more text, or another "
            "val_fraction"
        )
    return chosen


def _draw(seed: int, documents: list[str], group: list[int]) -> bytes:
    digest = hashlib.sha256(str(seed).encode())
    for i in group:
        digest.update(hashlib.sha256(documents[i].encode()).digest())
    return digest.digest()


def _runs(pieces: list[str], held_out: set[int], *, wanted: bool) -> list[str]:
    """Return the pieces of one side, neighbours joined."""
    runs: list[list[str]] = []
    for i, piece in enumerate(pieces):
        if (i in held_out) is not wanted:
            continue
        if i > 0 and ((i - 1) in held_out) is wanted:
            runs[-1].append(piece)
        else:
            runs.append([piece])
    return ["".join(run) for run in runs]


def _tail(documents: list[str], val_fraction: float) -> Split:
    left = int(sum(map(len, documents)) * (1.0 - val_fraction))
    train: list[str] = []
    validation: list[str] = []
    for text in documents:
        train.append(text[:left])
        validation.append(text[left:])
        left = max(left - len(text), 0)
    split = Split([t for t in train if t], [t for t in validation if t])
    if not split.train or not split.validation:
        raise ValueError(f"cannot hold out {val_fraction:.0%} of {sum(map(len, documents))} characters; give more text")
    return split
