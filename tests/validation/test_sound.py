import math

import torch

from undula.data.audio import Recording
from undula.models.audio_codec import AudioCodec
from undula.models.config import AudioCodecConfig
from undula.ops.distortion import si_sdr
from undula.validation.sound import SoundScore, evaluate_codec


def test_each_recording_is_scored_whole_and_weighs_the_same():
    torch.manual_seed(0)
    codec = AudioCodec(AudioCodecConfig(d_model=8, num_layers=1, dropout=0.5)).train()
    sounds = [Recording("a", torch.randn(700)), Recording("b", torch.randn(1000)), Recording("c", torch.zeros(300))]
    score = evaluate_codec(codec, sounds)
    assert codec.training
    codec.eval()
    with torch.no_grad():
        want = [si_sdr(codec(s.samples[None]), s.samples[None]).item() for s in sounds[:2]]
    assert score.mean == sum(want) / 2
    assert math.isnan(score.ratios["c"])
    assert score.known == sorted(want)
    assert score.seconds == 0.25


def test_the_score_of_nothing_is_nan():
    score = SoundScore({"silent": math.nan})
    assert all(math.isnan(value) for value in score.to_dict().values())
    assert math.isnan(score.median)


def test_mean_median_and_lowest():
    score = SoundScore({"a": 1.0, "b": 3.0, "c": math.nan, "d": 11.0})
    assert score.to_dict() == {"si_sdr": 5.0, "si_sdr_median": 3.0, "si_sdr_lowest": 1.0}
