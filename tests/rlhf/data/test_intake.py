import json

import polars as pl
import pytest

from rlhf.data.intake import add, added, remove
from rlhf.records import read_jsonl, write_jsonl

ROWS = [
    {"id": "a", "user_id": "u", "text": "What is rain?", "mood": "good"},
    {"id": "b", "user_id": "u", "text": "Why?"},
]

RANKED = {
    "id": "g",
    "prompt_id": "p",
    "labeler_id": "l",
    "completions": [{"text": "x"}, {"text": "y"}],
    "ranks": [1, 1],
}


def test_files_are_named_by_content_and_adding_twice_changes_nothing(tmp_path):
    write_jsonl(tmp_path / "mine.jsonl", ROWS)
    first = add("prompts", [tmp_path / "mine.jsonl"], tmp_path / "raw")
    assert add("prompts", [tmp_path / "mine.jsonl"], tmp_path / "raw") == first
    (name,) = first
    assert first[name] == 2
    assert len(list((tmp_path / "raw" / "prompts").iterdir())) == 1
    kept = list(read_jsonl(tmp_path / "raw" / "prompts" / name))
    assert kept[0]["mood"] == "good"
    assert kept[1]["messages"] == [{"role": "user", "content": "Why?"}]


def test_parquet_is_taken(tmp_path):
    pl.DataFrame(ROWS[1:]).write_parquet(tmp_path / "mine.parquet")
    assert list(add("prompts", [tmp_path / "mine.parquet"], tmp_path / "raw").values()) == [1]


@pytest.mark.parametrize(
    ("kind", "row", "message"),
    [
        ("prompts", '{"id": "c", "user_id": "u", "te', r"bad\.jsonl, line 2: not JSON"),
        (
            "demonstrations",
            {"id": "d", "text": "Why?", "labeler_id": "l"},
            r"line 2, field completion: missing",
        ),
        (
            "comparisons",
            {
                "id": "c",
                "prompt_id": "p",
                "labeler_id": "l",
                "completions": [{"text": "x"}, {"text": "y"}],
                "ranks": [1],
            },
            r"line 2, field ranks: 1 ranks for 2 completions",
        ),
        (
            "comparisons",
            RANKED | {"id": "c", "split": "test"},
            r"line 2, field split: must be train or valid, or left out",
        ),
        (
            "comparisons",
            RANKED | {"id": "c", "completions": [{"text": "x", "ended": "yes"}, {"text": "y"}]},
            r"line 2, field completions\[0\]\.ended: must be true or false",
        ),
    ],
)
def test_a_wrong_line_is_named_and_nothing_is_written(tmp_path, kind, row, message):
    good = {
        "prompts": ROWS[0],
        "demonstrations": {"id": "g", "text": "Why?", "labeler_id": "l", "completion": "So."},
        "comparisons": RANKED | {"text": "Why?"},
    }[kind]  # fmt: skip
    fine, bad = tmp_path / "fine.jsonl", tmp_path / "bad.jsonl"
    fine.write_text(json.dumps(good | {"id": "other"}) + "\n")
    bad.write_text(json.dumps(good) + "\n" + (row if isinstance(row, str) else json.dumps(row)) + "\n")
    with pytest.raises(ValueError, match=message):
        add(kind, [fine, bad], tmp_path / "raw")
    assert not (tmp_path / "raw").exists()


def test_missing_files_wrong_kinds_and_used_ids_are_refused(tmp_path):
    write_jsonl(tmp_path / "one.jsonl", ROWS)
    write_jsonl(tmp_path / "two.jsonl", [ROWS[0] | {"text": "Other?"}])
    with pytest.raises(ValueError, match="does not exist"):
        add("prompts", [tmp_path / "none.jsonl"], tmp_path / "raw")
    with pytest.raises(ValueError, match="allowed: prompts"):
        add("images", [tmp_path / "one.jsonl"], tmp_path / "raw")
    add("prompts", [tmp_path / "one.jsonl"], tmp_path / "raw")
    with pytest.raises(ValueError, match="already used in one-"):
        add("prompts", [tmp_path / "two.jsonl"], tmp_path / "raw")


def test_an_unknown_field_named_extra_stays_as_it_is(tmp_path):
    write_jsonl(tmp_path / "ranked.jsonl", [RANKED | {"text": "Why?", "extra": '{"ranks": [9]}'}])
    (name,) = add("comparisons", [tmp_path / "ranked.jsonl"], tmp_path / "raw")
    (kept,) = read_jsonl(tmp_path / "raw" / "comparisons" / name)
    assert kept["ranks"] == [1, 1] and kept["extra"] == '{"ranks": [9]}'


def test_comparisons_name_prompts_that_are_in_data_or_bring_their_text(tmp_path):
    raw, mine = tmp_path / "data" / "raw", tmp_path / "mine.jsonl"
    write_jsonl(mine, [RANKED, RANKED | {"id": "h", "text": "Why?", "prompt_id": "elsewhere"}])
    with pytest.raises(
        ValueError,
        match=r"mine\.jsonl, field prompt_id: 1 comparisons \(the first: g\) name a prompt that no round sampled",
    ):
        add("comparisons", [mine], raw)
    assert not raw.exists()
    for file, row in (
        (raw / "prompts" / "theirs.jsonl", ROWS[0] | {"id": "p"}),
        (tmp_path / "data" / "rounds" / "0001" / "samples.jsonl", {"prompt_id": "p"}),
        (tmp_path / "data" / "profiles" / "x" / "rounds" / "0002" / "samples.jsonl", {"prompt_id": "p"}),
    ):
        file.parent.mkdir(parents=True)
        write_jsonl(file, [row])
        assert list(add("comparisons", [mine], raw).values()) == [2], file
        file.unlink()


def test_a_file_that_was_added_can_be_taken_out_again_and_no_other(tmp_path):
    raw = tmp_path / "raw"
    write_jsonl(tmp_path / "mine.jsonl", ROWS)
    (name,) = add("prompts", [tmp_path / "mine.jsonl"], raw)
    (raw / "pretraining").mkdir()
    for file in (raw / "prompts" / "embedded.jsonl", raw / "pretraining" / name):
        file.write_text("")
    assert added(raw) == [raw / "prompts" / name, raw / "pretraining" / name]
    for wrong, said in (
        ("embedded.jsonl", "no file that was added"),
        (name, "more than one"),
        ("../mine.jsonl", "no file"),
    ):
        with pytest.raises(
            ValueError, match=rf"{wrong} is {said}.*allowed: prompts/{name}, pretraining/{name}"
        ):
            remove(wrong, raw)
    assert remove(f"prompts/{name}", raw) == raw / "prompts" / name
    assert added(raw) == [raw / "pretraining" / name] and (raw / "prompts/embedded.jsonl").exists()
    assert remove(name, raw).parent.name == "pretraining"


def test_a_log_of_one_user_is_said(tmp_path):
    write_jsonl(tmp_path / "mine.jsonl", ROWS)
    write_jsonl(tmp_path / "ours.jsonl", [ROWS[0] | {"id": "c"}, ROWS[1] | {"id": "d", "user_id": "v"}])
    told: list[str] = []
    add("prompts", [tmp_path / "mine.jsonl", tmp_path / "ours.jsonl"], tmp_path / "raw", told=told)
    (said,) = [line for line in told if "one user" in line]
    assert said.startswith("mine-") and "all 2 prompts are of one user" in said
