"""Training and validation documents that share no document, no copy of one, and no long passage."""

import hashlib
import re
from collections import Counter, defaultdict
from itertools import combinations
from typing import NamedTuple

from undula.data.config import DataConfig

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


class Split(NamedTuple):
    """The documents of each side, in the order of the corpus."""

    train: list[str]
    validation: list[str]


def split_documents(documents: list[str], config: DataConfig) -> Split:
    """Return the corpus in two parts, the second with about `val_fraction` of the characters.

    `documents`: documents that repeat each other's passages are kept together (the topics of `python-docs` quote
    each other at length), and whole groups are held out, chosen by a hash of the seed and the text, so the choice
    depends neither on the tokenizer nor on the block size. A single document is first cut into contiguous pieces
    at line ends; neighbours on the same side are joined again.

    `tail`: the last `val_fraction` of the characters of all documents in a row; the cut may fall inside a document.

    Raises:
        ValueError: when no choice of documents comes near `val_fraction` (within a factor of two), or a side is empty.
    """
    if config.split == "tail":
        return _tail(documents, config.val_fraction)
    if len(documents) == 1:
        pieces = cut_at_lines(documents[0])
        held_out = _choose([[i] for i in range(len(pieces))], pieces, config)
        return Split(_runs(pieces, held_out, wanted=False), _runs(pieces, held_out, wanted=True))
    held_out = _choose(group_copies(documents), documents, config)
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
    leader = list(range(len(documents)))

    def find(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for a, b in _links(documents):
        leader[find(b)] = find(a)
    groups: dict[int, list[int]] = defaultdict(list)
    for i in range(len(documents)):
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


def _choose(groups: list[list[int]], documents: list[str], config: DataConfig) -> set[int]:
    """Return the indices of the documents to hold out: groups in the order of their hash, as far as they fit."""
    sizes = [sum(len(documents[i]) for i in group) for group in groups]
    total, target = sum(sizes), config.val_fraction * sum(sizes)
    order = sorted(range(len(groups)), key=lambda g: (_draw(config.split_seed, documents, groups[g]), g))
    chosen: list[int] = []
    got = 0
    for g in order:
        if got + sizes[g] <= SLACK * target:
            chosen.append(g)
            got += sizes[g]
    left = [g for g in order if g not in chosen]
    if got < target / 2 and left:
        smallest = min(left, key=lambda g: sizes[g])
        chosen.append(smallest)
        got += sizes[smallest]
    if got > 2 * target or len(chosen) == len(groups):
        raise ValueError(
            f"cannot hold out {config.val_fraction:.0%} of {total} characters in {len(groups)} separate documents or "
            f"pieces (the nearest is {got / total:.0%}); use split='tail', more text, or another val_fraction"
        )
    return {i for g in chosen for i in groups[g]}


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
    split = Split([], [])
    for text in documents:
        split.train.append(text[:left])
        split.validation.append(text[left:])
        left = max(left - len(text), 0)
    split = Split([t for t in split.train if t], [t for t in split.validation if t])
    if not split.train or not split.validation:
        raise ValueError(f"cannot hold out {val_fraction:.0%} of {sum(map(len, documents))} characters; give more text")
    return split
