"""Parquet files with the columns of FineWeb-Edu."""

import random
import string

import pyarrow
import pyarrow.parquet


def web_text(rng, lines=4, words=50):
    return "\n".join(
        " ".join("".join(rng.choices(string.ascii_lowercase, k=5)) for _ in range(words)) for _ in range(lines)
    )


def web_texts(count, seed=0):
    rng = random.Random(seed)
    return [web_text(rng) for _ in range(count)]


def write_rows(path, texts, **columns):
    n = len(texts)
    table = {
        "text": texts,
        "id": [f"<urn:uuid:{i}>" for i in range(n)],
        "dump": ["CC-MAIN-2024-10"] * n,
        "url": [f"http://example.org/{i}" for i in range(n)],
        "file_path": ["s3://commoncrawl/x.warc.gz"] * n,
        "language": ["en"] * n,
        "language_score": [0.97] * n,
        "token_count": [200] * n,
        "score": [2.75] * n,
        "int_score": [3] * n,
        **columns,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table(table), path, row_group_size=100)
    return path
