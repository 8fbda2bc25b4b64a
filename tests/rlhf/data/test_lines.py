"""Files, as they come: encodings, line ends, archives and Parquet, whole and damaged."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlhf.data import contract, lines

ROWS = [
    {"id": f"p{at}", "user_id": "u", "text": f"What is rain in {at}\u2028 – été 雨?"} for at in range(200)
]
TEXT = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def read(*files: Path):
    rejects: list[contract.Reject] = []
    return [record["id"] for record in contract.read("prompts", list(files), rejects)], rejects


def written(folder: Path, content: bytes, name="x.jsonl") -> Path:
    (folder / name).write_bytes(content)
    return folder / name


EVERY = [row["id"] for row in ROWS]


@pytest.mark.parametrize(
    "content",
    [
        b"\xef\xbb\xbf" + TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        TEXT.replace("\n", "\r").encode(),
        TEXT.replace("\n", "\n\n \t\r\n").encode(),
        TEXT.rstrip("\n").encode(),
        gzip.compress(TEXT.encode()),
        gzip.compress(TEXT[:5000].encode()) + b"\0" * 99 + gzip.compress(TEXT[5000:].encode()),
        b"".join(b"\xef\xbb\xbf" + (line + "\n").encode() for line in TEXT.split("\n")),
    ],
)
@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.txt"])
def test_what_is_no_fault_of_the_lines_costs_none(tmp_path, content, name):
    assert read(written(tmp_path, content, name)) == (EVERY, [])


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
def test_each_line_of_a_wide_file_is_set_aside(tmp_path, encoding):
    kept, rejects = read(written(tmp_path, TEXT.encode(encoding)))
    assert kept == []
    assert [reject.line for reject in rejects] == list(range(1, len(ROWS) + 1))
    assert all("UTF" in reject.reason for reject in rejects)


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"\xff\xfe{}", "{}\r".encode("utf-16"), b"{\x00}", b"\x00" * 40, b"\x1f\x8b", b"PAR2"],
)
@pytest.mark.parametrize("at", [0, 1, 2])
def test_one_odd_line_is_no_odd_file(tmp_path, line, at):
    good = TEXT.encode().split(b"\n")[:2]
    kept, rejects = read(written(tmp_path, b"\n".join([*good[:at], line, *good[at:]])))
    if (line, at) != (b"\x1f\x8b", 0):  # that is how gzip begins
        assert kept == EVERY[:2]
    assert rejects[0].line == at + 1


def test_lines_that_are_too_long_cost_only_themselves(tmp_path):
    long = json.dumps({"id": "long", "user_id": "u", "text": "x" * lines.MAX_LINE}).encode()
    fits = json.dumps({"id": "fits", "user_id": "u", "text": "x" * (lines.MAX_LINE - 99)}).encode()
    good = TEXT.encode()
    kept, rejects = read(written(tmp_path, long + b"\n" + good + long * 3 + b"\n" + fits + b"\n" + long))
    assert kept == [*EVERY, "fits"]
    assert [reject.line for reject in rejects] == [1, 202, 204]


@pytest.mark.parametrize("cut", [1, 7, 8, 9, 40, 300, 3000])
def test_a_cut_archive_gives_every_line_before_the_cut(tmp_path, cut):
    whole = gzip.compress(TEXT.encode(), mtime=0)
    content = whole[: max(1, len(whole) - cut)]
    kept, rejects = read(written(tmp_path, content, "x.gz"))
    assert kept == EVERY[: len(kept)]
    if cut <= 8:
        assert kept == EVERY
    if len(content) > 1:
        assert [reject.line for reject in rejects] == [len(kept) + 1]
        assert "ends too early" in rejects[0].reason


def test_a_damaged_archive_gives_the_lines_before_the_damage(tmp_path):
    first, second = gzip.compress(TEXT[:5000].encode()), gzip.compress(TEXT[5000:].encode())
    kept, rejects = read(written(tmp_path, first + b"not gzip" + second))
    assert 0 < len(kept) < 200 and kept == EVERY[: len(kept)]
    assert len(rejects) == 1 and "damaged" in rejects[0].reason
    checksum = bytearray(gzip.compress(TEXT.encode()))
    checksum[-6] ^= 1
    kept, rejects = read(written(tmp_path, bytes(checksum)))
    assert kept == EVERY
    assert "checksum" in rejects[0].reason


def test_blocks_read_apart_are_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "_CHUNK", 700)
    path = written(tmp_path, TEXT.encode())
    blocks = list(lines.blocks(path))
    assert len(blocks) > 20
    apart = [pair for block in reversed(blocks) for pair in contract.check_block("prompts", "x.jsonl", block)]
    assert [record["id"] for _, record in sorted(apart, key=lambda pair: pair[0])] == EVERY
    assert {line for line, _ in apart} == set(range(1, 201))


def test_files_of_one_name_are_told_apart(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    files = [written(tmp_path / folder, TEXT[:60].encode()) for folder in ("a", "b")]
    _, rejects = read(*files)
    assert [reject.file for reject in rejects] == [str(file) for file in files]


def test_an_empty_file_holds_nothing(tmp_path):
    for name in ("x.jsonl", "x.gz"):
        assert read(written(tmp_path, b"", name)) == ([], [])


# ---------------------------------------------------------------- Parquet


def table(**columns) -> pa.Table:
    return pa.table({"id": EVERY, "user_id": ["u"] * 200, "text": [row["text"] for row in ROWS], **columns})


def parquet(folder: Path, rows: pa.Table, name="x.parquet", **options) -> Path:
    pq.write_table(rows, folder / name, **options)
    return folder / name


@pytest.mark.parametrize("name", ["x.parquet", "x.jsonl"])
def test_row_groups_and_odd_columns_are_read(tmp_path, name):
    odd = {
        "created_at": pa.array([1714557600123456789] * 200, pa.timestamp("ns", "Europe/Berlin")),
        "nothing": pa.nulls(200),
        "cost": pa.array(["1.5"] * 200).cast(pa.decimal128(5, 2)),
        "raw": [b"\xff\x00"] * 200,
        "deep": [{"a": [{"b": at}]} for at in range(200)],
    }
    path = parquet(tmp_path, table(**odd), name, row_group_size=30)
    rejects: list[contract.Reject] = []
    records = list(contract.read("prompts", [path], rejects))
    assert [record["id"] for record in records] == EVERY and not rejects
    assert records[0]["created_at"] == "2024-05-01T10:00:00.123456Z"
    assert json.loads(records[7]["extra"])["deep"] == {"a": [{"b": 7}]}


@pytest.mark.parametrize(
    ("column", "values", "field"),
    [
        ("id", list(range(200)), "id"),
        ("id", [None] * 200, "id"),
        ("text", [{"said": "x"}] * 200, "text"),
        ("text", [b"x"] * 200, "text"),
        ("text", pa.array([b"caf\xe9"] * 200, pa.binary()).view(pa.string()), "text"),
        ("messages", [[{"role": "user", "content": "x"}]] * 200, "text"),
        ("created_at", [True] * 200, "created_at"),
        ("created_at", pa.array([10**16] * 200, pa.timestamp("ms")), "created_at"),
    ],
)
def test_a_column_of_the_wrong_type_names_each_row(tmp_path, column, values, field):
    rows = table().drop_columns(column) if column in table().column_names else table()
    kept, rejects = read(parquet(tmp_path, rows.append_column(column, [values]), row_group_size=64))
    assert kept == []
    assert [(reject.line, reject.field) for reject in rejects] == [(line, field) for line in range(1, 201)]


def test_conversations_are_read_from_parquet(tmp_path):
    talk = [{"role": "user", "content": "Why?", "name": None}]
    rows = table().drop_columns("text").append_column("messages", [[talk] * 199 + [[]]])
    kept, rejects = read(parquet(tmp_path, rows))
    assert kept == EVERY[:199]
    assert [(reject.line, reject.field) for reject in rejects] == [(200, "messages")]


def test_two_columns_of_one_name_are_ambiguous(tmp_path):
    kept, rejects = read(parquet(tmp_path, table().append_column("text", [EVERY])))
    assert kept == []
    assert {reject.field for reject in rejects} == {"text"} and len(rejects) == 200


def test_a_damaged_row_group_costs_no_other(tmp_path):
    path = parquet(tmp_path, table(), row_group_size=50, write_page_checksum=True, compression="zstd")
    column = pq.ParquetFile(path).metadata.row_group(1).column(2)
    content = bytearray(path.read_bytes())
    content[column.dictionary_page_offset + column.total_compressed_size // 2] ^= 0xFF
    path.write_bytes(bytes(content))
    kept, rejects = read(path)
    assert kept == EVERY[:50] + EVERY[100:]
    assert [reject.line for reject in rejects] == list(range(51, 101))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1 no more", b"{}\n", b"PAR1" * 40])
def test_what_is_no_parquet_is_one_reject(tmp_path, content):
    kept, rejects = read(written(tmp_path, content, "x.parquet"))
    assert (kept, [(reject.line, reject.reason) for reject in rejects]) == (
        [],
        [(1, "not a readable Parquet file")],
    )
