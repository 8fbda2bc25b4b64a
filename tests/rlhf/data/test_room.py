import gzip
import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from rlhf.data import engine
from rlhf.data.curation import Curation, Sieve
from rlhf.data.room import FILES, curate_files
from rlhf.data.verdicts import Asked
from rlhf.params import DataParams
from rlhf.records import read_jsonl, write_jsonl

PARAMS = DataParams(user_cap=8, valid_share=0.2, test_share=0.2, workers=1)
NOUNS = ["river", "mountain", "harbour", "library", "teacher", "violin", "engine", "forest"]
VERBS = ["paint", "describe", "repair", "compare", "explain", "visit", "draw", "remember"]


def corpus(seed: int, rows: int) -> list[dict]:
    """Prompts of which every step removes some."""
    rng = random.Random(seed)
    found: list[dict] = []
    for at in range(rows):
        user = f"u{int(rng.paretovariate(0.7)) % 40}"
        text = f"How would you {rng.choice(VERBS)} the {rng.choice(NOUNS)} of {rng.choice(NOUNS)} town number {rng.randrange(40)}?"
        kind = rng.random()
        if found and kind < 0.3:
            text = rng.choice(found).get("text", text)
            text = rng.choice([text.upper(), f"Please, {text}", text.replace("the", "teh", 1), text])
        elif kind < 0.4:
            text = f"Write to anna{at}@fernmail.org about the {rng.choice(NOUNS)} of {at}."
        elif kind < 0.45:
            text = f"Erzähle mir bitte etwas über die Stadt mit der Nummer {at} und ihre Geschichte."
        elif kind < 0.5:
            text = "a kind and patient teacher who has all the time in the world says: " + text
        row = {"id": f"p{at:04d}", "user_id": user, "text": text}
        if rng.random() < 0.8:
            row["created_at"] = f"2024-0{rng.randrange(1, 10)}-01T00:00:{rng.randrange(60):02d}Z"
        if rng.random() < 0.1:
            said = [
                ("system", "Be brief."),
                ("user", "Hello there."),
                ("assistant", "Hello."),
                ("user", text),
            ]
            row = {key: value for key, value in row.items() if key != "text"}
            row["messages"] = [{"role": role, "content": content} for role, content in said]
        found.append(row | ({"app": {"version": at}} if rng.random() < 0.1 else {}))
    return found


def contents(folder) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def lines(folder, name) -> list[dict]:
    return list(read_jsonl(folder / name))


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    path = tmp_path_factory.mktemp("prompts") / "prompts.jsonl"
    write_jsonl(path, corpus(0, 400))
    return path


@pytest.fixture(scope="module")
def curated(prompts, tmp_path_factory):
    out = tmp_path_factory.mktemp("room") / "out"
    curate_files([prompts], out, PARAMS)
    return out


def test_every_prompt_is_kept_or_removed_with_its_reason(prompts, curated):
    kept = {
        split: [row["id"] for row in lines(curated, f"{split}.jsonl")] for split in ("train", "valid", "test")
    }
    removed = lines(curated, "removed.jsonl")
    gone = [row["id"] for row in removed]
    everything = [*kept["train"], *kept["valid"], *kept["test"], *gone]
    assert sorted(everything) == [row["id"] for row in read_jsonl(prompts)]
    assert {row["step"] for row in removed} >= {"exact", "prefix", "near", "language", "user_cap", "pii"}
    for row in removed:
        assert row["reason"] and row.keys() <= {"id", "step", "reason", "duplicate_of", "against", "pii"}
        if row["step"] in ("exact", "prefix", "near"):
            assert row["duplicate_of"] not in {
                r["id"] for r in removed if r["step"] in ("exact", "prefix", "near")
            }
        assert ("against" in row) == (row["step"] == "leakage")
        assert ("pii" in row) == (row["step"] == "pii")
    funnel = json.loads((curated / "funnel.json").read_text())
    assert funnel["sets"] == {split: len(ids) for split, ids in kept.items()}
    for before, after in zip(funnel["steps"], funnel["steps"][1:], strict=False):
        assert "of" in before or "of" in after or after["in"] == before["out"]


def test_spans_are_places_in_the_text(prompts, curated):
    rows = {row["id"]: row for row in read_jsonl(prompts)}
    found = [row for row in lines(curated, "removed.jsonl") if row["step"] == "pii"]
    assert found
    for row in found:
        given = rows[row["id"]]
        for span in row["pii"]:
            text = given["text"] if "text" in given else given["messages"][span["part"]]["content"]
            assert text[span["start"] : span["end"]].endswith("@fernmail.org") and span["kind"] == "email"


def test_what_is_kept_is_what_was_given(prompts, curated):
    rows = {row["id"]: row for row in read_jsonl(prompts)}
    for split in ("train", "valid", "test"):
        for row in lines(curated, f"{split}.jsonl"):
            assert row.pop("source") == "api"
            assert row == rows[row["id"]]


def test_users_are_on_one_side_and_under_the_cap(curated):
    users = {
        split: [row["user_id"] for row in lines(curated, f"{split}.jsonl")]
        for split in ("train", "valid", "test")
    }
    assert not set(users["train"]) & (set(users["valid"]) | set(users["test"]))
    assert not set(users["valid"]) & set(users["test"])
    everyone = [user for split in users.values() for user in split]
    assert max(map(everyone.count, everyone)) <= PARAMS.user_cap


@settings(max_examples=4, deadline=None, phases=[Phase.generate])
@given(
    st.integers(0, 10**6), st.integers(1, 200), st.sampled_from([1, 2, 4]), st.randoms(use_true_random=False)
)
def test_the_bytes_depend_on_the_records_alone(tmp_path_factory, seed, partition_rows, workers, random):
    """Any order of lines and files, any partitions, any number of workers; part by part as at once."""
    folder = tmp_path_factory.mktemp("any")
    rows = corpus(seed, 100)
    write_jsonl(folder / "all.jsonl", rows)
    curate_files([folder / "all.jsonl"], folder / "whole", PARAMS)
    random.shuffle(rows)
    cuts = sorted(random.choices(range(len(rows) + 1), k=2))
    names = random.sample(["a.jsonl", "b.jsonl", "c.jsonl"], 3)
    for name, part in zip(names, (rows[: cuts[0]], rows[cuts[0] : cuts[1]], rows[cuts[1] :]), strict=True):
        write_jsonl(folder / name, part)
    several = PARAMS.model_copy(update={"partition_rows": partition_rows, "workers": workers})
    with pytest.MonkeyPatch.context() as patch:  # threads do what processes do, and are there at once
        patch.setattr(engine, "ProcessPoolExecutor", lambda count, **_: ThreadPoolExecutor(count))
        for count in (1, 2, 3):
            files = [folder / name for name in names[:count] if (folder / name).stat().st_size]
            if files:
                done = curate_files(files, folder / "parts", several)
    assert contents(folder / "parts") == contents(folder / "whole")
    if count == 3 and cuts[1] < len(rows):
        assert done.remembered >= cuts[1]


def test_processes_and_hash_seeds_change_no_byte(prompts, curated, tmp_path):
    for seed, workers in (("1", 2), ("2", 1)):
        out = tmp_path / seed
        command = [sys.executable, "-m", "flows.cli", "data", "curate", str(prompts), "--out", str(out)]
        sets = PARAMS.model_copy(update={"workers": workers, "partition_rows": 130})
        for name, value in sets.model_dump(mode="json", exclude_defaults=True).items():
            command += ["--set", f"data.{name}={json.dumps(value)}"]
        done = subprocess.run(
            command, env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        assert "near copy" in done.stdout
        assert contents(out) == contents(curated)


def test_evaluation_texts_leave_training(prompts, curated, tmp_path):
    train = lines(curated, "train.jsonl")
    asked = [row.get("text") or row["messages"][-1]["content"] for row in train[:4]]
    write_jsonl(
        tmp_path / "eval.jsonl", [{"text": asked[0]}, {"messages": [{"role": "user", "content": asked[1]}]}]
    )
    with gzip.open(tmp_path / "more.jsonl.gz", "wt") as file:
        file.write(json.dumps({"text": asked[2].upper()}) + "\n")
    pl.DataFrame({"text": [asked[3]]}).write_parquet(tmp_path / "most.parquet")
    evals = [tmp_path / name for name in ("eval.jsonl", "more.jsonl.gz", "most.parquet")]
    curate_files([prompts], tmp_path / "out", PARAMS, evals=evals)
    gone = {row["id"]: row for row in lines(tmp_path / "out", "removed.jsonl") if row["step"] == "leakage"}
    for row in train[:4]:
        assert gone[row["id"]]["against"] == "eval"


def test_redaction_keeps_the_prompts(prompts, curated, tmp_path):
    curate_files([prompts], tmp_path / "out", PARAMS.model_copy(update={"pii": "redact"}))
    train = (tmp_path / "out" / "train.jsonl").read_text()
    assert "[EMAIL]" in train and "fernmail" not in train
    assert "fernmail" in (curated / "test.jsonl").read_text() + (curated / "valid.jsonl").read_text()


def test_no_personal_data_in_what_is_told(curated):
    for name in ("removed.jsonl", "rejected.jsonl", "funnel.json", "card.md", "funnel.svg"):
        assert "fernmail" not in (curated / name).read_text()
    for path in (curated / ".features").rglob("*"):
        assert path.is_dir() or (b"fernmail" not in (found := path.read_bytes()) and b"river" not in found)


def test_length_is_in_tokens_where_there_is_a_tokenizer(prompts, tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    letters.pre_tokenizer = pre_tokenizers.Split("", "isolated")  # a token a character
    letters.save(str(tmp_path / "tokenizer.json"))
    params = PARAMS.model_copy(update={"max_prompt_tokens": 90})
    curate_files([prompts], tmp_path / "out", params, tokenizer=tmp_path)
    rows = {row["id"]: row for row in read_jsonl(prompts)}
    gone = {row["id"] for row in lines(tmp_path / "out", "removed.jsonl") if row["step"] == "length"}
    left = [
        row["id"] for name in ("train", "valid", "test") for row in lines(tmp_path / "out", f"{name}.jsonl")
    ]

    def size(row):
        return sum(len(m["content"]) for m in row["messages"]) if "messages" in row else len(row["text"])

    assert gone and min(size(rows[i]) for i in gone) > 90 >= max(size(rows[i]) for i in left)
    letters.pre_tokenizer = pre_tokenizers.Whitespace()
    letters.save(str(tmp_path / "tokenizer.json"))  # another at the same place
    for out in ("out", "anew"):
        curate_files([prompts], tmp_path / out, params, tokenizer=tmp_path)
    found = [(tmp_path / out / "train.jsonl").read_bytes() for out in ("out", "anew")]
    assert found[0] == found[1] and len(found[0].splitlines()) > len(lines(tmp_path / "out", "valid.jsonl"))
    with pytest.raises(ValueError, match=r"holds no tokenizer\.json"):
        curate_files([prompts], tmp_path / "out", params, tokenizer=tmp_path / "out")


def test_a_run_that_fails_leaves_the_directory_as_it_was(prompts, curated, tmp_path):
    out = tmp_path / "out"
    curate_files([prompts], out, PARAMS)
    before = contents(out)
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": "x"}\n' * 100)
    with pytest.raises(ValueError, match=r"100 of 500 lines of prompts.*rejected\.jsonl"):
        curate_files([prompts, bad], out, PARAMS)
    after = contents(out)
    rejected = [json.loads(line) for line in after.pop("rejected.jsonl").splitlines()]
    assert rejected[0].keys() == {"file", "line", "field", "reason"}
    assert [(row["file"], row["line"]) for row in rejected] == [("bad.jsonl", at) for at in range(1, 101)]
    before.pop("rejected.jsonl")
    assert after == before
    assert not [path for path in tmp_path.iterdir() if path.name not in ("out", "bad.jsonl")]


def test_mistakes_are_sentences(prompts, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n")
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('{"text": "fine"}\n{"texts": "a@b.org"}\n')
    for files, out, evals, said in (
        ([prompts, prompts], "o", [], "is given twice"),
        ([tmp_path / "none.jsonl"], "o", [], "does not exist"),
        ([other], "o", [], "is a directory"),
        ([prompts], "other", [], r"holds other files \(thesis.tex\)"),
        ([prompts], "empty.jsonl", [], "is a file"),
        ([empty], "o", [], "no prompts"),
        ([prompts], "o", [wrong], r"wrong\.jsonl, line 2: must be an object with `text`"),
    ):
        with pytest.raises(ValueError, match=said):
            curate_files(files, tmp_path / out, PARAMS, evals=evals)
    assert not (tmp_path / "o").exists()


def test_a_sieve_may_count_without_naming(prompts, tmp_path):
    first = {"p0000", "p0001"}
    for named in (True, False):
        folder = tmp_path / str(named)
        folder.mkdir()
        sieve = Sieve("gone", "asked to go", lambda row: None if row["id"] in first else row, named)
        with engine.Engine(PARAMS, folder) as place:
            work = Curation("prompts", folder, PARAMS, place, Asked(("en",), None))
            work.read([prompts], [], sieve)
            work.close()
        assert work.funnel.steps[1] | {"examples": []} == {
            "step": "gone",
            "in": 400,
            "out": 398,
            "reasons": {"asked to go": 2},
            "examples": [],
        }
        assert {row["id"] for row in read_jsonl(work.funnel.removed)} == (first if named else set())


def test_splits_that_are_empty_since_one_user_wrote_everything_are_said(tmp_path):
    rows = [row | {"user_id": "anonymous"} for row in corpus(3, 30)]
    write_jsonl(tmp_path / "log.jsonl", rows)
    done = curate_files([tmp_path / "log.jsonl"], tmp_path / "one", PARAMS)
    (said,) = [line for line in done.formats if "empty" in line]
    assert (
        "these are of 1 user (" in said
        and sum(split in said.split(":")[0] for split in ("train", "valid", "test")) == 2
    )
    write_jsonl(tmp_path / "log.jsonl", corpus(3, 200))
    assert not [
        line
        for line in curate_files([tmp_path / "log.jsonl"], tmp_path / "all", PARAMS).formats
        if "empty" in line
    ]
