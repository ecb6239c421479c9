import sys

import pyarrow.parquet
import pytest

from tests.data.fineweb import web_texts, write_rows
from undula.data.corpus import load_documents
from undula.data.documents import open_parquet, within, write_parquet


def test_a_row_is_a_document_and_files_are_read_again(tmp_path):
    texts = web_texts(30)
    write_rows(tmp_path / "a.parquet", texts)
    documents = load_documents(str(tmp_path / "a.parquet"))
    assert list(documents) == texts
    assert list(documents) == texts


def test_a_folder_of_parquet_is_read_by_path_and_the_rest_is_named(tmp_path, caplog):
    texts = web_texts(9)
    write_rows(tmp_path / "b.parquet", texts[6:])
    write_rows(tmp_path / "a" / "z.parquet", texts[:3])
    write_rows(tmp_path / "a.parquet", texts[3:6])
    (tmp_path / "README.md").write_text("about the data")
    assert list(load_documents(str(tmp_path))) == [*texts[3:6], *texts[:3], *texts[6:]]
    assert caplog.messages == [f"left out 1 files of {tmp_path} that are not Parquet"]


def test_rows_without_text_are_no_documents(tmp_path):
    write_rows(tmp_path / "a.parquet", ["one", "", None, " \n", "two"])
    assert list(load_documents(str(tmp_path / "a.parquet"))) == ["one", "two"]
    write_rows(tmp_path / "b.parquet", ["", None])
    with pytest.raises(ValueError, match=r"b.parquet: no row has text in column 'text'"):
        load_documents(str(tmp_path / "b.parquet"))


@pytest.mark.parametrize(("limit", "wanted"), [(3, 1), (6, 1), (7, 2), (11, 2), (12, 3), (99, 3), (None, 3)])
def test_a_limit_takes_the_first_documents_whole(tmp_path, limit, wanted):
    texts = ["abc", "déf", "ghijk"]  # 3, 4 and 5 bytes
    write_rows(tmp_path / "a.parquet", texts)
    assert list(load_documents(str(tmp_path / "a.parquet"), limit)) == texts[:wanted]
    assert list(within(texts, limit)) == texts[:wanted]


def test_a_limit_holds_for_every_source(tmp_path):
    topics = load_documents("python-docs")
    assert load_documents("python-docs", 20_000) == list(within(topics, 20_000))
    (tmp_path / "a.txt").write_text("abc")
    with pytest.raises(ValueError, match=r"max_bytes=2; the first document alone has 3 bytes: allow more"):
        load_documents(str(tmp_path / "a.txt"), 2)


def test_files_of_another_kind_are_refused(tmp_path):
    (tmp_path / "a.parquet").write_text("no Parquet at all")
    with pytest.raises(ValueError, match=r"a.parquet is not a whole Parquet file"):
        load_documents(str(tmp_path / "a.parquet"))
    whole = write_rows(tmp_path / "b.parquet", web_texts(3)).read_bytes()
    (tmp_path / "b.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"b.parquet is not a whole Parquet file"):
        load_documents(str(tmp_path / "b.parquet"))
    write_rows(tmp_path / "c.parquet", [1, 2])
    with pytest.raises(ValueError, match=r"column 'text' holds int64; wanted strings"):
        load_documents(str(tmp_path / "c.parquet"))


def test_a_missing_column_is_named(tmp_path):
    path = tmp_path / "a.parquet"
    write_rows(path, web_texts(2))
    table = pyarrow.parquet.read_table(path).rename_columns({"text": "content"})
    pyarrow.parquet.write_table(table, path)
    with pytest.raises(ValueError, match=r"has the columns content, id, .*; wanted one named 'text': rename it"):
        load_documents(str(path))


def test_without_the_library_the_extra_is_named(tmp_path, monkeypatch):
    write_rows(tmp_path / "a.parquet", web_texts(2))
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(ImportError, match=r"pyarrow.parquet is not installed; pip install 'undula\[datasets\]'"):
        load_documents(str(tmp_path / "a.parquet"))


def test_written_documents_are_read_back(tmp_path):
    texts = ["é😀\r\n", "\x00", *web_texts(1200)]
    write_parquet(iter(texts), tmp_path / "new" / "a.parquet")
    assert list(open_parquet([tmp_path / "new" / "a.parquet"])) == texts
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.parquet"]


def test_damage_is_an_error_and_never_another_text(tmp_path):
    path = tmp_path / "a.parquet"
    write_parquet(web_texts(20), path)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"cannot read .*a.parquet .* it is damaged: remove it"):
        list(open_parquet([path]))


def test_what_fails_halfway_leaves_nothing(tmp_path):
    def broken():
        yield from web_texts(600)
        raise OSError("connection lost")

    with pytest.raises(OSError, match="connection lost"):
        write_parquet(broken(), tmp_path / "a.parquet")
    assert list(tmp_path.iterdir()) == []
