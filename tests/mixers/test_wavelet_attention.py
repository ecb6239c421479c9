"""Wavelet attention: what depends on length, the state, mistakes. Values and audits are in the contract."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.contract.cases import moved
from undula.mixers.base import state_bytes
from undula.mixers.wavelet_attention import WaveletAttention


def mixer(**options):
    return moved(WaveletAttention(16, 2, **{"window": 4, "levels": 3, **options})).double().eval()


@pytest.mark.parametrize("cuts", [(1,) * 150, (70, 1, 79), (64, 86)])
def test_pieces_longer_than_a_block_are_as_the_whole(cuts):
    built, x = mixer(short_conv=3), torch.randn(2, 150, 16, dtype=torch.float64)
    state, pieces = built.init_state(2), []
    for piece in x.split(cuts, dim=1):
        y, state = built(piece, state=state)
        pieces.append(y)
    torch.testing.assert_close(torch.cat(pieces, 1), built(x), atol=1e-12, rtol=0)


def test_rows_that_began_later_go_on_as_if_alone():
    """Rows of different length complete averages at different times."""
    built, x = mixer(short_conv=2), torch.randn(3, 90, 16, dtype=torch.float64)
    first = torch.tensor([0, 13, 70])
    mask = (torch.arange(90) >= first[:, None]).long()
    state, pieces = built.init_state(3), []
    for start, end in ((0, 66), (66, 80), (80, 90)):
        y, state = built(x[:, start:end], attention_mask=mask[:, start:end], state=state)
        pieces.append(y)
    got = torch.cat(pieces, 1)
    for row, start in enumerate(first.tolist()):
        alone = built(x[row : row + 1, start:])[0]
        torch.testing.assert_close(got[row, start:], alone, atol=1e-12, rtol=0)
    assert state.seen.tolist() == [90, 77, 20]


def test_the_state_grows_with_the_levels_alone():
    """Recomputing everything for each token was the only way to decode; the cache is `levels` windows, whatever N."""
    sizes = {}
    for levels in (1, 2, 3):
        built = mixer(levels=levels)
        _, state = built(torch.randn(1, 100, 16, dtype=torch.float64), state=built.init_state(1))
        assert state_bytes(state) == state_bytes(built.init_state(1))
        sizes[levels] = state_bytes(state)
    # Each level: a window of 4 and 3 values for the filter, keys and values of 16 channels, 8 bytes.
    assert sizes[3] - sizes[2] == sizes[2] - sizes[1] == (4 + 3) * 2 * 16 * 8


def test_twice_the_length_is_twice_the_work():
    built, counts = mixer(), []
    for steps in (1024, 2048):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            built(torch.randn(1, steps, 16, dtype=torch.float64))
        counts.append(counter.get_total_flops())
    assert counts[1] == pytest.approx(2 * counts[0], rel=0.01)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_heads": 3}, "d_model=16 is not a multiple of 2 x num_heads=3"),
        ({"num_heads": 16}, "d_model=16 is not a multiple of 2 x num_heads=16"),
        ({"window": 0}, "window=0; wanted at least 1"),
        ({"levels": 0}, "levels=0; wanted at least one"),
        ({"wavelets": ("db4x",)}, "unknown wavelet 'db4x'"),
    ],
)
def test_bad_input(options, message):
    with pytest.raises(ValueError, match=message):
        WaveletAttention(16, **{"num_heads": 2, **options})
    with pytest.raises(ValueError, match="looks back only; use attention or fft_conv where causal=False"):
        mixer()(torch.randn(1, 4, 16, dtype=torch.float64), False)
