"""Pictures of a run: which there are, and what they are drawn from."""

import numpy as np
import torch

from undula.experiments.pictures import (
    coherence_pictures,
    curriculum_pictures,
    filter_pictures,
    learning,
    wave_pictures,
    waves_of,
)
from undula.experiments.run import load_run, read_metrics
from undula.mixers.phase_coherent import PhaseCoherentAttention
from undula.models.config import BackboneConfig
from undula.models.senses_config import VisionEncoderConfig
from undula.models.vision_encoder import SpectralVisionEncoder


def test_curves_are_the_metrics_of_the_run(trained):
    curves = learning("ours", read_metrics(trained))
    (steps, values), (scored, scores) = curves.train[0], curves.held_out[0]
    assert (curves.label, steps, scored) == ("ours", [1, 2, 3, 4], [2, 4])
    lines = read_metrics(trained)
    assert values == [line["bits_per_byte"] for line in lines if "bits_per_byte" in line]
    assert scores == [line["validation_bits_per_byte"] for line in lines if "validation_bits_per_byte" in line]
    assert learning("none", []).train == []


def test_waves_are_those_of_the_encoder(trained):
    run = load_run(trained)
    wave = waves_of(run, [65, 66, 67])
    assert wave.shape == (3, 8)
    alone = run.model.model.transformer.wave_encoder(input_ids=torch.tensor([[65]]))
    np.testing.assert_allclose(wave.frequencies[0], alone.frequencies[0, 0].detach(), rtol=1e-5)
    assert not wave.frequencies.requires_grad


def test_a_curriculum_is_drawn_as_it_was():
    lines = [{"step": 10, "freq_limit": 0.3}, {"step": 10, "validation_loss": 2.0}, {"step": 20, "freq_limit": 0.5}]
    figure = curriculum_pictures(lines)["frequency limit"]
    limit, score = (ax.lines[0] for ax in figure.axes)
    assert (limit.get_xdata().tolist(), limit.get_ydata().tolist()) == ([10, 20], [0.3, 0.5])
    assert (score.get_xdata().tolist(), score.get_ydata().tolist()) == ([10], [2.0])
    assert len(curriculum_pictures(lines[::2])["frequency limit"].axes) == 1
    assert curriculum_pictures([{"step": 10, "loss": 2.0}]) == {}


def test_which_pictures_there_are(trained, plain):
    ours, baseline = load_run(trained), load_run(plain)
    waves = ["spectrum and phases", "waves of a passage", "spectrogram of a passage"]
    assert list(wave_pictures(ours, [65, 66, 67])) == waves
    assert list(filter_pictures(ours.model)) == ["filters 1", "poles 1"]
    assert wave_pictures(baseline, [1, 2]) == {}
    assert filter_pictures(baseline.model) == {}
    seeing = VisionEncoderConfig(
        backbone=BackboneConfig(d_model=12, num_layers=2, num_heads=2, mixers=("grid_filter",))
    )
    assert list(filter_pictures(SpectralVisionEncoder(seeing))) == ["grid filters 1", "grid filters 2"]


def test_factors_of_attention_and_coherence_are_drawn_for_each_head():
    layers = torch.nn.ModuleList(PhaseCoherentAttention(24, 8, 4, 2, blend_per_head=each) for each in (True, False))
    with torch.no_grad():
        layers[0].alpha.copy_(torch.arange(4.0).view_as(layers[0].alpha))
    first, second = coherence_pictures(layers)["phase coherence"].axes
    assert [bar.get_height() for bar in first.patches] == [0, 1, 2, 3, 0.5, 0.5, 0.5, 0.5]
    assert [bar.get_height() for bar in second.patches] == [1, 0.5]
    assert coherence_pictures(torch.nn.Linear(2, 2)) == {}
