"""Text from a model: told piece by piece, drawn from a seed that nothing else feels."""

import torch

from undula.experiments.run import load_run
from undula.experiments.sample import Sampling, continuation


def test_pieces_join_to_the_whole(trained):
    run, pieces = load_run(trained), []
    ids = continuation(run, "A é", Sampling(max_new_tokens=20), on_text=pieces.append)
    assert len(ids) == 4 + 20
    assert len(pieces) > 4
    assert pieces[0] == "A"
    whole = run.tokenizer.decode(ids)
    # A last character of which some bytes are missing is not told.
    assert whole.rstrip("�").startswith("".join(pieces).rstrip("�"))


def test_an_empty_prompt_is_the_start_of_a_document(trained):
    ids = continuation(load_run(trained), "", Sampling(max_new_tokens=3))
    assert ids[0] == 256
    assert len(ids) == 4


def test_the_seed_is_ours_alone(trained):
    run = load_run(trained)
    before = torch.get_rng_state()
    first = continuation(run, "A", Sampling(max_new_tokens=8, seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(5)
    assert continuation(run, "A", Sampling(max_new_tokens=8, seed=1)) == first
