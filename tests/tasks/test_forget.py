"""Forgetting in a real clone, DVC repository and MLflow store: to a folder, and to S3 over HTTP."""

import gzip
import json
import subprocess
from pathlib import Path

import boto3
import polars as pl
import pytest

from rlhf.data import tombstones
from rlhf.params import Params, VersioningParams
from tasks import data, forget, keys, lock, objects, registry, stage, tracking, versioning
from tasks.registry import ModelRef

ANN = "ann-of-the-hill"
SECRET = "Where did I leave my grandmother's silver ring?"
FOLDER = Params()
S3 = Params(versioning=VersioningParams(remote="s3://bucket/dvc"))


@pytest.fixture
def clone(tmp_path, state, monkeypatch):
    """A clone with a finished round: what its stages read is in MLflow, Ann is in data/ and in what was logged."""
    monkeypatch.chdir(tmp_path)
    subprocess.run(["git", "init", "-q"], check=True)
    Path(".gitignore").write_text("/data/\n.rlhf/\n/.dvc/\n")
    from dvc.repo import Repo

    Repo.init(str(tmp_path)).close()
    put(
        "raw/prompts/log.jsonl",
        jsonl(prompt("p-hers", ANN, SECRET), prompt("p-his", "ben", "Why is it cold?")),
    )
    frame = pl.DataFrame([prompt("p-hers", ANN, SECRET), prompt("p-his", "ben", "Why is it cold?")])
    curated = Path("data/curated")
    curated.mkdir()
    frame.write_parquet(curated / "prompts_ppo.parquet")
    frame[1:].write_parquet(curated / "demonstrations_train.parquet")
    (curated / "card.md").write_text(f"# Data card\n- `{SECRET}`\n")
    pair = {"messages": [{"role": "user", "content": SECRET}], "completions": [], "round": 1}
    for name in ("samples", "comparisons"):
        put(f"rounds/0001/{name}.jsonl", jsonl({"id": "r0001-p-hers", "prompt_id": "p-hers", **pair}))
    return tmp_path


def put(name, content):
    path = Path("data") / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def prompt(name, user, text):
    return {"id": name, "user_id": user, "text": text}


def jsonl(*rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def a_round(params, model_dir):
    """What a round leaves in MLflow; returns the run of the round."""
    version = versioning.snapshot(params.versioning)

    def sha(name):
        return keys.file_digest(Path("data") / name)

    round_run = registry.start_round(1, {"seed": 0})

    def finished(name, read, parents=None, model=None, **figures):
        with registry.stage_run(name, f"key-{name}", 1, round_run, data_digest=version.digest) as run:
            if model:
                run.register(model, model_dir)
            elif name == "rl_start":
                run.store(model_dir)
            if name == "ppo":
                run.log_table(
                    [{"prompt": f"user\n{SECRET}", "kl": 1.0}, {"prompt": "Why is it cold?", "kl": 0.5}],
                    "rollouts.json",
                )
            return run.finish({"read": read, "parents": parents or {}, **figures})

    demonstrations = {"demonstrations_train.parquet": sha("curated/demonstrations_train.parquet")}
    comparisons = {
        "comparisons/0001": sha("rounds/0001/comparisons.jsonl"),
        "comparisons/brought": "a digest of rows",
    }
    prompts = {"prompts_ppo.parquet": sha("curated/prompts_ppo.parquet")}
    finished("curate", {"prompts": "a digest of several"}, files=prompts | demonstrations)
    sft = finished("sft", demonstrations, model="sft")
    rl_start = finished("rl_start", demonstrations)
    rm = finished("reward_model", comparisons, {"start": str(sft.model)}, model="reward-model")
    ppo = finished("ppo", prompts, {"start": rl_start.run_id, "reward_model": rm.run_id}, model="policy")
    finished("choose_sft", demonstrations, {"sft": sft.run_id, "reward_model": rm.run_id}, model="sft")
    finished("base", {"pretraining_train.parquet": "0" * 64}, model="base")
    shown = [{"prompt_id": "p-hers", "messages": []}, {"prompt_id": "p-his", "messages": []}]
    finished("evaluate", prompts, {"policy": ppo.run_id}, shown=shown)
    tracking.client().log_text(round_run, f"<p>{SECRET.replace(chr(39), '&#39;')}</p>", "report.html")
    reports = tracking.home() / "reports"
    reports.mkdir()
    (reports / "round-0001.html").write_text(f"<p>{SECRET.replace(chr(39), '&#39;')}</p>")
    (tracking.home() / "work" / "ppo-0123").mkdir(parents=True)
    registry.set_data_version(round_run, version.text)
    registry.finish_round(round_run)
    return round_run


def bytes_of(*folders):
    """Every byte below the folders, gzip and Parquet unpacked: an independent look."""
    found = []
    for path in [path for folder in folders for path in Path(folder).rglob("*") if path.is_file()]:
        content = path.read_bytes()
        if content[:4] == b"PAR1":
            content = json.dumps(pl.read_parquet(path).to_dicts()).encode()
        elif content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        found.append(content)
    return b"\n".join(found)


def traces_in(content):
    return [word for word in (ANN, "p-hers", "grandmother") if word.encode() in content]


# ---------------------------------------------------------------- the data set


def test_a_new_version_without_her_and_the_models_that_learned_from_her(clone, model_dir):
    round_run = a_round(FOLDER, model_dir)
    before = versioning.current()
    report = forget.forget_users([ANN], FOLDER)

    assert traces_in(bytes_of("data")) == [] and not report.found.left
    assert Path("data/raw/prompts/log.jsonl").read_bytes() == jsonl(prompt("p-his", "ben", "Why is it cold?"))
    after = versioning.current()
    assert after.digest == report.version != before.digest and versioning.is_clean(FOLDER.versioning)
    assert registry.data_version(1) == after.text

    assert {learned.name.split(" of ")[0]: learned.how for learned in report.models} == {
        "reward-model/1": "trained on them",
        "policy/1": "trained on them",
        "sft/2": "through reward-model/1",
        "base/1": "possibly: a file that it read is not on this machine any more",
    }
    tags = registry.version_tags(ModelRef("policy", 1))
    assert tags["rlhf.forgotten_users"] == "1" and len(tags["rlhf.forgotten"]) == 12
    assert tombstones.read(Path("data")).hashes([ANN])[0].startswith(tags["rlhf.forgotten"])
    assert "rlhf.forgotten" not in registry.version_tags(ModelRef("sft", 1))
    for name, there in {
        "curate": False,
        "sft": True,
        "rl_start": True,
        "reward_model": False,
        "ppo": False,
        "base": True,
    }.items():
        assert bool(registry.find(name, f"key-{name}")) is there, name
    assert report.stages == ["curate", "reward_model", "ppo", "evaluate"]

    said = "\n".join(forget.lines(report))
    assert traces_in(said.encode()) == [] and "nothing is left" in said and "policy/1" in said
    mlflow_tags = tracking.client().get_run(round_run).data.tags | tags
    assert traces_in(json.dumps(mlflow_tags).encode()) == []
    assert not (tracking.home() / "forgetting.json").exists()
    assert SECRET in tracking.client().download_artifacts(round_run, "report.html") or traces_in(
        bytes_of(".dvc/cache")
    ), "without a purge the older copies stay"


def test_an_earlier_version_brings_nobody_back(clone):
    first = versioning.snapshot(FOLDER.versioning)
    forget.forget_users([ANN], FOLDER)
    versioning.materialize(first.text, FOLDER.versioning)
    assert traces_in(bytes_of("data")) == []
    assert b"p-his" in bytes_of("data")


def test_who_is_unknown_is_not_named_and_nothing_is_written(clone):
    versioning.snapshot(FOLDER.versioning)
    before = {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()}
    dvc = Path("data.dvc").read_bytes()
    for users in (["zoe-unknown"], [ANN, "zoe-unknown"]):
        with pytest.raises(
            ValueError, match=f"user {len(users)} of the {len(users)} named has no record"
        ) as caught:
            forget.forget_users(users, FOLDER)
        assert "zoe" not in str(caught.value)
    with pytest.raises(ValueError, match="no user is named"):
        forget.forget_users([" "], FOLDER)
    assert {path: path.read_bytes() for path in Path("data").rglob("*") if path.is_file()} == before
    assert Path("data.dvc").read_bytes() == dvc and not (tracking.home() / "forgetting.json").exists()


def test_not_while_a_round_runs(clone):
    held = lock.one_round_at_a_time("rlhf run")
    with held, pytest.raises(ValueError, match="a round is running already: rlhf run"):
        forget.forget_users([ANN], FOLDER)
    assert ANN.encode() in bytes_of("data")


@pytest.mark.parametrize("at", ["forget.clean", "versioning.snapshot", "lineage"])
def test_killed_in_the_middle_it_goes_on(clone, model_dir, monkeypatch, at):
    """Data that no version ever kept: what the killed run noted is all there is to tell the models by."""
    a_round(FOLDER, model_dir)
    put("raw/comparisons/late.jsonl", jsonl({"id": "c", "text": SECRET, "completions": []}))
    target, _, name = at.rpartition(".")
    real = getattr(getattr(forget, target) if target else forget, name)

    def killed(*given):
        if at == "forget.clean":  # in the middle of it
            Path("data/raw/prompts/log.jsonl").write_bytes(jsonl(prompt("p-his", "ben", "Why is it cold?")))
        raise KeyboardInterrupt

    monkeypatch.setattr(getattr(forget, target) if target else forget, name, killed)
    with pytest.raises(KeyboardInterrupt):
        forget.forget_users([ANN], FOLDER)
    note = tracking.home() / "forgetting.json"
    assert note.stat().st_mode & 0o077 == 0, "it holds texts"
    monkeypatch.setattr(getattr(forget, target) if target else forget, name, real)
    subprocess.run(["rm", "-rf", ".dvc/cache"], check=True)  # and what the cache knew is gone
    this = stage.Round(2, "", FOLDER)
    with pytest.raises(ValueError, match="half forgotten"):
        data.prepare_data.fn(this)
    report = forget.forget_users([], FOLDER)  # the note knows whom
    assert traces_in(bytes_of("data")) == [] and not note.exists()
    assert {"reward-model/1", "policy/1"} <= {
        model.name for model in report.models if model.how == "trained on them"
    }
    again = forget.forget_users([ANN], FOLDER)
    assert again.changed == {} and again.version == report.version


# ---------------------------------------------------------------- purge


@pytest.mark.parametrize("params", [FOLDER, S3], ids=["folder", "s3"])
def test_purge_leaves_no_copy_that_can_be_reached(clone, model_dir, s3, params):
    a_round(params, model_dir)
    before = versioning.current()
    put("raw/prompts/new.jsonl", jsonl(prompt("p-new", "cleo", "Is the sea deep?")))
    kept = versioning.snapshot(params.versioning)
    # a remote that knows more than this machine's cache does
    subprocess.run(["rm", "-rf", ".dvc/cache"], check=True)
    versioning.snapshot(params.versioning)

    report = forget.forget_users([ANN], params, erase=True)
    assert report.purged.remote >= 4 and report.purged.artifacts >= 3
    assert traces_in(bytes_of("data", ".dvc", ".rlhf")) == []
    bucket = [item.get()["Body"].read() for item in boto3.resource("s3").Bucket("bucket").objects.all()]
    assert traces_in(b"\n".join(bucket)) == [] and bool(bucket) is (params is S3)
    ppo = registry.versions("policy") and tracking.version_of(ModelRef("policy", 1)).run_id
    table = json.loads(Path(tracking.client().download_artifacts(ppo, "rollouts.json")).read_text())
    assert [row[0] for row in table["data"]] == ["Why is it cold?"]
    assert not Path(".rlhf/work/ppo-0123").exists() and not Path(".rlhf/reports/round-0001.html").exists()

    assert versioning.is_clean(params.versioning)
    subprocess.run(["rm", "-rf", ".dvc/cache", "data"], check=True)
    versioning.materialize(Path("data.dvc").read_text(), params.versioning)
    assert b"p-new" in bytes_of("data"), "the new version is whole"
    for older in (before, kept):
        with pytest.raises(ValueError, match=r"lacks \d+ files|refused: "):
            versioning.materialize(older.text, params.versioning)
    said = "\n".join(forget.lines(report))
    assert "weights" in said and ("keeps versions" in said) is (params is S3)


def test_a_purge_later_finds_her_in_the_older_versions(clone):
    versioning.snapshot(FOLDER.versioning)
    forget.forget_users([ANN], FOLDER)
    assert traces_in(bytes_of(".dvc/cache")) != []
    forget.forget_users([ANN], FOLDER, erase=True)
    assert traces_in(bytes_of("data", ".dvc", ".rlhf")) == []


def test_what_the_current_version_needs_is_never_removed(clone):
    versioning.snapshot(FOLDER.versioning)
    with objects.older(FOLDER.versioning, remote=True) as older:
        assert older.files == {}
    every = [path.parent.name + path.name for path in Path(".dvc/cache").rglob("*") if path.is_file()]
    assert every and objects.remove(every, FOLDER.versioning) == (0, 0)
