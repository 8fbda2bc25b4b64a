"""Single files of a version come back into data/ and nothing else changes: from DVC's cache, or from the remote alone."""

import shutil

import boto3
import pytest

from tasks import earlier, versioning
from tests.tasks.test_versioning import FOLDER, S3, blobs, clone, files, flip, write  # noqa: F401


@pytest.mark.parametrize("params", [FOLDER, S3], ids=["folder", "s3"])
def test_files_of_a_version_come_back_from_the_remote(clone, params, s3):  # noqa: F811
    write(clone, "rounds/0001/comparisons.jsonl", "ranked\n")
    kept = versioning.snapshot(params, clone)
    write(clone, "rounds/0002/comparisons.jsonl", "later\n")
    write(clone, "raw/prompts.jsonl", "changed since\n")
    before = files(clone)
    (clone / "data/rounds/0001/comparisons.jsonl").unlink()
    shutil.rmtree(clone / ".dvc/cache")
    names = ["rounds/0001/comparisons.jsonl", "rounds/0001/samples.jsonl"]
    assert earlier.put_back(kept.text, names, params, clone) == names[:1]
    assert files(clone) == before


def test_a_damaged_object_of_the_cache_is_not_put_back(clone):  # noqa: F811
    write(clone, "rounds/0001/comparisons.jsonl", "ranked\n")
    kept = versioning.snapshot(FOLDER, clone)
    for blob in blobs(clone / ".dvc/cache"):
        flip(blob)
    (clone / "data/rounds/0001/comparisons.jsonl").unlink()
    earlier.put_back(kept.text, ["rounds/0001/comparisons.jsonl"], FOLDER, clone)
    assert files(clone)["rounds/0001/comparisons.jsonl"] == "ranked\n"


@pytest.mark.parametrize("params", [FOLDER, S3], ids=["folder", "s3"])
def test_a_version_that_nobody_holds_is_named(clone, params, s3):  # noqa: F811
    kept = versioning.snapshot(params, clone)
    shutil.rmtree(clone / ".dvc/cache")
    if params is S3:
        boto3.resource("s3").Bucket("bucket").objects.filter(Prefix="dvc/files").delete()
    else:
        shutil.rmtree(clone / ".rlhf/dvc-remote/files")
    with pytest.raises(versioning.Absent, match="lacks version"):
        earlier.put_back(kept.text, ["rounds/0001/comparisons.jsonl"], params, clone)
