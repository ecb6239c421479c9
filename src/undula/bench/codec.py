"""How near a trained codec comes to held-out recordings, and its speed on whole sound and on a stream of pieces."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from undula.bench.environment import make_records
from undula.bench.harness import Contestant, interleaved, measuring
from undula.bench.records import Record
from undula.bench.setting import BenchSetting
from undula.config import to_dict
from undula.data.audio import Recording
from undula.models.audio_codec import AudioCodec
from undula.validation.sound import evaluate_codec

PIECE_SECONDS = 0.02
"""Length of a piece of a stream: what sound cards and calls hand over at once."""

STREAM_SECONDS = 2.0
"""How much sound is streamed."""


def bench_codec(
    codec: AudioCodec, recordings: Sequence[Recording], what: dict[str, Any], setting: BenchSetting
) -> list[Record]:
    """Return one record: the score of whole recordings, the speed, and how far a stream is from the whole.

    Args:
        codec: in evaluation mode.
        recordings: held out, at the codec's sample rate.
        what: says which codec it is: `case` and `model`, for the tables, and how it was trained.
        setting: how to measure; the score is computed once.

    Raises:
        ValueError: for a device that is not there, or no recording.
    """
    if not recordings:
        raise ValueError("no recording; give at least one that the codec was not trained on")
    rate = codec.config.sample_rate
    with measuring(setting) as device, torch.no_grad():
        codec = codec.to(device)
        score = evaluate_codec(codec, recordings)
        together = torch.cat([r.samples for r in recordings])
        sound = together[: round(STREAM_SECONDS * rate)].to(device)[None]
        contestants = {"whole": Contestant(lambda: codec(sound)), "pieces": Contestant(lambda: _streamed(codec, sound))}
        times = interleaved(contestants, setting)
        difference = (_streamed(codec, sound) - codec(sound)).abs().max().item()
    seconds = sound.shape[1] / rate
    figures = {
        **score.to_dict(),
        "recordings": len(score.ratios),
        "sound_seconds": score.seconds,
        "parameters": sum(p.numel() for p in codec.parameters()),
        "numbers_per_sample": codec.numbers_per_sample,
        "latency_seconds": codec.latency / rate,
        "streaming_difference": difference,
        **{f"{name}_seconds_a_second": time.median / seconds for name, time in times.items()},
        **{f"{name}_cpu_seconds_a_second": time.figures()["cpu_seconds"] / seconds for name, time in times.items()},
    }
    sizes = {"piece_seconds": PIECE_SECONDS, "codec": to_dict(codec.config)}
    return make_records("codec", [({**what, **sizes}, figures)], setting)


def _streamed(codec: AudioCodec, sound: Float[Tensor, "B L"]) -> Float[Tensor, "B L"]:
    """What comes out of a stream of pieces, silence at the end included, as long as the sound."""
    state, made = codec.init_state(len(sound), device=sound.device, dtype=sound.dtype), []
    ended = torch.nn.functional.pad(sound, (0, codec.latency + codec.config.hop_length))
    for piece in ended.split(round(PIECE_SECONDS * codec.config.sample_rate), dim=1):
        out, state = codec(piece, state=state)
        made.append(out)
    return torch.cat(made, dim=1)[:, : sound.shape[1]]
