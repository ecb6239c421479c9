"""Options of decoding that make no sense together, refused before the first token is computed."""

from collections.abc import Callable, Mapping
from typing import Any

RULES: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "num_beams": (lambda v: v >= 1, "at least 1"),
    "num_beam_groups": (lambda v: v >= 1, "at least 1"),
    "num_return_sequences": (lambda v: v >= 1, "at least 1"),
    "temperature": (lambda v: v > 0, "more than 0; for the likeliest token take do_sample=False"),
    "top_k": (lambda v: v >= 0, "at least 1 token, or 0 for all"),
    "top_p": (lambda v: 0 < v <= 1, "a share above 0, up to 1 (all tokens)"),
    "min_p": (lambda v: 0 <= v <= 1, "a share of the likeliest token's probability, 0 to 1"),
    "repetition_penalty": (lambda v: v > 0, "more than 0; above 1 repeats less"),
    "no_repeat_ngram_size": (lambda v: v >= 0, "a length in tokens, or 0 for no limit"),
    "diversity_penalty": (lambda v: v >= 0, "0 or more"),
    "coverage_penalty": (lambda v: v >= 0, "0 or more"),
    "early_stopping": (lambda v: v in (True, False, "never"), "True, False or 'never'"),
    "min_length": (lambda v: v >= 0, "0 or more tokens"),
    "max_length": (lambda v: v >= 1, "at least 1 token"),
}
"""Each option's own bounds, and how to say them."""

DEFAULTS: Mapping[str, Any] = {
    "num_beams": 1,
    "num_beam_groups": 1,
    "num_return_sequences": 1,
    "diversity_penalty": 0.0,
    "coverage_penalty": 0.0,
    "do_sample": False,
}


def check_decoding(options: Mapping[str, Any]) -> None:
    """Raise for options that are out of bounds or contradict each other; None stands for an option's default.

    Raises:
        ValueError: says which, what was wanted, and what to do.
    """
    given = {name: value for name, value in options.items() if value is not None}
    for name, (fits, wanted) in RULES.items():
        if name in given and not fits(given[name]):
            raise ValueError(f"{name}={given[name]!r}; wanted {wanted}")
    given = {**DEFAULTS, **given}
    beams, groups, count = given["num_beams"], given["num_beam_groups"], given["num_return_sequences"]
    if beams % groups:
        raise ValueError(f"num_beams={beams} is not a multiple of num_beam_groups={groups}; change one of them")
    if given["diversity_penalty"] and groups == 1:
        raise ValueError(
            f"diversity_penalty={given['diversity_penalty']} keeps groups apart, and there is one; set num_beam_groups"
        )
    if groups > 1 and given["do_sample"]:
        raise ValueError("groups of beams are searched, not drawn; leave out do_sample or num_beam_groups")
    if given["coverage_penalty"] and beams == 1:
        raise ValueError(
            f"coverage_penalty={given['coverage_penalty']} ranks beams, and there is one; set num_beams above 1"
        )
    if count > beams and not (beams == 1 and given["do_sample"]):
        raise ValueError(
            f"num_return_sequences={count} is more than num_beams={beams}; raise the beams, or set do_sample=True "
            "with one beam"
        )
    shortest, longest = given.get("min_length", 0), given.get("max_length")
    if longest is not None and shortest > longest:
        raise ValueError(f"min_length={shortest} is above max_length={longest}; lower the one or raise the other")
