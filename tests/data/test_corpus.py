import logging

import pytest

from undula.data.corpus import load_documents


def test_python_docs_is_the_language_reference():
    documents = load_documents("python-docs")
    assert len(documents) >= 70
    assert sum(map(len, documents)) > 400_000
    assert any(text.startswith('The "assert" statement\n') for text in documents)
    assert documents == load_documents("python-docs")


def test_a_file_is_one_document_unchanged(tmp_path):
    text = "first\r\n\r\n\r\n  second\tthird  \né 😀 no newline at the end"
    (tmp_path / "a.txt").write_bytes(text.encode())
    assert load_documents(str(tmp_path / "a.txt")) == [text]


def test_byte_order_mark_goes(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfabc")
    assert load_documents(str(tmp_path / "a.txt")) == ["abc"]


def test_a_folder_is_read_below_and_sorted_by_path(tmp_path, caplog):
    for name in ("b.txt", "a/z.md", "a/c.txt", ".git/config", ".hidden", "a/.cache/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"text of {name}")
    with caplog.at_level(logging.WARNING):
        assert load_documents(str(tmp_path)) == ["text of a/c.txt", "text of a/z.md", "text of b.txt"]
    assert caplog.records == []


def test_files_that_are_not_text_are_left_out_and_said_so(tmp_path, caplog):
    (tmp_path / "a.txt").write_text("good")
    (tmp_path / "b.png").write_bytes(b"\x89PNG\0\0")
    (tmp_path / "c.txt").write_bytes(b"")
    with caplog.at_level(logging.WARNING):
        assert load_documents(str(tmp_path)) == ["good"]
    assert caplog.messages[0].startswith("left out 2 of 3 files")
    assert "b.png" in caplog.messages[0]


def test_a_missing_source_suggests_the_corpus(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"'python-doc': no such file .* did you mean 'python-docs'"):
        load_documents("python-doc")
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        load_documents(str(tmp_path / "absent.txt"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.txt is empty; give a file with text"),
        (b" \n\t\r\n", "a.txt is empty"),
        (b"abc\0def", r"a.txt is not text \(NUL byte at 3\)"),
        (b"caf\xe9", r"a.txt is not UTF-8 text \(byte 0xe9 at 3\); convert it"),
        ("abc".encode("utf-16"), "a.txt is not text"),
    ],
)
def test_files_that_are_no_text_are_refused(tmp_path, content, message):
    (tmp_path / "a.txt").write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_documents(str(tmp_path / "a.txt"))


def test_folders_without_text_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"holds no text file \(no file\)"):
        load_documents(str(tmp_path))
    (tmp_path / "b.bin").write_bytes(b"\0")
    with pytest.raises(ValueError, match=r"holds no text file \(1 files, the first: .*b.bin is not text"):
        load_documents(str(tmp_path))
