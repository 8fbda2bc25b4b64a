"""What tests of formats share: rows, written as a file and read."""

import json

import pytest

from rlhf.data.reading.reader import Options, Reader


@pytest.fixture
def read(tmp_path):
    """read(rows or bytes, kind, name=, **options) -> (records, reader)."""

    def read(content, kind="prompts", *, name="input.jsonl", **options):
        path = tmp_path / name
        if not isinstance(content, bytes):
            content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content).encode()
        path.write_bytes(content)
        reader = Reader(kind, [path], Options(**options))
        return list(reader.records()), reader

    return read
