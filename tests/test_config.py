"""Configurations to and from plain values."""

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from undula.config import from_dict, replaced, to_dict
from undula.models.config import BackboneConfig, ModelConfig


@dataclass(frozen=True, kw_only=True)
class Inner:
    size: int = 3
    rate: float = 0.5
    kind: Literal["soft", "hard"] = "soft"


@dataclass(frozen=True, kw_only=True)
class Outer:
    inner: Inner = field(default_factory=Inner)
    names: tuple[str, ...] = ("a",)
    pair: tuple[int, float] = (1, 2.0)
    limit: int | None = None
    flag: bool = False
    options: dict[str, dict[str, Any]] = field(default_factory=dict)


def test_values_survive_json():
    config = Outer(
        inner=Inner(size=5, kind="hard"), names=("x", "y"), pair=(4, 0.5), limit=7, options={"m": {"k": [1, None]}}
    )
    assert from_dict(Outer, json.loads(json.dumps(to_dict(config)))) == config
    assert from_dict(Outer, {}) == Outer()
    assert from_dict(Outer, {"inner": Inner(size=9)}).inner.size == 9


def test_a_model_survives_json():
    backbone = BackboneConfig(mixers=("fft_conv", "attention"), mixer_options={"attention": {"qk_norm": True}})
    config = ModelConfig(family="wave", backbone=backbone, context_length=64)
    assert from_dict(ModelConfig, json.loads(json.dumps(to_dict(config)))) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"iner": {}}, "unknown key in Outer 'iner'; did you mean 'inner'?"),
        ({"inner": {"sise": 1}}, "unknown key in inner 'sise'; did you mean 'size'?"),
        ({"inner": 3}, "inner: got 3, wanted the keys of Inner"),
        ({"inner": {"size": "many"}}, "inner.size: got 'many', wanted int"),
        ({"inner": {"size": True}}, "inner.size: got True, wanted int"),
        ({"inner": {"size": 1.5}}, "inner.size: got 1.5, wanted int"),
        ({"inner": {"kind": "hart"}}, "unknown inner.kind 'hart'; did you mean 'hard'?"),
        ({"pair": [1, 2, 3]}, "pair: got 3 values, wanted 2"),
        ({"names": [1]}, "names: got 1, wanted str"),
        ({"limit": "no"}, "limit: got 'no', wanted int"),
        ({"flag": 1}, "flag: got 1, wanted bool"),
    ],
)
def test_mistakes_name_the_place(values, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        from_dict(Outer, values)


def test_whole_numbers_do_for_fractions():
    rate = from_dict(Inner, {"rate": 1}).rate
    assert (rate, type(rate)) == (1.0, float)


def test_values_are_replaced_by_their_dotted_names():
    config = Outer(options={"m": {"k": 1, "l": 2}})
    assert replaced(config, "inner.size", 8).inner == Inner(size=8)
    assert replaced(config, "names", ["p", "q"]).names == ("p", "q")
    assert replaced(config, "options.m.k", 5).options == {"m": {"k": 5, "l": 2}}
    assert replaced(config, "options.n.k", 5).options == {"m": {"k": 1, "l": 2}, "n": {"k": 5}}
    assert config == Outer(options={"m": {"k": 1, "l": 2}})


@pytest.mark.parametrize(
    ("dotted", "value", "message"),
    [
        ("iner.size", 1, "unknown key in Outer 'iner'; did you mean 'inner'"),
        ("inner.sise", 1, "unknown key in Inner 'sise'; did you mean 'size'"),
        ("flag.deeper", 1, "flag.deeper: flag holds no keys of its own"),
        ("inner.size", "x", "size: got 'x', wanted int"),
    ],
)
def test_wrong_replacements_are_refused(dotted, value, message):
    with pytest.raises(ValueError, match=message):
        replaced(Outer(), dotted, value)
