import json
import random
from pathlib import Path

import polars as pl
import pytest

from rlhf.data import load
from rlhf.data.curate import curate
from rlhf.params import DataParams
from rlhf.records import read_jsonl, write_jsonl

PARAMS = DataParams(user_cap=30)
NOUNS = ["river", "mountain", "harbour", "library", "teacher", "violin", "engine", "forest"]
NOUNS += ["castle", "garden", "market", "planet", "bridge", "island", "museum"]


@pytest.fixture(scope="module")
def raw(tmp_path_factory) -> Path:
    """300 prompts of 60 users with one of every fault, 60 demonstrations, 60 documents."""
    folder = tmp_path_factory.mktemp("raw")
    rng = random.Random(0)
    prompts = [
        {
            "id": f"p{at:03d}",
            "user_id": f"u{at % 60}" if at < 240 else "busy",
            "text": f"Tell me about the {rng.choice(NOUNS)} number {at} near the {rng.choice(NOUNS)}.",
            "created_at": f"2024-03-{1 + at // 12:02d}T00:00:{at % 60:02d}Z",
        }
        for at in range(300)
    ]
    long = "Please answer as a kind and patient teacher who has all the time in the world: "
    prompts += [
        {"id": "copy", "user_id": "u1", "text": prompts[5]["text"].upper()},
        {"id": "long1", "user_id": "u1", "text": long + "what is rain?"},
        {"id": "long2", "user_id": "u2", "text": long + "what is snow?"},
        {"id": "german", "user_id": "u3", "text": "Erzähle mir bitte etwas über den Schwarzwald."},
        {"id": "huge", "user_id": "u4", "text": "Why " + "and why " * 600},
    ]
    prompts += [
        {
            "id": f"mail{at}",
            "user_id": f"u{at}",
            "text": f"Write to anna{at}@fernmail.org about the {NOUNS[at % 15]}.",
        }
        for at in range(20)
    ]
    write_jsonl(folder / "prompts" / "a.jsonl", prompts)
    demonstrations = [
        {
            "id": f"d{at}",
            "text": f"What does a {noun} look like ({at})?",
            "completion": f"A {noun} looks old.",
            "labeler_id": "l",
        }
        for at, noun in enumerate(NOUNS * 4)
    ]
    demonstrations.append(
        {"id": "asked", "text": prompts[7]["text"], "completion": "It is far.", "labeler_id": "l"}
    )
    write_jsonl(folder / "demonstrations" / "a.jsonl", demonstrations)
    documents = [
        {"id": f"t{at}", "text": f"{noun} {at} stands alone in its field."}
        for at, noun in enumerate(NOUNS * 10)
    ]
    documents.append(
        {"id": "leak", "text": "\n".join(["Page", *(prompt["text"] for prompt in prompts[:240])])}
    )
    write_jsonl(folder / "pretraining" / "a.jsonl", documents)
    return folder


@pytest.fixture(scope="module")
def curated(raw, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("curated")
    curate(raw, out, PARAMS, valid_documents=0.1)
    return out


def removed(curated: Path) -> dict[str, dict]:
    return {row["id"]: row for row in read_jsonl(curated / "removed.jsonl")}


def test_each_fault_is_removed_by_its_step(curated):
    steps = {identity: row["step"] for identity, row in removed(curated).items()}
    assert steps["copy"] == "exact"
    assert steps["long2"] == "prefix"
    assert steps["german"] == "language"
    assert steps["huge"] == "length"
    assert steps["leak"] == "leakage"
    assert removed(curated)["copy"]["duplicate_of"] == "p005"
    assert sum(step == "user_cap" for step in steps.values()) == 30


def test_rows_in_are_rows_out_and_rows_removed(raw, curated):
    funnel = json.loads((curated / "funnel.json").read_text())
    gone = removed(curated)
    for kind in funnel:
        ids = {row["id"] for row in read_jsonl(raw / kind / "a.jsonl")}
        kept = [set(pl.read_parquet(curated / f"{name}.parquet")["id"]) for name in funnel[kind]["sets"]]
        assert sum(map(len, kept)) == len(set().union(*kept))
        assert set().union(*kept) | {key for key in gone if gone[key]["kind"] == kind} == ids
        assert {name: len(rows) for name, rows in zip(funnel[kind]["sets"], kept, strict=True)} == funnel[
            kind
        ]["sets"]


def test_held_out_users_are_in_no_training_set(curated):
    users = {name: {row["user_id"] for row in load.prompts(curated, name)} for name in load.PROMPT_SETS}
    assert not (users["rm"] | users["ppo"]) & (users["valid"] | users["test"])
    assert not users["valid"] & users["test"]


def test_no_personal_data_in_training_and_no_prompt_twice(curated):
    training = load.prompts(curated, "rm") + load.prompts(curated, "ppo")
    texts = [row["messages"][-1]["content"] for row in training]
    assert not any("@" in text for text in texts)
    answered = {row["messages"][-1]["content"] for row in load.demonstrations(curated, "train")}
    assert not answered & set(texts)
    assert len(set(texts)) == len(texts)


def test_redaction_keeps_the_prompts(raw, curated, tmp_path):
    funnel = curate(raw, tmp_path, PARAMS.model_copy(update={"pii": "redact"}), valid_documents=0.1)
    training = load.prompts(tmp_path, "rm") + load.prompts(tmp_path, "ppo")
    assert (
        sum("[EMAIL]" in row["messages"][-1]["content"] for row in training)
        == funnel["prompts"]["pii"]["email"]
        > 10
    )


def test_personal_data_is_on_no_page_and_in_no_list_of_removals(curated):
    for name in ("card.md", "funnel.json", "removed.jsonl", "rejected.jsonl"):
        assert "fernmail" not in (curated / name).read_text()


def test_the_same_input_gives_the_same_bytes_in_any_order_of_lines(raw, curated, tmp_path):
    shuffled = tmp_path / "raw"
    for kind in ("prompts", "demonstrations", "pretraining"):
        rows = list(read_jsonl(raw / kind / "a.jsonl"))
        random.Random(4).shuffle(rows)
        write_jsonl(shuffled / kind / "a.jsonl", rows)
    curate(shuffled, tmp_path / "out", PARAMS, valid_documents=0.1)
    for path in curated.glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_too_many_unreadable_lines_stop_the_round(raw, tmp_path):
    for kind in ("demonstrations", "pretraining"):
        write_jsonl(tmp_path / kind / "a.jsonl", read_jsonl(raw / kind / "a.jsonl"))
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "a.jsonl").write_text('{"id": "a"\n' * 3)
    with pytest.raises(ValueError, match=r"step contract: 3 of 3 lines of prompts.*a\.jsonl, line 1"):
        curate(tmp_path, tmp_path / "out", PARAMS)


def test_the_first_unreadable_line_that_is_named_is_of_that_kind(raw, tmp_path):
    for kind in ("prompts", "pretraining"):
        write_jsonl(tmp_path / kind / "a.jsonl", read_jsonl(raw / kind / "a.jsonl"))
    with (tmp_path / "prompts" / "a.jsonl").open("a") as file:
        file.write("{\n")  # one that is let pass
    (tmp_path / "demonstrations").mkdir()
    (tmp_path / "demonstrations" / "b.jsonl").write_text('{"id": "a"\n' * 3)
    with pytest.raises(ValueError, match=r"3 of 3 lines of demonstrations.*the first: b\.jsonl, line 1"):
        curate(tmp_path, tmp_path / "out", PARAMS)


def test_an_empty_split_names_the_step(raw, tmp_path):
    with pytest.raises(ValueError, match=r"step language: prompts_\w+ is empty"):
        curate(raw, tmp_path, PARAMS.model_copy(update={"languages": ("xx",)}))
    assert not list(tmp_path.glob("*.parquet"))


def test_no_data_says_what_to_do(tmp_path):
    with pytest.raises(ValueError, match="rlhf data fetch"):
        curate(tmp_path, tmp_path / "out", PARAMS)
