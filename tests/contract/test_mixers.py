"""Every registered mixer keeps the contract, with all the options worth trying."""

import numpy as np
import pytest
import torch

from tests.contract.cases import ALTERNATIVES, HEADS, MIXER_CASES, OPTIONS, REFERENCES, WIDTH, case_id, chooses, made
from undula.audit.finding import failures
from undula.audit.options import audit_options
from undula.audit.run import audit_mixer
from undula.mixers.base import MIXERS, State, build_mixer, map_state, mixer_options, reorder_state, state_bytes

cases = pytest.mark.parametrize("case", MIXER_CASES, ids=map(case_id, MIXER_CASES))
streaming = [case for case in MIXER_CASES if MIXERS[case[0]].traits.streaming]
referenced = [case for case in MIXER_CASES if case[0] in REFERENCES and not chooses(case)]
# A choice steps from one bin to another where rounding tips it, and is given the gradient of a smooth one.
smooth = pytest.mark.parametrize(
    "case", [c for c in MIXER_CASES if not chooses(c)], ids=[case_id(c) for c in MIXER_CASES if not chooses(c)]
)

SPANS = {"whole": None, "padded left": (4, 9), "padded right": (0, 6)}


def a_mask(span, rows, steps):
    """Row 0 real throughout, the others within the span."""
    if span is None:
        return None
    mask = torch.zeros(rows, steps, dtype=torch.bool)
    mask[0] = True
    mask[1:, span[0] : span[1]] = True
    return mask


def directions(mixer):
    return [True] * mixer.traits.causal + [False] * mixer.traits.bidirectional


def mixed(mixer, x, attention_mask=None):
    """Call a mixer looking back only, or both ways where it knows nothing else."""
    return mixer(x, directions(mixer)[0], attention_mask)


@cases
def test_a_sequence_without_steps_is_refused(case):
    mixer, nothing = made(case, torch.float32), torch.zeros(2, 0, WIDTH)
    for causal in directions(mixer):
        with pytest.raises(ValueError, match="got a sequence of 0 steps; wanted at least 1"):
            mixer(nothing, causal)
    if mixer.traits.streaming:
        with pytest.raises(ValueError, match="got a sequence of 0 steps; wanted at least 1"):
            mixer(nothing, state=mixer.init_state(2))


@cases
def test_audits_find_nothing(case):
    findings = audit_mixer(made(case, torch.float32))
    assert failures(findings) == []
    claims = MIXERS[case[0]].traits
    unclaimed = {finding.name for finding in findings if finding.passed is None}
    expected = set()
    if not claims.causal:
        expected |= {"prefix", "leak"}
    if not claims.streaming:
        expected |= {"streaming", "streaming in float32"}
    if not (claims.streaming and claims.bounded_state):
        expected |= {"bounded state"}
    if not claims.bidirectional:
        expected |= {"both directions"}
    assert unclaimed == expected


@pytest.mark.parametrize("name", MIXERS)
def test_every_option_is_read(name):
    findings = audit_options(name, *ALTERNATIVES.get(name, ()))
    assert failures(findings) == []
    assert [finding.name.removeprefix("option ") for finding in findings] == list(mixer_options(MIXERS[name]))


def test_options_worth_trying_are_options_of_registered_mixers():
    assert set(OPTIONS) <= set(MIXERS)
    unknown = [
        (n, key) for n, sets in OPTIONS.items() for o in sets for key in o if key not in mixer_options(MIXERS[n])
    ]
    assert unknown == []


@pytest.mark.parametrize("span", SPANS.values(), ids=SPANS)
@pytest.mark.parametrize("case", referenced, ids=map(case_id, referenced))
def test_values_and_gradients_equal_the_definition(case, span):
    name, options = case
    mixer = made(case)
    rng = np.random.default_rng(0)
    steps = 9
    x = torch.randn(2, steps, WIDTH, dtype=torch.float64, requires_grad=True)
    mask = a_mask(span, 2, steps)
    real = np.ones((2, steps)) if mask is None else mask.numpy()
    named = {"x": x, **dict(mixer.named_parameters())}
    numbers = {key: tensor.detach().numpy() for key, tensor in named.items()}
    for causal in directions(mixer):
        # Outputs at padding are nobody's: they take no part in the gradient, as no loss reads them.
        weights = rng.standard_normal(x.shape) * real[..., None]

        def definition(values, causal=causal, weights=weights):
            y = REFERENCES[name](values["x"], values, options, causal, None if mask is None else mask.numpy())
            return y, (weights * y).sum()

        y = mixer(x, causal, mask)
        want, _ = definition(numbers)
        np.testing.assert_allclose(y.detach().numpy() * real[..., None], want * real[..., None], rtol=1e-10, atol=1e-10)
        grads = torch.autograd.grad(y, list(named.values()), torch.from_numpy(weights))
        for key, grad in zip(named, grads, strict=True):
            along = rng.standard_normal(numbers[key].shape)
            step = 1e-5
            up, down = (definition(numbers | {key: numbers[key] + s * along})[1] for s in (step, -step))
            want_slope, slope = (up - down) / (2 * step), (grad.numpy() * along).sum()
            assert slope == pytest.approx(want_slope, rel=1e-6, abs=1e-6), key


@smooth
def test_gradcheck(case):
    if case[1].get("dropout"):
        assert not made(case).training  # evaluation mode: no noise
    mixer = made(case)
    x = torch.randn(1, 5, WIDTH, dtype=torch.float64, requires_grad=True)
    names, parameters = zip(*mixer.named_parameters(), strict=True)

    def run(x, *values):
        arguments = (x, directions(mixer)[0])
        return torch.func.functional_call(mixer, dict(zip(names, values, strict=True)), arguments)

    assert torch.autograd.gradcheck(run, (x, *parameters), fast_mode=True)


@smooth
def test_half_precision_stays_within_its_rounding(case):
    """bfloat16 has 8 bits: 0.4 % for each operation; a few of them in a row stay within 3 % of the typical output."""
    mixer = made(case, torch.float32)
    x = torch.randn(2, 37, WIDTH)
    want = mixed(mixer, x)
    size = want.square().mean().sqrt()
    with torch.autocast("cpu", torch.bfloat16):
        lowered = mixed(mixer, x)
    assert ((lowered.float() - want).square().mean().sqrt() / size) < 0.03
    half = mixer.to(torch.bfloat16)
    y = mixed(half, x.bfloat16())
    assert y.dtype is torch.bfloat16
    assert ((y.float() - want).square().mean().sqrt() / size) < 0.03
    grads = torch.autograd.grad(y.float().square().sum(), list(half.parameters()))
    assert all(g.isfinite().all() and g.abs().max() > 0 for g in grads)


@pytest.mark.parametrize("case", streaming, ids=map(case_id, streaming))
def test_half_precision_streams(case):
    mixer = made(case, torch.bfloat16)
    x = torch.randn(2, 12, WIDTH).bfloat16()
    whole, state, pieces = mixer(x).float(), mixer.init_state(2), []
    for piece in x.split([7, 1, 1, 1, 2], dim=1):
        y, state = mixer(piece, state=state)
        assert y.dtype is torch.bfloat16
        pieces.append(y)
    error = (torch.cat(pieces, dim=1).float() - whole).square().mean().sqrt()
    assert error / whole.square().mean().sqrt() < 0.03


@cases
def test_a_mask_may_be_of_any_type(case):
    mixer, x = made(case), torch.randn(3, 9, WIDTH, dtype=torch.float64)
    mask = a_mask((4, 9), 3, 9)
    want = mixed(mixer, x, mask)
    for kind in (torch.long, torch.int32, torch.float32, torch.float64):
        assert torch.equal(mixed(mixer, x, mask.to(kind)), want)
    assert not torch.allclose(mixed(mixer, x)[1:], want[1:])


@cases
def test_one_step_and_the_direction(case):
    mixer = made(case)
    x = torch.randn(2, 6, WIDTH, dtype=torch.float64)
    ways = directions(mixer)
    if True in ways:
        torch.testing.assert_close(mixer(x[:, :1]), mixer(x)[:, :1], atol=1e-12, rtol=1e-10)
    if len(ways) == 2:
        assert (mixer(x, False) - mixer(x, True)).abs().max() > 1e-3
        return
    with pytest.raises(ValueError, match=f"causal={not ways[0]}"):
        mixer(x, not ways[0])
    assert mixer(x[:, :1], ways[0]).isfinite().all()


@pytest.mark.parametrize("name", [name for name in MIXERS if not MIXERS[name].traits.streaming])
def test_what_does_not_stream_refuses_a_state(name):
    mixer = build_mixer(name, WIDTH, HEADS)
    with pytest.raises(ValueError, match=f"{name} .* state"):
        mixer.init_state(2)
    with pytest.raises(ValueError, match=f"{name} .* state"):
        mixer(torch.randn(2, 6, WIDTH), directions(mixer)[0], state=State())


@pytest.mark.parametrize("case", streaming, ids=map(case_id, streaming))
def test_states_are_reordered_mapped_and_measured(case):
    mixer = made(case)
    x, more = torch.randn(3, 7, WIDTH, dtype=torch.float64), torch.randn(3, 4, WIDTH, dtype=torch.float64)
    _, state = mixer(x, state=mixer.init_state(3))
    assert isinstance(state, State)
    tensors = [value for value in vars(state).values() if isinstance(value, torch.Tensor)]
    assert tensors
    assert {len(value) for value in tensors} == {3}
    assert state_bytes(state) == sum(value.numel() * value.element_size() for value in tensors)
    order = torch.tensor([2, 0, 0])
    y, _ = mixer(more, state=reorder_state(state, order))
    want = mixer(torch.cat([x[order], more], dim=1))[:, 7:]
    torch.testing.assert_close(y, want, atol=1e-9, rtol=1e-9)
    wrong, _ = mixer(more, state=state)
    assert (wrong - want).abs().max() > 1e-3
    first = map_state(state, lambda t: t[:1])
    assert type(first) is type(state)
    y, _ = mixer(more[:1], state=first)
    torch.testing.assert_close(y, mixer(torch.cat([x, more], dim=1))[:1, 7:], atol=1e-9, rtol=1e-9)


@cases
def test_one_seed_gives_one_mixer(case):
    name, options = case

    def states():
        torch.manual_seed(3)
        return build_mixer(name, WIDTH, HEADS, **options).state_dict()

    first, second = states(), states()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_an_unknown_mixer_or_option_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="unknown mixer 'atention'; did you mean 'attention'?"):
        build_mixer("atention", 16, 4)
    with pytest.raises(ValueError, match="unknown option of mixer 'fft_conv' 'num_mode'; did you mean 'num_modes'?"):
        build_mixer("fft_conv", 16, 4, num_mode=3)
    with pytest.raises(ValueError, match="unknown mixer 'zzz'; known: attention, "):
        build_mixer("zzz", 16, 4)


@pytest.mark.parametrize("name", MIXERS)
def test_traits_say_what_the_mixer_is_and_where_from(name):
    traits = MIXERS[name].traits
    assert traits.causal or traits.bidirectional
    assert traits.cost.startswith("T")
    assert len(traits.source) > 10
    assert hasattr(build_mixer(name, WIDTH, HEADS), "out_proj")
