"""Files of one table of rows in every container: the same records come out."""

import gzip
import json

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rlhf.data.reading.reader import Options, Reader

ROWS = [
    {"id": "a", "user_id": "u1", "text": 'Say "ah", then\nbreathe; twice', "mood": "calm"},
    {"id": "b", "user_id": "u2", "text": "Où est le café – 雨?"},
    {"id": "c", "user_id": "u1", "text": "Plain\twords, here"},
]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)


def csv(delimiter=",", end="\r\n"):
    quoted = [
        ["id", "user_id", "text", "mood"],
        *([row.get(name, "") for name in ("id", "user_id", "text", "mood")] for row in ROWS),
    ]
    return "".join(
        delimiter.join('"' + cell.replace('"', '""') + '"' for cell in cells) + end for cells in quoted
    )


def zstd(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()


TEXTS = {
    "x.jsonl": LINES.encode(),
    "x.json": json.dumps(ROWS).encode(),
    "pretty.json": json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
    "bom.json": b"\xef\xbb\xbf" + json.dumps(ROWS, indent="\t").encode(),
    "line.jsonl": b"\n " + json.dumps(ROWS).encode() + b"\n",
    "rows.json": ("[" + ",\n".join(json.dumps(row) for row in ROWS) + "]\n").encode(),
    "held.json": json.dumps({"version": 2, "data": ROWS}, indent=1).encode(),
    "spread.json": "\n".join(json.dumps(row, indent=2) for row in ROWS).encode(),
    "x.csv": csv().encode(),
    "bom.csv": b"\xef\xbb\xbf" + csv().encode(),
    "semicolons.csv": csv(";", "\n").encode(),
    "tabs.csv": csv("\t").encode(),
    "x.tsv": csv("\t", "\n").encode(),
    "bars.csv": csv("|").encode(),
    "wide.csv": csv("\t").encode("utf-16"),
}


def rows_of(path, **options):
    reader = Reader("prompts", [path], Options(**options))
    found = [
        (record["id"], record["user_id"], record["messages"][-1]["content"], record["extra"])
        for record in reader.records()
    ]
    return found, [reject.sentence() for reject in reader.rejects]


WHOLE = [
    (row["id"], row["user_id"], row["text"], '{"mood":"calm"}' if "mood" in row else None) for row in ROWS
]


@pytest.mark.parametrize("pack", [None, "gz", "zst"])
@pytest.mark.parametrize("name", TEXTS)
def test_text_of_every_kind(tmp_path, name, pack):
    path = tmp_path / (f"{name}.{pack}" if pack else name)
    path.write_bytes({None: bytes, "gz": gzip.compress, "zst": zstd}[pack](TEXTS[name]))
    assert rows_of(path) == (WHOLE, [])


def test_several_frames_and_members_are_one_text(tmp_path):
    for name, pack in (("x.jsonl.gz", gzip.compress), ("x.jsonl.zst", zstd)):
        path = tmp_path / name
        path.write_bytes(pack(LINES[:50].encode()) + pack(LINES[50:].encode()))
        assert rows_of(path) == (WHOLE, [])


@pytest.mark.parametrize("pack", [None, "gz", "zst"])
@pytest.mark.parametrize("writer", ["pandas", "polars", "arrow", "datasets"])
def test_parquet_of_every_writer(tmp_path, writer, pack):
    path = tmp_path / "x.parquet"
    if writer == "pandas":
        pl.DataFrame(ROWS).to_pandas().to_parquet(path)
    elif writer == "polars":
        pl.DataFrame(ROWS).with_columns(pl.col("user_id").cast(pl.Categorical)).write_parquet(path)
    elif writer == "datasets":
        import datasets

        datasets.Dataset.from_list([{"mood": None, **row} for row in ROWS]).to_parquet(path)
    else:
        schema = pa.schema([("id", pa.large_string()), ("user_id", pa.dictionary(pa.int8(), pa.string())),
                            ("text", pa.large_string()), ("mood", pa.string_view())])  # fmt: skip
        pq.write_table(pa.Table.from_pylist(ROWS, schema), path)
    if pack:
        packed = tmp_path / f"x.parquet.{pack}"
        packed.write_bytes({"gz": gzip.compress, "zst": zstd}[pack](path.read_bytes()))
        path = packed
    assert rows_of(path) == (WHOLE, [])


MESSAGES = [
    {"role": "user", "content": "Hi."},
    {"role": "assistant", "content": "Hello."},
    {"role": "user", "content": "Why?"},
]


def columns(messages):
    return {"role": [turn["role"] for turn in messages], "content": [turn["content"] for turn in messages]}


@pytest.mark.parametrize(
    "messages",
    [
        MESSAGES,
        json.dumps(MESSAGES),
        columns(MESSAGES),
        str(MESSAGES),
        [turn | {"name": None, "tool_calls": [], "tool_call_id": None} for turn in MESSAGES],
        [
            turn | {"content": [{"type": "text", "text": turn["content"], "image_url": None}]}
            for turn in MESSAGES
        ],
    ],
)
def test_messages_in_parquet(tmp_path, messages):
    pq.write_table(
        pa.Table.from_pylist([{"id": "a", "user_id": 3.0, "messages": messages}]), tmp_path / "x.parquet"
    )
    reader = Reader("prompts", [tmp_path / "x.parquet"])
    (record,) = reader.records()
    assert record["messages"] == MESSAGES and record["user_id"] == "3"


def test_empty_lists_and_nulls_cost_their_row_alone(tmp_path):
    rows = [{"id": "a", "user_id": "u", "messages": []}, {"id": "b", "user_id": "u", "messages": MESSAGES},
            {"id": "c", "user_id": None, "messages": MESSAGES}, {"id": "d", "user_id": "u", "messages": None}]  # fmt: skip
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "x.parquet")
    found, rejects = rows_of(tmp_path / "x.parquet")
    assert [row[0] for row in found] == ["b"]
    assert [sentence.split(":")[0] for sentence in rejects] == [
        "x.parquet, line 1, field messages", "x.parquet, line 3, field user_id", "x.parquet, line 4, field text or messages"
    ]  # fmt: skip


def test_whole_numbers_in_float_columns_are_ids_and_times_come_in_units(tmp_path):
    frame = pl.DataFrame(
        {
            "id": [1.0, 2.0],
            "user_id": [7.0, 8.0],
            "text": ["Why?", "How?"],
            "created_at": [1.7676e18, 1767600000.0],
        }
    )
    frame.write_parquet(tmp_path / "x.parquet")
    reader = Reader("prompts", [tmp_path / "x.parquet"])
    found = [(record["id"], record["user_id"], record["created_at"]) for record in reader.records()]
    assert found == [("1", "7", "2026-01-05T08:00:00Z"), ("2", "8", "2026-01-05T08:00:00Z")]
    assert reader.done() == {"whole-number ids read as text": 4, "times in nanoseconds": 1}


def test_a_folder_gives_its_files_and_what_their_folders_say(tmp_path):
    folder = tmp_path / "table"
    frame = pl.DataFrame(ROWS).with_columns(pl.lit("2024 spring").alias("season"))
    frame.to_pandas().to_parquet(folder, partition_cols=["season", "user_id"])
    (folder / "_SUCCESS").write_text("")
    (folder / ".part-9.parquet.crc").write_text("")
    found, rejects = rows_of(folder)
    assert rejects == []
    assert {row[:3] for row in found} == {row[:3] for row in WHOLE}
    assert all('"season":"2024 spring"' in row[3] for row in found)
    with pytest.raises(ValueError, match="is a directory that holds no file of records"):
        (tmp_path / "empty").mkdir()
        rows_of(tmp_path / "empty")


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_file_that_was_cut_gives_what_it_holds(tmp_path, pack):
    many = "".join(
        json.dumps({"id": f"r{at}", "user_id": "u", "text": f"Question number {at * at * 7919}?"}) + "\n"
        for at in range(60_000)
    )
    (tmp_path / "x.jsonl.gz").write_bytes(pack(many.encode())[:-2000])
    found, rejects = rows_of(tmp_path / "x.jsonl.gz")
    assert 50_000 < len(found) < 60_000
    assert len(rejects) == 1 and "compressed file" in rejects[0]


def test_an_array_that_was_cut_or_has_a_fault_gives_the_others(tmp_path):
    text = json.dumps(ROWS, indent=2, ensure_ascii=False)
    path = tmp_path / "x.json"
    path.write_text(text[:-40])
    found, rejects = rows_of(path)
    assert [row[0] for row in found] == ["a", "b"] and len(rejects) == 1
    path.write_text(text.replace('"id": "b"', '"id" "b"'))
    found, rejects = rows_of(path)
    assert [row[0] for row in found] == ["a", "c"]
    assert "not JSON" in rejects[0] and "line 8" in rejects[0]


def test_rows_of_csv_that_are_wrong_cost_themselves(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"id,user_id,text\na,u,Why?\nb,u,How?,more\nc,u\nd,u,caf\xe9\ne,u,When?\n\nf,u,Who?\n")
    found, rejects = rows_of(path)
    assert [row[0] for row in found] == ["a", "e", "f"]
    assert [sentence.split(": ", 1)[0] for sentence in rejects] == [
        "x.csv, line 3", "x.csv, line 4, field text or messages", "x.csv, line 5, field text"
    ]  # fmt: skip


def test_lists_in_csv_are_json_or_what_pandas_writes(tmp_path):
    rows = [{"id": "a", "user": 5, "messages": MESSAGES}, {"id": "b", "user": 6, "messages": MESSAGES[:1]}]
    frame = pl.DataFrame(rows).to_pandas()
    frame["messages"] = [list(map(dict, turns)) for turns in frame["messages"]]
    frame.to_csv(tmp_path / "x.csv", index=True)
    found, rejects = rows_of(tmp_path / "x.csv")
    assert rejects == []
    assert [row[:3] for row in found] == [("a", "5", "Why?"), ("b", "6", "Hi.")]
