"""What is timed is greedy decoding: equal to decoding without a cache, from the same context each time."""

import dataclasses

import pytest
import torch

from undula.bench.cases import DECODE_CASES
from undula.bench.decode import Decoding, _models, _tokens, bench_decode
from undula.bench.setting import BenchSetting

SETTING = BenchSetting(repeats=1, warmup=0)
CASE = DECODE_CASES["tiny"]


@pytest.mark.parametrize("name", ["transformers Llama", "attention", "fft_conv"])
def test_decoding_equals_decoding_without_a_cache(name, monkeypatch):
    monkeypatch.setattr("undula.bench.decode.PREFILL", 5)
    model, tokens = _models(CASE, torch.device("cpu"))[name], _tokens(CASE, 12)
    run = Decoding(model, tokens, 4, SETTING)
    row = tokens
    for _ in range(5):
        row = torch.cat([row, model(input_ids=row, use_cache=False).logits[:, -1:].argmax(-1)], dim=1)
    assert torch.equal(run.decode(), row[:, -4:])
    run.rewind()
    assert torch.equal(run.decode(), row[:, -4:])


def test_without_a_peer_there_is_no_ratio():
    records = bench_decode("alone", dataclasses.replace(CASE, peers=(), contexts=(8,)), SETTING)
    assert {record.config["model"] for record in records} == {"attention", "fft_conv"}
    assert {(record.config["peer"], record.figures["ratio"]) for record in records} == {(None, None)}


def test_records_and_caches():
    records = bench_decode("tiny", CASE, SETTING)
    found = {(record.config["model"], record.config["context"]): record.figures for record in records}
    assert set(found) == {(m, c) for m in ("transformers Llama", "attention", "fft_conv") for c in (8, 16)}
    cache = {cell: figures["cache_bytes"] for cell, figures in found.items()}
    assert cache["fft_conv", 8] == cache["fft_conv", 16]
    assert cache["attention", 16] == 2 * cache["attention", 8]
    assert cache["transformers Llama", 8] == 2 * 2 * 8 * 32 * 4  # keys and values, layers, positions, width, float32
    figures = found["fft_conv", 16]
    assert figures["tokens_per_second"] == pytest.approx(4 / figures["seconds"])
    assert figures["growth"] == pytest.approx(figures["seconds_per_token"] / found["fft_conv", 8]["seconds_per_token"])
    assert [found[m, 8]["growth"] for m in ("attention", "fft_conv")] == [1.0, 1.0]
