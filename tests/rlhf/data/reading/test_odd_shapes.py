"""Odd shapes in every format: nothing crashes, no good record is lost, and each refusal names file, line and reason."""

import copy
import csv
import io
import json
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st

from rlhf.data.reading.drafts import CONTENT
from rlhf.data.reading.reader import Options, Reader
from rlhf.data.reading.recognition import FORMATS

LEAF = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**19),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from(
        [
            "user",
            "assistant",
            "tool",
            "text",
            "image_url",
            "[]",
            "{}",
            '[{"role": "user", "content": "x"}]',
            "\u0000",
            "2024",
            "1e5",
        ]
    ),
)
KEYS = st.sampled_from(
    [
        "role",
        "content",
        "type",
        "text",
        "from",
        "value",
        "messages",
        "prompt",
        "input",
        "output",
        "parts",
        "id",
        "user_id",
        "replies",
        "attributes",
        "key",
        "response",
        "choices",
        "message",
        "body",
        "history",
        "observations",
        "spans",
        "created_at",
        "source",
        *CONTENT,
    ]
)
ODD = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=6
)
BASES = [dict(format.example) for format in FORMATS if set(format.kinds) & {"prompts", "demonstrations"}]


def places(value, path=()):
    """Every place in a value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


@st.composite
def odd_rows(draw):
    """A record of some format with an odd value somewhere, or an odd field more, or one less."""
    row = copy.deepcopy(draw(st.sampled_from(BASES)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(places(row), key=str)))
        if not path:
            row[draw(KEYS)] = draw(ODD)
            continue
        holder = row
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.booleans()) or isinstance(holder, list):
            holder[path[-1]] = draw(ODD)
        else:
            del holder[path[-1]]
    return row


def good(at):
    said = [{"role": "user", "content": f"Question {at}?"}, {"role": "assistant", "content": f"Answer {at}."}]
    if at % 2:
        return {"id": f"good-{at}", "user_id": "u", "labeler_id": "l", "messages": said}
    turns = [{"from": "human", "value": f"Question {at}?"}, {"from": "gpt", "value": f"Answer {at}."}]
    return {"id": f"good-{at}", "conversations": turns}


def read_all(path, kind):
    reader = Reader(kind, [path], Options(users="one-each"))
    found = {record["id"]: record for record in reader.records()}
    for reject in reader.rejects:
        assert reject.file == path.name and reject.reason and reject.line > 0
    assert all(isinstance(line, str) for line in reader.lines())
    return found, reader


@settings(max_examples=200)
@given(
    st.lists(odd_rows() | ODD, min_size=1, max_size=4),
    st.sampled_from(["prompts", "demonstrations", "comparisons"]),
)
def test_odd_records_cost_themselves_alone(tmp_path_factory, odd, kind):
    path = tmp_path_factory.mktemp("odd") / "x.jsonl"
    rows = [row for at, item in enumerate(odd) for row in (good(at), item)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found, _ = read_all(path, kind)
    if kind != "comparisons":
        for at in range(len(odd)):
            assert found[f"good-{at}"]["messages"] == [{"role": "user", "content": f"Question {at}?"}]
    for record in found.values():
        assert record["id"].strip()
        roles = [turn["role"] for turn in record.get("messages", [])]
        assert kind == "comparisons" or roles[-1] == "user"
        assert all(first != second for first, second in pairwise(roles))
        assert all(turn["content"].strip() for turn in record.get("messages", []))


@given(st.lists(odd_rows(), min_size=1, max_size=3), st.integers(0, 3))
def test_an_array_of_odd_records_is_read_as_its_lines_are(tmp_path_factory, odd, indent):
    folder = tmp_path_factory.mktemp("odd")
    rows = [row for at, item in enumerate(odd) for row in (good(at), item)]
    (folder / "x.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "x.json").write_text(json.dumps(rows, indent=indent or None))
    lines, first = read_all(folder / "x.jsonl", "prompts")
    array, second = read_all(folder / "x.json", "prompts")
    finite = "NaN" not in (text := json.dumps(rows)) and "Infinity" not in text
    if finite:
        assert array == lines
        reasons = [[r.reason.replace("jsonl", "json") for r in seen.rejects] for seen in (first, second)]
        assert reasons[0] == reasons[1], "but for the file's name, which a reason may hold"
    assert all(f"good-{at}" in array for at in range(len(odd)))


@given(st.lists(st.lists(st.text(max_size=6), min_size=1, max_size=4), max_size=4), st.sampled_from(",;\t|"))
def test_tables_of_odd_cells_lose_no_good_row(tmp_path_factory, odd, delimiter):
    path = tmp_path_factory.mktemp("odd") / "x.csv"
    target = io.StringIO()
    writer = csv.writer(target, delimiter=delimiter)
    writer.writerow(["id", "user_id", "text"])
    for at, cells in enumerate(odd):
        writer.writerow([f"good-{at}", "u", f"Question {at}?"])
        writer.writerow(cells)
    writer.writerow(["good-last", "u", "Why?"])
    path.write_bytes(target.getvalue().encode("utf-8", "surrogatepass"))
    found, _ = read_all(path, "prompts")
    assert {*(f"good-{at}" for at in range(len(odd))), "good-last"} <= found.keys()


@given(
    st.binary(max_size=60),
    st.sampled_from(["x.csv", "x.json", "x.tsv", "x.jsonl", "x.json.gz", "x.parquet"]),
    st.integers(0, 400),
)
def test_damaged_files_crash_nothing(tmp_path_factory, junk, name, at):
    path = tmp_path_factory.mktemp("odd") / name
    rows = [good(at) for at in range(1, 6, 2)]
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path)
        whole = path.read_bytes()
    else:
        whole = (
            json.dumps(rows, indent=1).encode()
            if ".json" in name
            else b"id,user_id,text\na,u,Why?\nb,u,How?\n"
        )
    path.write_bytes(whole[:at] + junk + whole[at + len(junk) // 2 :])
    read_all(path, "prompts")
