import math

import pytest
import torch

from undula.mixers.base import MIXERS
from undula.models.config import BackboneConfig, ModelConfig
from undula.models.language_model import build_language_model
from undula.nn.damped_filter import DampedHarmonics
from undula.nn.short_conv import CausalConv
from undula.optim.build import build_optimizer, build_schedule, decay_groups, learning_rate
from undula.optim.config import OptimConfig, WaveNativeConfig


def model_of(*mixers):
    backbone = BackboneConfig(d_model=24, num_layers=len(mixers), num_heads=4, d_ff=32, mixers=mixers)
    return build_language_model(ModelConfig(vocab_size=19, backbone=backbone))


def p0(i, steps):
    """The protocol's learning rate, as it is written there."""
    return 1e-3 * (i + 1) / 100 if i < 100 else 1e-4 + 0.5 * (1 + math.cos(math.pi * (i - 100) / (steps - 100))) * 9e-4


def test_the_learning_rate_of_every_step_is_the_protocols():
    assert [learning_rate(i, 2000, OptimConfig()) for i in range(2000)] == pytest.approx(
        [p0(i, 2000) for i in range(2000)], rel=1e-12
    )


def test_the_schedule_sets_the_learning_rate_before_each_step():
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.SGD([parameter], lr=OptimConfig().learning_rate)
    schedule = build_schedule(optimizer, OptimConfig(), 300)
    seen = []
    for _ in range(300):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert seen == pytest.approx([p0(i, 300) for i in range(300)], rel=1e-12)


def test_a_warmup_may_be_absent_or_as_long_as_the_run():
    none = OptimConfig(warmup_steps=0)
    assert learning_rate(0, 10, none) == 1e-3
    assert learning_rate(10, 10, none) == pytest.approx(1e-4)
    assert learning_rate(10, 10, OptimConfig(warmup_steps=10)) == pytest.approx(1e-3)


@pytest.mark.parametrize("mixer", [name for name in MIXERS if MIXERS[name].traits.causal])
def test_matrices_decay_and_nothing_else_does(mixer):
    model = model_of(mixer)
    names = {p: name for name, p in model.named_parameters()}
    decaying, others = decay_groups(model)
    assert len(decaying) + len(others) == len(names)
    assert not {*decaying} & {*others}
    assert all(p.ndim == 2 for p in decaying)
    assert {"embedding.weight", "head.weight"} <= {names[p] for p in decaying}
    for p in others:
        path, _, last = names[p].rpartition(".")
        linear = last == "weight" and any(part in path for part in ("proj", "qkv", "ffn.w", "embedding", "head"))
        assert not linear or p.ndim == 1


def test_filters_do_not_decay_although_they_are_stored_as_matrices():
    model = model_of("fft_conv")
    decaying, _ = decay_groups(model)
    filters = [m for m in model.modules() if isinstance(m, DampedHarmonics | CausalConv)]
    stored = [p for m in filters for p in m.parameters(recurse=False)]
    assert sum(p.ndim >= 2 for p in stored) >= 4
    assert not any(p is q for p in stored for q in decaying)


def test_a_shared_matrix_decays_once_and_frozen_parameters_are_left_out():
    model = model_of("attention")
    model.head.weight = model.embedding.weight
    model.backbone.layers[0].norm.weight.requires_grad_(False)
    decaying, others = decay_groups(model)
    assert sum(p is model.head.weight for p in decaying) == 1
    assert not any(p is model.backbone.layers[0].norm.weight for p in others)


def test_decay_is_decoupled_and_reaches_matrices_alone():
    model = model_of("fft_conv")
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = build_optimizer(model, OptimConfig(learning_rate=0.1, weight_decay=0.5))
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    optimizer.step()
    matrices = {p for p in decay_groups(model)[0]}
    for name, p in model.named_parameters():
        torch.testing.assert_close(p.detach(), before[name] * (0.95 if p in matrices else 1.0))


def test_a_step_is_adams_with_the_betas_of_the_config():
    layer = torch.nn.Linear(2, 2, bias=False)
    start, config = layer.weight.detach().clone(), OptimConfig(betas=(0.8, 0.7), weight_decay=0.0)
    optimizer = build_optimizer(layer, config)
    gradients = [torch.randn(2, 2, dtype=torch.float64) for _ in range(3)]
    mean = square = torch.zeros(2, 2, dtype=torch.float64)
    wanted = start.double()
    for t, gradient in enumerate(gradients, 1):
        layer.weight.grad = gradient.float()
        optimizer.step()
        mean = 0.8 * mean + 0.2 * gradient
        square = 0.7 * square + 0.3 * gradient**2
        wanted = wanted - 1e-3 * (mean / (1 - 0.8**t)) / ((square / (1 - 0.7**t)).sqrt() + 1e-8)
    torch.testing.assert_close(layer.weight.detach().double(), wanted, rtol=1e-5, atol=1e-7)


def wave_native(**options):
    return OptimConfig(kind="wave_native", wave_native=WaveNativeConfig(**options), learning_rate=0.1, weight_decay=0.5)


@pytest.mark.parametrize("tied", [False, True])
def test_linear_weights_are_coherent_and_embeddings_and_filters_are_not(tied):
    """The documented optimizer mixed the rows of the embedding and pulled biases and gains of norms towards zero."""
    model = model_of("fft_conv")
    if tied:
        model.head.weight = model.embedding.weight
    optimizer = build_optimizer(model, wave_native())
    names = {p: name for name, p in model.named_parameters()}
    coherent, tables, others = ({names[p] for p in group["params"]} for group in optimizer.param_groups)
    assert [group["coherent"] for group in optimizer.param_groups] == [True, False, False]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.5, 0.0]
    assert coherent == {names[m.weight] for m in model.modules() if isinstance(m, torch.nn.Linear)} - tables
    assert tables == {"embedding.weight"}
    assert ("head.weight" in coherent) != tied
    assert coherent | tables | others == set(names.values())


@pytest.mark.parametrize(
    "options",
    [
        {"damping": 0.3},
        {"coherence_weight": 0.2},
        {"refresh": 3},
        {"project_every": 2},
        {"rank": 2},
        {"adaptive": True},
    ],
)
def test_every_option_reaches_the_optimizer_and_moves_parameters_elsewhere(options):
    def ends(config):
        torch.manual_seed(0)
        layer = torch.nn.Linear(4, 9, bias=False)
        optimizer = build_optimizer(layer, config)
        for _ in range(4):
            layer.weight.grad = torch.randn(9, 4)
            optimizer.step()
        return optimizer.param_groups[0], layer.weight.detach()

    exact = {"refresh": 1, "project_every": 1}
    usual, changed = ends(wave_native(**exact)), ends(wave_native(**{**exact, **options}))
    for name, value in options.items():
        assert changed[0][name] == value
    assert (usual[1] - changed[1]).abs().max() > 1e-3


def test_the_mean_square_has_the_memory_of_the_config():
    config = OptimConfig(
        kind="wave_native", wave_native=WaveNativeConfig(project_every=1, adaptive=True), betas=(0.5, 0.7)
    )
    assert build_optimizer(torch.nn.Linear(2, 2), config).param_groups[0]["beta2"] == 0.7
