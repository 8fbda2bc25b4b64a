import pytest

from rlhf.records import read_jsonl, write_jsonl


def test_what_is_written_is_read_back(tmp_path):
    rows = [{"id": "a", "text": "Grüße\n\u2028"}, {"id": "b", "ranks": [1, 2, 2]}]
    assert write_jsonl(tmp_path / "new" / "x.jsonl", rows) == 2
    assert list(read_jsonl(tmp_path / "new" / "x.jsonl")) == rows


def test_a_failed_write_leaves_what_was_there(tmp_path):
    path = tmp_path / "x.jsonl"
    write_jsonl(path, [{"id": "old"}])

    def rows():
        yield {"id": "new"}
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_jsonl(path, rows())
    assert list(read_jsonl(path)) == [{"id": "old"}]
    assert [file.name for file in tmp_path.iterdir()] == ["x.jsonl"]


def test_a_bad_line_is_named_and_not_quoted(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"id": "a"}\n\n{"secret": \n')
    with pytest.raises(ValueError, match="line 3") as caught:
        list(read_jsonl(path))
    assert "secret" not in str(caught.value)
