"""Data versions in a real DVC repository: to a folder, and to S3 over HTTP."""

import shutil
import subprocess
import sys

import boto3
import pytest

from rlhf.params import VersioningParams
from tasks import registry, versioning

FOLDER = VersioningParams()
S3 = VersioningParams(remote="s3://bucket/dvc")


@pytest.fixture
def clone(tmp_path, monkeypatch):
    """A git and DVC repository with two files under data/."""
    monkeypatch.setenv("RLHF_HOME", str(tmp_path / ".rlhf"))
    run = lambda *command: subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)  # noqa: E731
    run("git", "init", "-q")
    run("git", "config", "user.email", "test@example.org")
    run("git", "config", "user.name", "Test")
    (tmp_path / ".gitignore").write_text("/data/\n.rlhf/\n/.dvc/tmp/\n/.dvc/cache/\n/.dvc/config.local\n")
    from dvc.repo import Repo

    Repo.init(str(tmp_path)).close()
    run("git", "add", "-A")
    run("git", "commit", "-qm", "start")
    write(tmp_path, "raw/prompts.jsonl", "one\n")
    write(tmp_path, "raw/demonstrations.jsonl", "two\n")
    return tmp_path


def write(clone, name, text):
    file = clone / "data" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def files(clone):
    data = clone / "data"
    return {p.relative_to(data).as_posix(): p.read_text() for p in data.rglob("*") if p.is_file()}


def forget(clone):
    """What another machine lacks."""
    shutil.rmtree(clone / ".dvc" / "cache")
    shutil.rmtree(clone / "data")


@pytest.mark.parametrize("params", [FOLDER, S3], ids=["folder", "s3"])
def test_versions_come_back_on_a_machine_that_has_none(clone, params, s3):
    first, before = versioning.snapshot(params, clone), files(clone)
    write(clone, "rounds/0001/samples.jsonl", "three\n")
    (clone / "data/raw/prompts.jsonl").write_text("changed\n")
    second, after = versioning.snapshot(params, clone), files(clone)
    assert first.digest != second.digest and len(first.digest) == 36
    assert versioning.is_clean(params, clone) and versioning.current(clone) == second

    forget(clone)
    assert versioning.materialize(first.text, params, clone) == first
    assert files(clone) == before
    versioning.materialize(second.text, params, clone)
    assert files(clone) == after and versioning.is_clean(params, clone)


def test_s3_at_an_endpoint_of_params(clone, s3, monkeypatch):
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    params = VersioningParams(remote="s3://bucket/other", s3_endpoint_url=s3)
    version = versioning.snapshot(params, clone)
    forget(clone)
    versioning.materialize(version.text, params, clone)
    assert files(clone)["raw/prompts.jsonl"] == "one\n"


@pytest.mark.parametrize("params", [FOLDER, S3], ids=["folder", "s3"])
def test_blobs_that_the_remote_lost_are_sent_again(clone, params, s3):
    version = versioning.snapshot(params, clone)
    if params is S3:
        boto3.resource("s3").Bucket("bucket").objects.filter(Prefix="dvc/files").delete()
    else:
        shutil.rmtree(clone / ".rlhf/dvc-remote/files")
    versioning.snapshot(params, clone)
    forget(clone)
    versioning.materialize(version.text, params, clone)
    assert len(files(clone)) == 2


def flip(file):
    """One bit of a file, as a failing disk would."""
    file.chmod(0o644)
    file.write_bytes(bytes([file.read_bytes()[0] ^ 1]) + file.read_bytes()[1:])
    file.chmod(0o444)


def blobs(folder):
    """A version's files in a DVC store, without the listing."""
    return [file for file in folder.rglob("files/md5/*/*") if file.suffix != ".dir"]


@pytest.mark.parametrize("params", [FOLDER, S3], ids=["folder", "s3"])
@pytest.mark.parametrize("listing", [False, True])
def test_a_damaged_object_of_the_cache_is_fetched_again(clone, params, s3, listing):
    first, before = versioning.snapshot(params, clone), files(clone)
    write(clone, "raw/prompts.jsonl", "changed\n")
    versioning.snapshot(params, clone)
    cache = clone / ".dvc" / "cache"
    named = [cache / "files" / "md5" / first.digest[:2] / first.digest[2:]]
    for file in named if listing else blobs(cache):
        flip(file)
    versioning.materialize(first.text, params, clone)
    assert files(clone) == before


def test_damaged_everywhere_is_refused_and_costs_no_data(clone):
    first = versioning.snapshot(FOLDER, clone)
    write(clone, "raw/prompts.jsonl", "changed\n")
    versioning.snapshot(FOLDER, clone)
    after = files(clone)
    for store in (clone / ".dvc" / "cache", clone / ".rlhf" / "dvc-remote"):
        for file in blobs(store):
            flip(file)
    with pytest.raises(ValueError, match=r"damaged|lacks"):
        versioning.materialize(first.text, FOLDER, clone)
    assert files(clone) == after


def test_what_the_remote_lacks_costs_no_data(clone):
    gone = versioning.snapshot(FOLDER, clone)
    shutil.rmtree(clone / ".rlhf/dvc-remote/files")
    shutil.rmtree(clone / ".dvc/cache")
    write(clone, "raw/prompts.jsonl", "mine\n")
    with pytest.raises(ValueError, match="lacks"):
        versioning.materialize(gone.text, FOLDER, clone)
    assert files(clone)["raw/prompts.jsonl"] == "mine\n"
    assert versioning.is_clean(FOLDER, clone)


def test_changes_stay_in_the_cache_when_another_version_comes(clone):
    first = versioning.snapshot(FOLDER, clone)
    write(clone, "raw/new.jsonl", "kept\n")
    kept = versioning.snapshot(FOLDER, clone)
    versioning.materialize(first.text, FOLDER, clone)
    assert "raw/new.jsonl" not in files(clone)
    versioning.materialize(kept.text, FOLDER, clone)
    assert files(clone)["raw/new.jsonl"] == "kept\n"


def test_what_a_user_added_since_stays_when_another_version_comes(clone):
    first = versioning.snapshot(FOLDER, clone)
    write(clone, "rounds/0001/samples.jsonl", "sampled elsewhere\n")
    second = versioning.snapshot(FOLDER, clone)
    versioning.materialize(first.text, FOLDER, clone)
    write(clone, "raw/mine/new.jsonl", "mine\n")
    write(clone, "raw/prompts.jsonl", "edited\n")
    versioning.materialize(second.text, FOLDER, clone)
    found = files(clone)
    assert found["raw/mine/new.jsonl"] == "mine\n" and found["raw/prompts.jsonl"] == "edited\n"
    assert found["rounds/0001/samples.jsonl"] == "sampled elsewhere\n"


def test_what_was_added_while_another_machine_worked_stays(clone):
    """Also where it was versioned meanwhile: the version that comes is one of before."""
    given = versioning.snapshot(FOLDER, clone)
    write(clone, "rounds/0001/samples.jsonl", "sampled elsewhere\n")
    made = versioning.snapshot(FOLDER, clone)
    versioning.materialize(given.text, FOLDER, clone)
    write(clone, "raw/new.jsonl", "mine\n")
    versioning.snapshot(FOLDER, clone)
    versioning.materialize(made.text, FOLDER, clone, since=given.text)
    found = files(clone)
    assert found["raw/new.jsonl"] == "mine\n" and found["rounds/0001/samples.jsonl"] == "sampled elsewhere\n"


def test_what_came_by_dvc_alone_is_nobodys_own(clone):
    """`dvc pull` and `dvc checkout` leave no note."""
    first = versioning.snapshot(FOLDER, clone)
    before = files(clone)
    write(clone, "raw/new.jsonl", "new\n")
    second = versioning.snapshot(FOLDER, clone)
    versioning.materialize(first.text, FOLDER, clone)
    (clone / "data.dvc").write_text(second.text)
    subprocess.run([sys.executable, "-m", "dvc", "checkout", "-q", "--force"], cwd=clone, check=True)
    versioning.materialize(first.text, FOLDER, clone)
    assert files(clone) == before


def test_a_data_dvc_that_is_ahead_of_data_brings_its_version(clone):
    """As after a git pull."""
    first = versioning.snapshot(FOLDER, clone)
    write(clone, "raw/prompts.jsonl", "better\n")
    second, better = versioning.snapshot(FOLDER, clone), files(clone)
    versioning.materialize(first.text, FOLDER, clone)
    (clone / "data.dvc").write_text(second.text)
    versioning.materialize(second.text, FOLDER, clone)
    assert files(clone) == better and versioning.is_clean(FOLDER, clone)


def test_a_version_that_came_by_half_is_ended(clone, monkeypatch):
    from dvc.repo import Repo

    first = versioning.snapshot(FOLDER, clone)
    before = files(clone)
    write(clone, "raw/new.jsonl", "new\n")
    second = versioning.snapshot(FOLDER, clone)
    write(clone, "raw/mine.jsonl", "mine\n")

    def killed(repo, **_):
        (clone / "data/raw/new.jsonl").unlink()
        (clone / "data/raw/mine.jsonl").unlink()
        write(clone, "raw/prompts.jsonl", "half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Repo, "checkout", killed)
        with pytest.raises(KeyboardInterrupt):
            versioning.materialize(first.text, FOLDER, clone)
    versioning.go_on(FOLDER, clone)
    assert files(clone) == before | {"raw/mine.jsonl": "mine\n"}
    versioning.go_on(FOLDER, clone)
    versioning.materialize(second.text, FOLDER, clone)
    assert files(clone)["raw/new.jsonl"] == "new\n"


def test_a_remote_that_does_not_answer_is_not_one_that_lacks(clone, s3):
    version = versioning.snapshot(FOLDER, clone)
    forget(clone)
    with pytest.raises(versioning.Absent):
        versioning.materialize(version.text, S3, clone)
    away = VersioningParams(remote="s3://bucket/dvc", s3_endpoint_url="http://127.0.0.1:9")
    with pytest.raises(ValueError, match="S3 refused s3://nowhere/dvc: 404") as caught:
        versioning.materialize(version.text, VersioningParams(remote="s3://nowhere/dvc"), clone)
    assert not isinstance(caught.value, versioning.Absent)
    with pytest.raises(ConnectionError, match="the DVC remote s3://bucket/dvc does not answer"):
        versioning.materialize(version.text, away, clone)


def test_a_refused_bucket_is_one_sentence_and_changes_nothing(clone, s3):
    versioning.snapshot(FOLDER, clone)
    before = files(clone)
    with pytest.raises(ValueError, match="the DVC remote s3://nowhere/dvc refused: ") as caught:
        versioning.snapshot(VersioningParams(remote="s3://nowhere/dvc"), clone)
    assert "\n" not in str(caught.value)
    assert files(clone) == before and versioning.is_clean(FOLDER, clone)


def test_dirty_is_noticed(clone):
    assert not versioning.is_clean(FOLDER, clone)  # no data.dvc yet
    versioning.snapshot(FOLDER, clone)
    assert versioning.is_clean(FOLDER, clone)
    write(clone, "raw/prompts.jsonl", "edited\n")
    assert not versioning.is_clean(FOLDER, clone)


def test_a_round_is_checked_out_unless_work_would_go_unnoticed(clone, state):
    first = versioning.snapshot(FOLDER, clone)
    run_id = registry.start_round(1, {"seed": 0})
    registry.set_data_version(run_id, first.text)
    write(clone, "raw/more.jsonl", "more\n")
    with pytest.raises(ValueError, match="changes that no version keeps"):
        versioning.checkout_round(1, FOLDER, clone)
    versioning.snapshot(FOLDER, clone)
    assert versioning.checkout_round(1, FOLDER, clone) == first
    assert "raw/more.jsonl" not in files(clone)
    with pytest.raises(ValueError, match=r"round 7 keeps no data version \(rounds that do: 1\)"):
        versioning.checkout_round(7, FOLDER, clone)


def test_commit_takes_data_dvc_alone(clone):
    versioning.snapshot(FOLDER, clone)
    (clone / "other.txt").write_text("mine")
    subprocess.run(["git", "add", "other.txt"], cwd=clone, check=True)
    assert versioning.commit("Data of round 1", clone)
    assert not versioning.commit("again", clone)
    show = ["git", "show", "--name-only", "--format=%s"]
    shown = subprocess.run(show, cwd=clone, check=True, capture_output=True, text=True).stdout
    assert shown.split() == ["Data", "of", "round", "1", "data.dvc"]


SNAPSHOT = """
import pathlib
from rlhf.params import VersioningParams
from tasks import versioning
print(versioning.snapshot(VersioningParams(), pathlib.Path.cwd()).digest)
"""


def test_two_processes_take_turns(clone):
    command = [sys.executable, "-c", SNAPSHOT]
    both = [subprocess.Popen(command, cwd=clone, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    digests = {process.communicate(timeout=60)[0].strip() for process in both}
    assert digests == {versioning.current(clone).digest}


@pytest.mark.parametrize("text", ["", "outs: []", "outs:\n- md5: abc", "[1", "outs:\n- path: data\n"])
def test_a_text_that_is_no_data_dvc(text):
    with pytest.raises(ValueError, match=r"not the text of a data\.dvc"):
        versioning.parse(text)


def test_outside_a_clone_is_one_sentence(tmp_path):
    with pytest.raises(ValueError, match="is not a clone"):
        versioning.snapshot(FOLDER, tmp_path)
