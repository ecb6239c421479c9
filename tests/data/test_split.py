import random
import string

import pytest

from tests.data.fineweb import web_texts, write_rows
from undula.data.config import DataConfig
from undula.data.corpus import load_documents
from undula.data.split import Split, cut_at_lines, group_copies, split_documents


def words(rng, n):
    return " ".join("".join(rng.choices(string.ascii_lowercase, k=6)) for _ in range(n))


def corpus(documents, paragraphs=5):
    rng = random.Random(0)
    return ["\n\n".join(words(rng, 20) for _ in range(paragraphs)) for _ in range(documents)]


def held_out_share(split: Split):
    held_out = sum(map(len, split.validation))
    return held_out / (held_out + sum(map(len, split.train)))


@pytest.mark.parametrize("val_fraction", [0.1, 0.25, 0.5])
def test_documents_go_whole_to_one_side(val_fraction):
    documents = corpus(60)
    split = split_documents(documents, DataConfig(val_fraction=val_fraction))
    assert sorted(split.train + split.validation) == sorted(documents)
    assert set(split.train).isdisjoint(split.validation)
    assert held_out_share(split) == pytest.approx(val_fraction, abs=0.02)
    assert split.train == [d for d in documents if d in set(split.train)]  # the order of the corpus


def test_a_copy_is_never_on_the_other_side():
    originals = corpus(30)
    # The same text under another name, once with other line ends and indentation.
    documents = originals + originals[::-1] + [d.replace("\n", "\r\n  ") for d in originals]
    for seed in range(20):
        split = split_documents(documents, DataConfig(split_seed=seed))
        flat = [{" ".join(d.split()) for d in side} for side in split]
        assert flat[0].isdisjoint(flat[1])
        assert len(split.validation) == 9


def test_many_copies_of_a_short_document_stay_together():
    # 30 copies of one line: a paragraph too short and too frequent to count as a passage.
    documents = ["copied line"] * 30 + corpus(40)
    for seed in range(10):
        split = split_documents(documents, DataConfig(split_seed=seed))
        assert split.validation.count("copied line") in (0, 30)


def test_a_document_that_quotes_another_stays_with_it():
    documents = corpus(40)
    documents[7] = documents[3].split("\n\n")[2] + "\n\n" + documents[7]
    documents[9] = documents[7].split("\n\n")[4] + "\n\n" + documents[9]
    groups = group_copies(documents)
    assert [3, 7, 9] in groups
    assert len(groups) == 38
    for seed in range(20):
        split = split_documents(documents, DataConfig(split_seed=seed))
        assert len({documents[i] in split.train for i in (3, 7, 9)}) == 1


def test_a_licence_in_every_file_does_not_join_them():
    licence = "Permission is hereby granted to anybody for anything, without any warranty, in any form."
    documents = [f"{licence}\n\n{text}" for text in corpus(40)]
    assert len(group_copies(documents)) == 40


def passages(texts, length=50):
    rows = [" ".join(text.split()) for text in texts]
    return [row[i : i + length] for row in rows for i in range(len(row) - length + 1)]


@pytest.mark.parametrize("seed", [0, 1])
def test_python_docs_holds_out_text_that_training_does_not_quote(seed):
    split = split_documents(load_documents("python-docs"), DataConfig(split_seed=seed))
    known = set(passages(split.train))
    held_out = passages(split.validation)
    # Topics drawn one by one repeat 20 to 50 % here; what is left are rules of tables and single sentences.
    assert sum(p in known for p in held_out) / len(held_out) < 0.02
    assert held_out_share(split) == pytest.approx(0.1, abs=0.005)


def test_seeds_choose_other_documents():
    documents = corpus(60)
    chosen = {tuple(split_documents(documents, DataConfig(split_seed=s)).validation) for s in range(5)}
    assert len(chosen) == 5


def test_the_choice_depends_on_the_text_alone():
    documents = corpus(60)
    first = split_documents(documents, DataConfig())
    other = split_documents(documents[::-1], DataConfig(tokenizer="bpe", block_size=7, vocab_size=999, rest="dropped"))
    assert set(first.validation) == set(other.validation)


def test_pieces_of_one_text_join_to_it():
    text = "\n".join(corpus(80)) + "\n"
    pieces = cut_at_lines(text)
    assert "".join(pieces) == text
    assert 45 <= len(pieces) <= 50
    assert all(piece.endswith("\n") for piece in pieces)
    assert min(map(len, pieces)) >= len(text) // 50


def test_one_file_is_split_in_pieces_and_neighbours_joined():
    text = "\n".join(corpus(80)) + "\n"
    split = split_documents([text], DataConfig())
    assert held_out_share(split) == pytest.approx(0.1, abs=0.02)
    runs = sorted(split.train + split.validation, key=text.index)
    assert "".join(runs) == text
    sides = [run in split.train for run in runs]
    assert all(a != b for a, b in zip(sides, sides[1:], strict=False))


@pytest.mark.parametrize("cuts", [(1000,), (400, 600), (899, 101), (900, 100)])
def test_tail_is_the_end_of_the_characters(cuts):
    text = "".join(random.Random(1).choices("abc \n", k=1000))
    documents = [text[sum(cuts[:i]) : sum(cuts[: i + 1])] for i in range(len(cuts))]
    split = split_documents(documents, DataConfig(split="tail"))
    assert "".join(split.train) == text[:900]
    assert "".join(split.validation) == text[900:]
    assert all(split.train)
    assert all(split.validation)


def test_tail_has_the_length_of_the_usual_protocol():
    # train = text[: int(0.9 n)], as everybody who reports tiny Shakespeare cuts its 1,115,394 characters.
    split = split_documents(["a" * 1_115_394], DataConfig(split="tail"))
    assert (len(split.train[0]), len(split.validation[0])) == (1_003_854, 111_540)


def test_shares_that_cannot_be_held_out_are_refused():
    with pytest.raises(ValueError, match=r"cannot hold out 10% of .* in 3 separate documents .*use split='tail'"):
        split_documents(corpus(3), DataConfig())
    with pytest.raises(ValueError, match="in 1 separate documents"):
        split_documents(["no line end " * 1000], DataConfig())
    with pytest.raises(ValueError, match="in 1 separate documents"):
        split_documents(corpus(1) * 10, DataConfig())
    with pytest.raises(ValueError, match="give more text"):
        split_documents(["a"], DataConfig(split="tail"))


def split_of_file(path, texts, **options):
    write_rows(path, texts)
    return split_documents(load_documents(str(path)), DataConfig(**options))


@pytest.mark.parametrize("val_fraction", [0.1, 0.5])
def test_documents_in_files_go_whole_to_one_side(tmp_path, val_fraction):
    texts = web_texts(60)
    split = split_of_file(tmp_path / "a.parquet", texts, val_fraction=val_fraction)
    train, held_out = list(split.train), list(split.validation)
    assert len(held_out) == round(60 * val_fraction)
    assert train == [t for t in texts if t not in held_out]  # the order of the corpus
    assert list(split.validation) == held_out  # read again
    chosen = {tuple(split_of_file(tmp_path / "a.parquet", texts, split_seed=s).validation) for s in range(5)}
    assert len(chosen) == 5


def test_the_choice_of_documents_in_files_depends_on_their_text_alone(tmp_path):
    texts = web_texts(60)
    first, other = (
        split_of_file(tmp_path / name, rows) for name, rows in (("a.parquet", texts), ("b.parquet", texts[::-1]))
    )
    assert set(first.validation) == set(other.validation)


@pytest.mark.parametrize(
    "copied",
    [
        lambda text: text,
        lambda text: "  " + text.replace("\n", " \r\n\r\n  ") + "\n",  # other spacing
        lambda text: text.replace("\n", " "),  # other lines
        lambda text: f"Home | About | Sign in\n{text}\nCopyright 2024",  # around it another page
        lambda text: text.upper(),
    ],
    ids=["same", "spacing", "lines", "page", "case"],
)
def test_copies_in_files_are_never_on_the_other_side(tmp_path, copied):
    texts = [f"{text}\n{i} {'longest line of this page ' * 12}" for i, text in enumerate(web_texts(40))]
    for seed in range(5):
        split = split_of_file(tmp_path / "a.parquet", texts + [copied(t) for t in texts], split_seed=seed)
        pages = [{int(t.casefold().partition(" longest line")[0].split()[-1]) for t in side} for side in split]
        assert pages[0].isdisjoint(pages[1])
        assert len(pages[1]) == 4


def test_short_lines_do_not_join_documents(tmp_path):
    texts = [f"{'=' * 79}\n{text[:60]}" for text in web_texts(40)]
    assert len(list(split_of_file(tmp_path / "a.parquet", texts).validation)) == 4


def test_files_that_changed_since_the_split_are_refused(tmp_path):
    split = split_of_file(tmp_path / "a.parquet", web_texts(40))
    write_rows(tmp_path / "a.parquet", web_texts(39))
    with pytest.raises(ValueError, match="the number of documents changed while they were read"):
        list(split.train)


def test_files_that_cannot_be_split_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"split='tail' could hold out copies .*a.parquet; use split='documents'"):
        split_of_file(tmp_path / "a.parquet", web_texts(40), split="tail")
    with pytest.raises(ValueError, match="in 1 separate documents"):
        split_of_file(tmp_path / "a.parquet", web_texts(1) * 40)
