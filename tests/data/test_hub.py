import sys

import pytest

from tests.data.fineweb import web_texts, write_rows
from undula.cli.main import explained
from undula.data.build import prepare
from undula.data.config import DataConfig
from undula.data.corpus import load_documents

CARD = """---
configs:
- config_name: default
  data_files: data/*
- config_name: sample-10BT
  data_files: sample/10BT/*
---
"""


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A copy of the repository's layout: the library takes a folder of that name for the data set itself."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "datasets"))
    folder = tmp_path / "HuggingFaceFW" / "fineweb-edu"
    write_rows(folder / "sample" / "10BT" / "000_00000.parquet", web_texts(60))
    write_rows(folder / "sample" / "10BT" / "001_00000.parquet", ["", None, *web_texts(60, seed=1)])
    write_rows(folder / "data" / "000.parquet", web_texts(5, seed=2))
    (folder / "README.md").write_text(CARD)
    return folder


def test_fineweb_is_its_sample_and_fetched_once(hub, tmp_path):
    texts = web_texts(60) + web_texts(60, seed=1)
    documents = load_documents("fineweb", 10**9, tmp_path / "cache")
    assert list(documents) == texts
    for path in hub.rglob("*.parquet"):
        path.unlink()
    assert list(load_documents("fineweb", 10**9, tmp_path / "cache")) == texts
    assert [p.name for p in (tmp_path / "cache" / "hub").iterdir()] == [
        "HuggingFaceFW--fineweb-edu--sample-10BT--1000000000.parquet"
    ]


def test_any_data_set_is_named_by_owner_name_and_config(hub, tmp_path):
    cache = tmp_path / "cache"
    assert list(load_documents("hub:HuggingFaceFW/fineweb-edu", 10**6, cache)) == web_texts(5, seed=2)
    limited = load_documents("hub:HuggingFaceFW/fineweb-edu:sample-10BT", 12_000, cache)
    assert list(limited) == web_texts(60)[:10]  # 1199 bytes each
    assert list(load_documents("fineweb", 12_000, cache)) == list(limited)


def test_a_run_reads_it(hub, tmp_path):
    config = DataConfig(source="fineweb", max_bytes=10**6, tokenizer="bpe", vocab_size=300, block_size=32)
    prepared = prepare(config, tmp_path / "cache")
    assert prepared.train.num_documents + prepared.validation.num_documents == 120
    assert prepared.train.byte_count() + prepared.validation.byte_count() == 120 * 1199


def test_a_limit_is_asked_for(tmp_path):
    with pytest.raises(ValueError, match=r"'fineweb' may be very large; say .* data.max_bytes=1000000000"):
        load_documents("fineweb", None, tmp_path)


@pytest.mark.parametrize("source", ["hub:", "hub:name", "hub:a/b/c", "hub:a/b:", "hub:../b", "hub:a/b:c:d"])
def test_malformed_names_are_refused(tmp_path, source):
    with pytest.raises(ValueError, match=r"wanted hub:OWNER/NAME or hub:OWNER/NAME:CONFIG, such as hub:"):
        load_documents(source, 1000, tmp_path)


def refused(kind, tmp_path, source="fineweb"):
    with pytest.raises(kind) as caught:
        load_documents(source, 10**6, tmp_path / "cache")
    assert [p for p in (tmp_path / "cache").rglob("*") if p.is_file()] == []
    code, line = explained(caught.value)
    assert code == 2
    return line


def test_a_data_set_out_of_reach_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = refused(OSError, tmp_path)
    assert line.startswith("cannot read data source 'fineweb' (Couldn't reach 'HuggingFaceFW/fineweb-edu' on the Hub")
    assert "check its name and the network" in line


def test_a_connection_lost_halfway_leaves_nothing(hub, tmp_path):
    second = hub / "sample" / "10BT" / "001_00000.parquet"
    second.write_bytes(second.read_bytes()[:3000])
    assert "'fineweb'" in refused((ValueError, OSError), tmp_path)


def test_what_has_no_texts_is_named(hub, tmp_path):
    line = refused(ValueError, tmp_path, "hub:HuggingFaceFW/fineweb-edu:other")
    assert "'hub:HuggingFaceFW/fineweb-edu:other'" in line
    assert "sample-10BT" in line  # the configurations there are
    write_rows(hub / "data" / "000.parquet", [1, 2])
    line = refused(ValueError, tmp_path, "hub:HuggingFaceFW/fineweb-edu")
    assert "has the columns text, id, dump," in line
    assert line.endswith("wanted strings in one named 'text'")
    write_rows(hub / "data" / "000.parquet", ["", " "])
    assert "no row has text" in refused(ValueError, tmp_path, "hub:HuggingFaceFW/fineweb-edu")


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert refused(ImportError, tmp_path) == "datasets is not installed; pip install 'undula[datasets]'"
