"""What is run: the loss of the whole sequence, and gradients, in a process that gives its memory back."""

import torch

from undula.bench.cases import PIECES_CASES
from undula.bench.pieces import bench_pieces, prepare_loss
from undula.bench.setting import BenchSetting
from undula.models.language_model import build_language_model


def test_every_model_and_length_has_a_record():
    records = bench_pieces("tiny", PIECES_CASES["tiny"], BenchSetting())
    assert [(r.config["model"], r.config["length"]) for r in records] == [("fft_conv", 48), ("fft_conv", 96)]
    for record in records:
        assert record.figures["tokens_per_second"] == record.config["length"] / record.figures["seconds"]
        assert record.figures["cpu_seconds"] > 0
        assert record.figures["peak_bytes"] >= 0


def test_parameters_get_their_gradients(monkeypatch):
    config, made = PIECES_CASES["tiny"].models["fft_conv"], []
    monkeypatch.setattr(
        "undula.bench.pieces.build_language_model", lambda c: made.append(build_language_model(c)) or made[-1]
    )
    prepare_loss(config, 48, 16, BenchSetting())()
    (model,) = made
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())


def test_the_documented_case_is_six_layers_of_256_on_200_000_tokens():
    case = PIECES_CASES["d256"]
    assert case.lengths[-1] == 200_000
    for config in case.models.values():
        with torch.device("meta"):
            assert 4e6 < sum(p.numel() for p in build_language_model(config).parameters()) < 7e6
        assert (config.backbone.d_model, config.backbone.num_layers) == (256, 6)
