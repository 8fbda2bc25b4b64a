import gzip
import json
from datetime import date, datetime

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlhf.data import contract

GOOD = {"id": "p1", "user_id": "u", "text": "What is rain?"}


def read(tmp_path, content: bytes, kind="prompts", name="x.jsonl"):
    path = tmp_path / name
    path.write_bytes(content)
    rejects: list[contract.Reject] = []
    return list(contract.read(kind, [path], rejects)), rejects


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"id": 7}, "id"),
        ({"id": ""}, "id"),
        ({"user_id": None}, "user_id"),
        ({"text": "  \n"}, "text"),
        ({"text": "a\x00b"}, "text"),
        ({"text": None}, "text"),
        ({"messages": [{"role": "user", "content": "x"}]}, "text"),
        ({"text": None, "messages": []}, "messages"),
        ({"text": None, "messages": [{"role": "robot", "content": "x"}]}, "messages[0].role"),
        ({"text": None, "messages": [{"role": "assistant", "content": "x"}]}, "messages"),
        ({"text": None, "messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"source": "web"}, "source"),
        ({"use_case": "poetry"}, "use_case"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": 12}, "created_at"),
        ({"created_at": "2999-01-01T00:00:00Z"}, "created_at"),
        ({"created_at": True}, "created_at"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, change, field):
    row = {key: value for key, value in (GOOD | change).items() if value is not None}
    kept, rejects = read(
        tmp_path, json.dumps(row).encode() + b"\n" + json.dumps(GOOD | {"id": "p2"}).encode()
    )
    assert [record["id"] for record in kept] == ["p2"]
    assert [(reject.line, reject.field) for reject in rejects] == [(1, field)]


@pytest.mark.parametrize(
    "line",
    [b"{", b"[1]", b"\xff\xfe{}", b'{"id": "a", "text": "\\ud800"}', b"[" * 100_000, b"null", b'"x"'],
)
def test_a_broken_line_is_set_aside_and_the_others_stay(tmp_path, line):
    good = json.dumps(GOOD).encode()
    kept, rejects = read(tmp_path, line + b"\n" + good + b"\n")
    assert [record["id"] for record in kept] == ["p1"]
    assert rejects[0].line == 1


def test_a_line_that_never_ends_is_set_aside(tmp_path):
    long = json.dumps(GOOD | {"id": "long", "text": "x" * contract.MAX_LINE}).encode()
    kept, rejects = read(tmp_path, long + b"\n" + json.dumps(GOOD).encode())
    assert [record["id"] for record in kept] == ["p1"]
    assert "longer" in rejects[0].reason


def test_an_id_is_used_once(tmp_path):
    line = json.dumps(GOOD).encode() + b"\n"
    kept, rejects = read(tmp_path, line + line)
    assert len(kept) == 1
    assert (rejects[0].line, rejects[0].field, rejects[0].reason) == (
        2,
        "id",
        "already used in x.jsonl, line 1",
    )


def test_unknown_fields_are_kept(tmp_path):
    kept, _ = read(tmp_path, json.dumps(GOOD | {"model": "m", "tags": [1]}).encode())
    assert json.loads(kept[0]["extra"]) == {"model": "m", "tags": [1]}


@pytest.mark.parametrize(
    ("given_time", "normal"),
    [
        ("2024-05-01T12:00:00+02:00", "2024-05-01T10:00:00Z"),
        ("2024-05-01", "2024-05-01T00:00:00Z"),
        (1714557600, "2024-05-01T10:00:00Z"),
        (1714557600.5, "2024-05-01T10:00:00.500000Z"),
        ("2024-05-01t10:00:00z", "2024-05-01T10:00:00Z"),
        ("20240501T100000,25-0130", "2024-05-01T11:30:00.250000Z"),
        ("2024-05-01 10:00:00.123456789", "2024-05-01T10:00:00.123456Z"),
        ("2024-W18-3", "2024-05-01T00:00:00Z"),
        ("2016-12-31T23:59:60Z", "2017-01-01T00:00:00Z"),
        (date(2024, 5, 1), "2024-05-01T00:00:00Z"),
        (datetime(2024, 5, 1, 10), "2024-05-01T10:00:00Z"),
    ],
)
def test_times_become_utc(given_time, normal):
    assert contract.created_at(given_time) == normal


@pytest.mark.parametrize(
    "given_time",
    [
        "1714557600", "2024", "2024-05", "2024-05-01x10:00", "2024-05-01T24:00:00", "2024-05-01T10:00:60Z", "٢٠٢٤-٠٥-٠١",
        "0000-01-01", "9999-12-31T23:59:59-23:00", "2024-05-01T10:00:00+99:00", 1714557600000, 1e300, float("nan"),
        float("inf"), 10**30, -1, False, ["2024-05-01"], b"2024-05-01", "2024-05-01T10:00:00 UTC",
    ],
)  # fmt: skip
def test_other_times_are_wrong(given_time):
    with pytest.raises(contract.Wrong) as wrong:
        contract.created_at(given_time)
    assert wrong.value.field == "created_at"


def test_a_null_is_an_absent_field_and_unknown_fields_of_messages_are_kept(tmp_path):
    row = {"id": "a", "user_id": "u", "text": None, "source": None, "use_case": None, "note": None}
    row["messages"] = [{"role": "user", "content": "Why?", "name": "x"}, {"role": "user", "content": "How?"}]
    kept, rejects = read(tmp_path, json.dumps(row).encode())
    assert not rejects
    assert (kept[0]["source"], kept[0]["use_case"]) == ("api", None)
    assert json.loads(kept[0]["extra"]) == {"message_fields": [{"name": "x"}, {}], "note": None}


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b'{"id":"a","id":"b","user_id":"u","text":"x"}', "id"),
        (b'{"id" : "a","user_id":"u","text":"x","id":"b"}', "id"),
        (
            b'{"id":"a","user_id":"u","messages":[{"role":"user","content":"x","content":"y"}]}',
            "messages[0].content",
        ),
        (b'{"id":"a","user_id":"u","text":"x","z":{"q":1,"q":2}}', ""),
    ],
)
def test_a_key_that_is_given_twice_is_ambiguous(tmp_path, line, field):
    kept, rejects = read(tmp_path, line)
    assert kept == []
    assert [(reject.field, "twice" in reject.reason) for reject in rejects] == [(field, True)]


def test_what_a_line_holds_is_in_no_reason(tmp_path):
    secret = "anna@fernmail.org"
    rows = [
        {secret: 1, "id": secret}, {"id": 1, "user_id": secret}, GOOD | {"source": secret}, GOOD | {"created_at": secret},
        GOOD | {"messages": [secret]}, {**GOOD, "id": secret, "user_id": None}, {**GOOD, "text": secret + "\x00"},
    ]  # fmt: skip
    lines = [json.dumps(row).encode() for row in rows] + [
        secret.encode(),
        b'{"%s":1,"%s":2}' % ((secret.encode(),) * 2),
    ]
    kept, rejects = read(tmp_path, b"\n".join(lines))
    assert kept == [] and len(rejects) == len(lines)
    assert not any(secret in json.dumps(reject.as_dict()) for reject in rejects)


def test_gzip_and_parquet_hold_the_same_records(tmp_path):
    rows = [GOOD, {"id": "p2", "user_id": "u", "text": "Why?", "created_at": "2024-05-01T10:00:00Z"}]
    lines = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    plain, _ = read(tmp_path, lines)
    packed, _ = read(tmp_path, gzip.compress(lines), name="x.jsonl.gz")
    pl.DataFrame(rows).write_parquet(tmp_path / "x.parquet")
    rejects: list[contract.Reject] = []
    assert plain == packed == list(contract.read("prompts", [tmp_path / "x.parquet"], rejects))
    assert not rejects


def test_a_truncated_archive_gives_what_it_holds_and_says_so(tmp_path):
    lines = b"".join(
        json.dumps(GOOD | {"id": f"p{i}", "text": f"Why {i}?"}).encode() + b"\n" for i in range(5000)
    )
    kept, rejects = read(tmp_path, gzip.compress(lines)[:-2000], name="x.jsonl.gz")
    assert 0 < len(kept) < 5000
    assert "ends too early" in rejects[-1].reason
    kept, rejects = read(tmp_path, b"PAR1 no more", name="x.parquet")
    assert not kept
    assert "Parquet" in rejects[0].reason


COMPARISON = {
    "id": "c",
    "prompt_id": "p",
    "labeler_id": "l",
    "completions": [{"text": "a"}, {"text": ""}, {"text": "c"}],
    "ranks": [1, 2, 2],
}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ranks": [1, 2]}, "ranks"),
        ({"ranks": [1, 2.5, 3]}, "ranks"),
        ({"ranks": [1, 2, 4]}, "ranks"),
        ({"ranks": [2, 2, 3]}, "ranks"),
        ({"ranks": [1, 2, True]}, "ranks"),
        ({"ranks": None}, "ranks"),
        ({"completions": [{"text": "a"}]}, "completions"),
        ({"completions": ["a", "b", "c"]}, "completions[0].text"),
        ({"ratings": [1, 8, 3]}, "ratings"),
        ({"prompt_id": None}, "prompt_id"),
    ],
)
def test_ranks_match_completions(change, field):
    assert contract.check_comparison(COMPARISON)["ranks"] == [1, 2, 2]
    assert contract.check_comparison({**COMPARISON, "ranks": [1.0, 2.0, 2]})["ranks"] == [1, 2, 2]
    with pytest.raises(contract.Wrong) as wrong:
        contract.check_comparison({key: v for key, v in (COMPARISON | change).items() if v is not None})
    assert wrong.value.field == field


def test_a_demonstration_has_a_completion():
    row = {"id": "d", "text": "Why?", "labeler_id": "l", "completion": " "}
    with pytest.raises(contract.Wrong) as wrong:
        contract.check_demonstration(row)
    assert wrong.value.field == "completion"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = (
    "id",
    "user_id",
    "text",
    "messages",
    "completion",
    "labeler_id",
    "created_at",
    "ranks",
    "completions",
    "round",
)


@given(st.dictionaries(st.sampled_from(FIELDS), JSON), st.sampled_from(sorted(contract.CHECKS)))
def test_whatever_comes_is_a_record_or_wrong(row, kind):
    try:
        record = contract.CHECKS[kind](row)
    except contract.Wrong as wrong:
        assert wrong.reason
    else:
        assert record["id"].strip()
