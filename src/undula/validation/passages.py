"""Which tokens of a held-out text stand in the training text, too: all shared passages, and no others."""

from collections.abc import Callable, Iterator

import numpy as np

Same = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Whether windows of training equal the first windows of some hashes."""

CHUNK = 1 << 20
"""Windows that are hashed in one go."""
BLOCK = 1 << 24
"""Held-out windows that are looked up in one pass over the training text; bounds the memory."""
FILTER_BITS = 30
"""Size of the filter before the exact look-up: 2^30 bits are 128 MB."""
LETTERS = 1 << 16
"""Rows of the table of random numbers; larger ids are mixed by arithmetic."""


def covered_tokens(
    train: np.ndarray, held_out: np.ndarray, length: int = 32, *, borders: np.ndarray | None = None, bits: int = 64
) -> np.ndarray:
    """Return for each held-out token whether it stands in a passage of `length` tokens that training has, too.

    Windows of `length` tokens are hashed; those whose hashes agree are compared token by token, so a passage that is
    found is there, and one that is there is found: a shared passage of n >= `length` tokens is n - length + 1 shared
    windows, and all of its tokens are covered. Longer passages need no further search.

    Cost: O((N + M) log length) arithmetic and one sort of the M held-out windows; 8 bytes per training token are never
    held, 128 MB of filter and about 40 bytes for each of 2^24 held-out windows are.

    Args:
        train: (N,) ids.
        held_out: (M,) ids.
        length: of the shortest passage that counts.
        borders: sorted starts of the pieces that `held_out` is joined from; no passage crosses from one into the next.
        bits: of the hash that are used; fewer make collisions, never another answer.

    Raises:
        ValueError: when `length` is not positive, or one of the texts is shorter.
    """
    if length < 1:
        raise ValueError(f"length={length}; wanted at least 1 token")
    for name, row in (("training", train), ("held-out", held_out)):
        if len(row) < length:
            raise ValueError(f"the {name} text has {len(row)} tokens; wanted at least length={length}")
    if train.dtype != held_out.dtype:
        kind = np.result_type(train, held_out)
        train, held_out = train.astype(kind, copy=False), held_out.astype(kind, copy=False)
    shared = np.zeros(len(held_out) - length + 1, dtype=bool)
    for start in range(0, len(shared), BLOCK):
        stop = min(start + BLOCK, len(shared))
        shared[start:stop] = _shared(train, held_out[start : stop + length - 1], length, bits)
    if borders is not None:
        for back in range(1, length):
            crossing = borders - back
            shared[crossing[(crossing >= 0) & (crossing < len(shared))]] = False
    # A token is covered when a shared window starts at most length - 1 before it.
    starts = np.zeros(len(held_out) + 1, dtype=np.int32)
    np.cumsum(shared, out=starts[1 : len(shared) + 1])
    starts[len(shared) + 1 :] = starts[len(shared)]
    covered = starts[1:] > 0
    covered[length:] = starts[length + 1 :] > starts[1:-length]
    return covered


def longest_run(covered: np.ndarray) -> int:
    """Return the length of the longest run of covered tokens."""
    edges = np.flatnonzero(np.diff(np.concatenate(([0], covered.view(np.int8), [0]))))
    return int((edges[1::2] - edges[::2]).max(initial=0))


def _shared(train: np.ndarray, held_out: np.ndarray, length: int, bits: int) -> np.ndarray:
    """For each window of a block of held-out text, whether training has it."""
    hashes = np.concatenate([part for _, part in _hashes(held_out, length, bits)])
    order = np.argsort(hashes)
    hashes = hashes[order]
    first = np.concatenate(([True], hashes[1:] != hashes[:-1]))
    known, group = hashes[first], np.cumsum(first) - 1  # group: of each sorted window
    heads = order[first]
    head_of = np.empty_like(order)
    head_of[order] = heads[group]  # from here on by position: neighbours are compared together
    theirs, ours = _windows(train, length), _windows(held_out, length)
    found, strangers = _hits(train, length, bits, known, lambda at, who: _equal(theirs, at, ours, heads[who]))
    shared = np.empty(len(order), dtype=bool)
    shared[order] = found[group]
    others = np.flatnonzero(head_of != np.arange(len(order)))
    for start in range(0, len(others), CHUNK):
        at = others[start : start + CHUNK]
        odd = at[~_equal(ours, at, ours, head_of[at])]
        # Windows that collide with another one of their hash are compared with all that collided in training.
        shared[odd] = [ours[i].tobytes() in strangers for i in odd]
    return shared


def _hits(train: np.ndarray, length: int, bits: int, known: np.ndarray, same: Same) -> tuple[np.ndarray, set[bytes]]:
    """Which known hashes have a window in training like their first one; and the others of these hashes, as bytes."""
    found, strangers = np.zeros(len(known), dtype=bool), set()
    seen = np.zeros(1 << (FILTER_BITS - 3), dtype=np.uint8)
    slot = known >> np.uint64(64 - FILTER_BITS)
    np.bitwise_or.at(seen, slot >> np.uint64(3), _bit(slot))
    windows = _windows(train, length)
    for start, hashes in _hashes(train, length, bits):
        slot = hashes >> np.uint64(64 - FILTER_BITS)
        maybe = np.flatnonzero(seen[slot >> np.uint64(3)] & _bit(slot))
        maybe, who = _lookup(known, hashes, maybe)
        at = maybe + start
        equal = same(at, who)
        found[who[equal]] = True
        strangers.update(windows[i].tobytes() for i in at[~equal])
    return found, strangers


def _lookup(known: np.ndarray, hashes: np.ndarray, maybe: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Those of some windows whose hash is known, in order, and which one it is."""
    wanted = hashes[maybe]
    order = np.argsort(wanted)  # neighbours in the table are asked for together: a tenth of the time
    where = np.empty_like(order)
    where[order] = np.searchsorted(known, wanted[order])
    where = np.minimum(where, len(known) - 1)
    hit = known[where] == wanted
    return maybe[hit], where[hit]


def _bit(slot: np.ndarray) -> np.ndarray:
    return np.left_shift(np.uint8(1), (slot & np.uint64(7)).astype(np.uint8))


def _windows(row: np.ndarray, length: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(row, length)


def _equal(a: np.ndarray, at: np.ndarray, b: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Whether windows of two texts are the same, token by token.

    Windows that follow each other in both texts are compared as one passage, which reads each token once; only where
    that fails, each by itself.
    """
    if not len(at):
        return np.zeros(0, dtype=bool)
    goes_on = (at[1:] == at[:-1] + 1) & (there[1:] == there[:-1] + 1)
    ends = np.flatnonzero(np.concatenate((~goes_on, [True])))
    starts = np.concatenate(([0], ends[:-1] + 1))
    equal = np.logical_and.reduceat(a[at, 0] == b[there, 0], starts)
    equal &= (a[at[ends]] == b[there[ends]]).all(axis=1)
    equal = np.repeat(equal, ends - starts + 1)
    rest = np.flatnonzero(~equal)
    equal[rest] = (a[at[rest]] == b[there[rest]]).all(axis=1)
    return equal


def _hashes(row: np.ndarray, length: int, bits: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the hashes of the windows in a row, a chunk at a time, each with the number of its first window."""
    draw = np.random.Generator(np.random.PCG64(0))
    table = draw.integers(0, 1 << 64, LETTERS, dtype=np.uint64)
    odd = draw.integers(0, 1 << 63, 64, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    drop = np.uint64(64 - bits)
    for start in range(0, len(row) - length + 1, CHUNK):
        tokens = row[start : start + CHUNK + length - 1]
        yield start, (_hashed(tokens, length, table, odd) >> drop) << drop


def _hashed(tokens: np.ndarray, length: int, table: np.ndarray, odd: np.ndarray) -> np.ndarray:
    """Hashes by doubling: a window of 2 k tokens from its two halves, one of any length from its powers of two."""
    wide = tokens.astype(np.uint64)
    power = table[wide & np.uint64(LETTERS - 1)] ^ ((wide >> np.uint64(16)) * odd[63])
    count = len(tokens) - length + 1
    done, size, level, total = 0, 1, 0, None
    while True:
        if length & size:
            part = power[done : done + count]
            total = part.copy() if total is None else _mixed(total, part, odd[level + 32])
            done += size
        if size * 2 > length:
            return total if total is not None else power[:count]
        power = _mixed(power[:-size], power[size:], odd[level])
        size, level = size * 2, level + 1


def _mixed(left: np.ndarray, right: np.ndarray, factor: np.uint64) -> np.ndarray:
    mixed = left * factor
    mixed += right
    mixed ^= mixed >> np.uint64(29)
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    return mixed
