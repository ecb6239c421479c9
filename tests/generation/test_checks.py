"""Options of decoding that make no sense are refused, and say why."""

import pytest

from undula.generation.checks import check_decoding

BAD = [
    ({"num_beams": 0}, "num_beams=0; wanted at least 1"),
    ({"num_beams": 4, "num_beam_groups": 3}, "num_beams=4 is not a multiple of num_beam_groups=3; change one"),
    ({"num_beams": 4, "diversity_penalty": 0.5}, "diversity_penalty=0.5 keeps groups apart, and there is one"),
    ({"num_beams": 4, "num_beam_groups": 2, "do_sample": True}, "groups of beams are searched, not drawn"),
    ({"coverage_penalty": 0.2}, "coverage_penalty=0.2 ranks beams, and there is one; set num_beams above 1"),
    ({"num_beams": 4, "coverage_penalty": -1.0}, "coverage_penalty=-1.0; wanted 0 or more"),
    ({"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences=3 is more than num_beams=2"),
    ({"num_return_sequences": 3}, "num_return_sequences=3 is more than num_beams=1; .* do_sample=True"),
    ({"min_length": 9, "max_length": 8}, "min_length=9 is above max_length=8; lower the one or raise the other"),
    ({"max_length": 0}, "max_length=0; wanted at least 1 token"),
    ({"top_p": 0.0}, r"top_p=0.0; wanted a share above 0, up to 1 \(all tokens\)"),
    ({"top_p": 1.1}, "top_p=1.1; wanted a share above 0"),
    ({"top_k": -1}, "top_k=-1; wanted at least 1 token, or 0 for all"),
    ({"min_p": 1.5}, "min_p=1.5; wanted a share of the likeliest token's probability"),
    ({"temperature": 0.0}, "temperature=0.0; wanted more than 0; for the likeliest token take do_sample=False"),
    ({"repetition_penalty": 0.0}, "repetition_penalty=0.0; wanted more than 0"),
    ({"no_repeat_ngram_size": -2}, "no_repeat_ngram_size=-2; wanted a length in tokens"),
    ({"early_stopping": "soon"}, "early_stopping='soon'; wanted True, False or 'never'"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        check_decoding(options)


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict.fromkeys(("num_beams", "top_p", "max_length", "coverage_penalty", "do_sample")),
        {"num_beams": 6, "num_beam_groups": 3, "diversity_penalty": 1.0, "num_return_sequences": 6},
        {"do_sample": True, "num_return_sequences": 5, "top_p": 1.0, "top_k": 0, "min_p": 0.0},
        {"min_length": 8, "max_length": 8, "early_stopping": "never"},
    ],
    ids=str,
)
def test_good_options_pass(options):
    assert check_decoding(options) is None
