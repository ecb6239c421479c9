"""Blocks on part of the harmonics: by zeros, gathered, behind a mask, in slices; and narrowed backbones."""

import copy
from dataclasses import replace

import pytest
import torch

from tests.contract.cases import moved
from undula.models.backbone import Backbone
from undula.models.config import BackboneConfig, CodecConfig, ModelConfig, PyramidConfig, SparsityConfig
from undula.models.language_model import build_language_model
from undula.models.narrow import channels_of, narrowed, narrowed_parameters
from undula.models.reduction import HarmonicReduction
from undula.nn.harmonic_selector import AdaptiveHarmonicSelector

H, V = 8, 11


def backbone(width=3 * H, mixers=("attention",), block="parallel", **options):
    return BackboneConfig(
        d_model=width, num_layers=2, num_heads=2, mixers=mixers, block=block, d_ff=16, mixer_options=options
    )


def language_model(**more):
    torch.manual_seed(0)
    codec = more.pop("codec", CodecConfig(d_model=8, num_heads=0))
    config = ModelConfig(family="wave", vocab_size=V, backbone=backbone(), codec=codec, **more)
    return moved(build_language_model(config)).double().eval()


def ids(steps=7):
    return torch.randint(V, (2, steps), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mixer", ["attention", "fft_conv", "short_conv", "spectral_filter"])
@pytest.mark.parametrize("block", ["parallel", "pre_norm", "deepnorm"])
def test_a_narrowed_backbone_is_a_narrow_one_with_the_sliced_parameters(mixer, block):
    wide = moved(Backbone(backbone(mixers=(mixer,), block=block))).double().eval()
    narrow = Backbone(backbone(15, (mixer,), block, **{mixer: {"d_inner": 3 * H}})).double().eval()
    channels = channels_of(torch.tensor([0, 2, 3, 5, 6]), H)
    assert channels.tolist() == [0, 2, 3, 5, 6, 8, 10, 11, 13, 14, 16, 18, 19, 21, 22]
    narrow.load_state_dict(narrowed_parameters(wide, channels))
    x = torch.randn(2, 6, 15, dtype=torch.float64)
    torch.testing.assert_close(narrowed(wide, channels)(x), narrow(x))
    narrowed(wide, channels)(x).square().sum().backward()
    assert [name for name, p in wide.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_mixer_that_does_not_tell_cannot_be_narrowed():
    built = Backbone(backbone(mixers=("interference",)))
    with pytest.raises(ValueError, match="InterferenceAttention does not say which of its parameters"):
        narrowed(built, torch.arange(6))


def test_gathered_blocks_are_as_narrow_as_what_is_kept():
    model = language_model(sparsity=SparsityConfig(k_ratio=0.5, min_k=2, gather=True))
    block = model.transformer.layers[0]
    assert (block.norm.weight.numel(), block.attn.d_inner) == (12, 24)
    seen = []
    model.transformer.wave_decoder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    model(ids())
    assert seen[0].shape == (2, 7, 24)
    assert seen[0].all()


@pytest.mark.parametrize(("ratio", "way", "d_ff"), [(0.5, "", 48), (0.5, "gather", 24), (0.3, "settles", 16)])
def test_feed_forwards_are_as_narrow_as_what_their_blocks_compute_on(ratio, way, d_ff):
    selector = AdaptiveHarmonicSelector(H, 3 * H, ratio, min_k=1, use_dynamic_k=False)
    reduction = HarmonicReduction(H, selector=selector, **({way: True} if way else {}))
    blocks = reduction.blocks(replace(backbone(), d_ff=48))
    assert (blocks.d_ff, blocks.d_model) == (d_ff, 12 if way == "gather" else 3 * H)


@pytest.mark.parametrize("way", ["gather", "settles"])
def test_narrow_blocks_may_have_more_filters_and_fewer_hidden_units(way):
    selector = AdaptiveHarmonicSelector(H, 3 * H, 0.5, min_k=1, use_dynamic_k=False)
    reduction = HarmonicReduction(H, selector=selector, hidden_ratio=0.25, inner_ratio=5 / 3, **{way: True})
    blocks = reduction.blocks(replace(backbone(mixers=("fft_conv",)), d_ff=96))
    assert (blocks.d_ff, blocks.mixer_options) == (24, {"fft_conv": {"d_inner": 40}})
    for config in (backbone(mixers=("interference",)), backbone(mixers=("fft_conv",), fft_conv={"d_inner": 8})):
        with pytest.raises(ValueError, match=r"inner_ratio=1.66667: d_inner of .* is given or missing"):
            reduction.blocks(config)


def test_ratios_are_of_blocks_that_gather_or_settle_and_above_0():
    with pytest.raises(ValueError, match="these do neither"):
        SparsityConfig(k_ratio=0.5, inner_ratio=1.5)
    with pytest.raises(ValueError, match="hidden_ratio=0; wanted a number above 0"):
        SparsityConfig(k_ratio=0.5, gather=True, hidden_ratio=0)


def test_the_selector_teaches_itself_through_the_loss_of_the_model():
    model = language_model(sparsity=SparsityConfig(k_ratio=0.5, min_k=2, dynamic_k=True, weight=0.5)).train()
    model(ids())
    stats = model.reduction.selection
    added = model.aux_loss()
    assert added.item() == pytest.approx(0.5 * model.sparsification(stats)["total"].item())
    assert model.aux_loss() is None
    added.backward()
    assert model.reduction.selector.share[0].weight.grad.any()
    assert language_model().aux_loss() is None


@pytest.mark.parametrize("gather", [False, True])
def test_scores_are_the_same_without_the_relaxation(gather, monkeypatch):
    model = language_model(sparsity=SparsityConfig(k_ratio=0.5, min_k=2, gather=gather))
    want = model(ids())
    monkeypatch.setattr("undula.nn.harmonic_selector.soft_topk", None)
    with torch.no_grad():
        assert torch.equal(model(ids()), want)
    assert model.reduction.selection is None


def test_a_model_can_be_copied_after_a_forward_pass():
    model = language_model(sparsity=SparsityConfig(k_ratio=0.5, min_k=2))
    want = model(ids())
    twin = copy.deepcopy(model)
    assert twin.reduction.selection is None
    assert torch.equal(twin(ids()), want)


def test_a_settled_model_computes_on_the_harmonics_that_were_kept_most():
    model = language_model(sparsity=SparsityConfig(k_ratio=0.5, min_k=2, settles=True))
    model.reduction.selector.ema_use.copy_(torch.tensor([0.1, 0.9, 0.2, 0.8, 0.7, 0.1, 0.6, 0.3]))
    model.settle()
    kept = [1, 3, 4, 6]
    assert model.reduction.present.tolist() == kept
    before = model(ids())
    left_out = [h for h in range(H) if h not in kept]
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("norm.weight", "norm_f.weight")):
                p.view(3, H)[:, left_out] = 7.0
            if name.endswith("from_wave.weight"):
                p.view(-1, 3, H)[..., left_out] = 7.0
            if "to_wave" in name:
                p[left_out] = 7.0
            if ".selector." in name:
                p.zero_()
    assert torch.equal(model(ids()), before)
    loaded = language_model(sparsity=SparsityConfig(k_ratio=0.5, min_k=2, settles=True))
    loaded.load_state_dict(model.state_dict())
    loaded.after_loading()
    assert torch.equal(loaded(ids()), before)


def test_what_is_kept_can_be_looked_at():
    model = language_model(sparsity=SparsityConfig(k_ratio=0.5, min_k=2))
    model(ids())
    assert torch.equal(model.kept_harmonics(ids()), model.reduction.selection["selection_mask"].bool())
    assert language_model().kept_harmonics(ids()) is None


def test_slices_leave_high_harmonics_out_of_everything():
    model = language_model(freq_limit="slice", codec=CodecConfig(d_model=8, num_heads=0, ordered=True))
    whole = model(ids())
    model.set_freq_limit(0.5)
    assert model.reduction.present.tolist() == [0, 1, 2, 3]
    low = model(ids())
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith(("norm.weight", "norm_f.weight")):
                p.view(3, H)[:, 4:] = 7.0
            if name.endswith("from_wave.weight"):
                p.view(-1, 3, H)[..., 4:] = 7.0
    assert torch.equal(model(ids()), low)
    assert (whole - low).abs().max() > 1e-3
    model.set_freq_limit(0.51)
    assert len(model.reduction.present) == 5


def test_ordered_frequencies_rise_at_every_position():
    model = language_model(freq_limit="slice", codec=CodecConfig(d_model=8, num_heads=0, ordered=True))
    found = model.waves(ids()).frequencies
    assert (found.diff(dim=-1) > 0).all()
    assert found.max() <= 0.5
    torch.manual_seed(0)
    fresh = [
        build_language_model(
            ModelConfig(family="wave", backbone=backbone(), codec=CodecConfig(ordered=o), freq_limit=limit)
        ).transformer.wave_encoder
        for o, limit in ((True, "slice"), (False, "none"))
    ]
    starts = [encoder._shares(encoder.base_frequency[None, None]) for encoder in fresh]
    torch.testing.assert_close(*starts)


def test_a_mask_fades_what_is_above_the_limit():
    model = language_model(freq_limit="mask")
    whole = model(ids())
    model.set_freq_limit(0.1)
    assert (model(ids()) - whole).abs().max() > 1e-3
    model.set_freq_limit(1.0)
    assert torch.equal(model(ids()), whole)


ASKED = ("dynamic_k", "gather", "settles")
SETTLES, GATHERS = (SparsityConfig(k_ratio=0.5, min_k=2, **{name: True}) for name in ("settles", "gather"))
UNORDERED, ORDERED = (CodecConfig(d_model=8, num_heads=0, ordered=ordered) for ordered in (False, True))


def unlike(codec=UNORDERED, **more):
    blocks = backbone(mixers=("phase_coherent",), block="phase_parallel")
    return build_language_model(ModelConfig(family="wave", vocab_size=V, backbone=blocks, codec=codec, **more))


def in_bands(codec=UNORDERED, **more):
    pyramid = PyramidConfig(after=(1,), band_boundaries=(0.5,), band_num_layers=(1, 1))
    blocks = replace(backbone(), pyramid=pyramid)
    return build_language_model(ModelConfig(family="wave", vocab_size=V, backbone=blocks, codec=codec, **more))


def test_harmonics_may_be_in_order_whatever_limits_them():
    """Bands of a pyramid are bands of frequency then, at every position."""
    for limit in ("none", "mask"):
        waves = in_bands(codec=ORDERED, freq_limit=limit).waves(ids())
        assert (waves.frequencies.diff(dim=-1) > 0).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: HarmonicReduction(4, gather=True), "gather=True needs a selector with a fixed k"),
        (lambda: HarmonicReduction(4, selector=AdaptiveHarmonicSelector(4, 12), gather=True), "fixed k"),
        (lambda: HarmonicReduction(4, settles=True), "settles=True needs a selector with a fixed k"),
        (lambda: HarmonicReduction(4).settle(), "settles=False"),
        (lambda: language_model().settle(), "no selector"),
        (lambda: build_language_model(ModelConfig()).settle(), "only the family 'wave' with sparsity.settles"),
        (lambda: HarmonicReduction(4, limit="slices"), "did you mean 'slice'"),
        (lambda: HarmonicReduction(4).set_freq_limit(0.5), "limit='none'"),
        (lambda: HarmonicReduction(4, limit="mask").set_freq_limit(0.0), "freq_limit=0.0"),
        (lambda: language_model().set_freq_limit(0.5), "freq_limit='none'"),
        (lambda: build_language_model(ModelConfig()).set_freq_limit(0.5), "only the family 'wave'"),
        (lambda: language_model(freq_limit="slice"), "freq_limit='slice' with codec.ordered=False"),
        *((lambda name=name: SparsityConfig(**{name: True}), f"{name}=True with k_ratio=1") for name in ASKED),
        (lambda: unlike(sparsity=SETTLES), "PhaseCoherentAttention does not say which of its parameters"),
        (lambda: unlike(freq_limit="slice", codec=ORDERED), "PhaseCoherentAttention does not say which"),
        (lambda: unlike(sparsity=GATHERS), "gathered channels have no bands and phases"),
        (lambda: in_bands(sparsity=SETTLES), "a backbone with pyramids cannot be narrowed"),
        (lambda: in_bands(freq_limit="slice", codec=ORDERED), "a backbone with pyramids cannot be narrowed"),
        (lambda: in_bands(sparsity=GATHERS), "gathered channels have no bands and phases"),
    ],
)
def test_what_cannot_be_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def settled_in_a_process(rank, folder, uses):
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=len(uses)
    )
    selector = AdaptiveHarmonicSelector(H, 3 * H, k_ratio=0.5, min_k=1, use_dynamic_k=False)
    reduction = HarmonicReduction(H, selector=selector, settles=True)
    selector.ema_use.copy_(uses[rank])
    reduction.settle()
    torch.save(reduction.settled, folder / f"{rank}.pt")
    torch.distributed.destroy_process_group()


def test_processes_that_have_seen_different_text_settle_on_the_same(tmp_path):
    uses = torch.tensor([[0.9, 0.8, 0.7, 0.6, 0.1, 0.1, 0.1, 0.1], [0.9, 0.0, 0.0, 0.0, 0.9, 0.8, 0.85, 0.1]])
    torch.multiprocessing.spawn(settled_in_a_process, (tmp_path, uses), nprocs=2)
    chosen = [torch.load(tmp_path / f"{rank}.pt").nonzero().flatten().tolist() for rank in (0, 1)]
    assert chosen == [[0, 4, 5, 6]] * 2
