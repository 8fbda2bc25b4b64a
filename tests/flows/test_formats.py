"""Files as people have them, through `rlhf data add` and `rlhf data curate`: recognised, said, and come out right."""

import json
import sys
from pathlib import Path

import pytest

from flows import cli
from rlhf.records import read_jsonl

TOPICS = (
    "otters", "granite", "sailing knots", "winter soups", "clock repair", "moss", "lanterns", "rye bread", "ferries", "violins",
    "river locks", "beehives",
)  # fmt: skip


@pytest.fixture
def rlhf(tmp_path, monkeypatch, capsys):
    """rlhf("data", "formats") -> (exit status, standard output, standard error), in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLHF_HOME", str(tmp_path / ".rlhf"))

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["rlhf", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


def written(name: str, rows) -> str:
    Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return name


def asked(at: int) -> str:
    return f"What should a beginner know about {TOPICS[at]}, and where does one start?"


def said(at: int):
    return [
        {"role": "user", "content": asked(at)},
        {"role": "assistant", "content": f"Begin with the {TOPICS[at]} nearby."},
    ]


def kept(folder: str) -> dict[str, list]:
    names = ("train.jsonl", "valid.jsonl", "test.jsonl")
    return {row["id"]: row for name in names for row in read_jsonl(Path(folder) / name)}


def test_formats_are_listed_with_an_example_each(rlhf):
    status, out, _ = rlhf("data", "formats")
    lines = out.splitlines()
    assert status == 0
    assert [line.split(" ")[0] for line in lines[::2]][:2] == ["wildchat", "lmsys-chat"]
    assert all(isinstance(json.loads(line), dict) for line in lines[1::2])


def test_a_log_with_tools_and_pictures_is_curated_and_said(rlhf):
    rows = [{"user": f"u{at}", "messages": said(at)} for at in range(10)]
    call = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f"}}],
    }
    rows.append(
        {"user": "u10", "messages": [*said(10)[:1], call, {"role": "tool", "content": "4"}, *said(11)[:1]]}
    )
    picture = {"type": "image_url", "image_url": {"url": "x"}}
    rows.append(
        {
            "user": "u11",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, picture]}],
        }
    )
    status, out, err = rlhf(
        "data", "curate", written("log.jsonl", rows), "--out", "out", "--set", "data.workers=1"
    )
    assert (status, err) == (0, "")
    line = out.splitlines()[0]
    assert line.startswith(
        "openai-chat: 11 prompts of 12 records; 1 left out: the user's turn holds a part of type image_url"
    )
    assert "2 tool turns left out" in line and "1 turns joined to the same speaker's" in line
    steps = {step["step"]: step for step in next(read_jsonl("out/funnel.json"))["steps"]}
    assert steps["contract"]["reasons"] == {} and steps["contract"]["out"] == 12
    assert steps["format"]["reasons"] == {"the user's turn holds a part of type image_url": 1}
    assert steps["reading"]["reasons"]["tool turns left out"] == 2
    assert not list(read_jsonl("out/rejected.jsonl"))
    texts = {row.get("text") or row["messages"][-1]["content"] for row in kept("out").values()}
    assert f"{asked(10)}\n\n{asked(11)}" in texts


def test_prompts_without_users_need_a_word(rlhf):
    name = written("log.jsonl", ({"id": f"p{at}", "text": asked(at)} for at in range(12)))
    for command in (["add", "prompts", name], ["curate", name, "--out", "out"]):
        status, _, err = rlhf("data", *command)
        assert status == 2 and "--one-user-each" in err and "--user-field" in err and "--anonymous" in err
    assert not Path("data/raw").exists()
    status, out, _ = rlhf(
        "data", "curate", name, "--out", "out", "--one-user-each", "--set", "data.workers=1"
    )
    assert status == 0 and "12 records without a user" in out
    assert kept("out") and all(row["user_id"] == row["id"] for row in kept("out").values())


def test_fields_are_mapped_and_formats_named(rlhf):
    rows = ({"utterance": asked(at), "meta": {"customer": 100 + at}} for at in range(12))
    name = written("log.jsonl", rows)
    options = ("--map", "text=utterance", "--user-field", "meta.customer")
    status, out, _ = rlhf("data", "add", "prompts", name, *options)
    assert status == 0 and "12 whole-number ids read as text" in out
    (raw,) = Path("data/raw/prompts").glob("log-*.jsonl")
    assert [row["user_id"] for row in read_jsonl(raw)] == [str(100 + at) for at in range(12)]
    assert rlhf("data", "add", "prompts", name, "--format", "sharegpt")[0] == 2
    assert "there is no format 'cvs'" in rlhf("data", "add", "prompts", name, "--format", "cvs")[2]
    assert "is no pair of fields" in rlhf("data", "add", "prompts", name, "--map", "text")[2]
    assert "exclude each other" in rlhf("data", "add", "prompts", name, "--one-user-each", "--anonymous")[2]


def test_demonstrations_of_every_shape_are_added(rlhf):
    shapes = {
        "alpaca": [
            {"instruction": asked(0), "input": "", "output": "So."},
            {"instruction": "Shorten.", "input": "Long.", "output": "L."},
        ],
        "half": [{"id": "h", "labeler_id": "ann", "text": "Shorten.", "input": "A long passage.", "completion": "Short."}],
        "final": [{"messages": said(1)}],
        "trl": [{"prompt": asked(2), "completion": "So."}],
        "turns": [{"prompt": said(3)[:1], "completion": said(3)[1:]}],
        "think": [{"id": "t", "labeler_id": "ann", "text": asked(4), "completion": "<think>\nhm\n</think>\n\nSo."}],
    }  # fmt: skip
    for name, rows in shapes.items():
        status, out, err = rlhf("data", "add", "demonstrations", written(f"{name}.jsonl", rows))
        assert (status, err) == (0, ""), err
        assert f"{len(rows)} demonstrations of {len(rows)} records" in out
    assert "data.thinking" in rlhf("data", "add", "demonstrations", "think.jsonl")[1]
    (half,) = Path("data/raw/demonstrations").glob("half-*.jsonl")
    assert next(read_jsonl(half))["messages"][0]["content"] == "Shorten.\n\nA long passage."


def test_overlapping_exports_are_added_once_and_another_text_under_an_id_is_refused(rlhf):
    rows = [{"id": f"p{at}", "user_id": "u", "text": asked(at)} for at in range(6)]
    assert rlhf("data", "add", "prompts", written("day1.jsonl", rows[:4]))[0] == 0
    status, out, _ = rlhf("data", "add", "prompts", written("day2.jsonl", rows[2:]))
    assert status == 0 and "2 rows are there already, word for word" in out
    (second,) = Path("data/raw/prompts").glob("day2-*.jsonl")
    assert [row["id"] for row in read_jsonl(second)] == ["p4", "p5"]
    status, _, err = rlhf("data", "add", "prompts", written("day3.jsonl", [rows[0] | {"text": asked(9)}]))
    assert status == 2 and "already used in day1-" in err
    out = rlhf("data", "curate", "day1.jsonl", "day2.jsonl", "--out", "out", "--set", "data.workers=1")[1]
    assert "2 rows are there twice, word for word" in out


def test_a_field_that_no_model_will_see_is_named(rlhf):
    rows = [
        {
            "id": f"p{at}",
            "user_id": "u",
            "messages": said(at)[:1],
            "context": "It is late.",
            "tools": [{"name": "f"}],
        }
        for at in range(3)
    ]
    out = rlhf("data", "add", "prompts", written("log.jsonl", rows))[1]
    assert "the field `context` of 3 contract records looks like content" in out
    assert "the field `tools` of 3 contract records looks like content" in out
