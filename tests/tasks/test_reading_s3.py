"""Files to be read that lie in S3: an object, or all of a prefix with what its folders say."""

import gzip
import json

from flows.data_cli import local_files
from rlhf.data.reading.reader import Reader
from tasks import storage


def test_objects_and_prefixes_are_read_as_files_and_folders(s3, tmp_path):
    parts = tmp_path / "log"
    for lang in ("en", "de"):
        (parts / f"lang={lang}").mkdir(parents=True)
        row = {"id": lang, "user_id": "u", "text": f"Why, in {lang}?"}
        (parts / f"lang={lang}" / "part-0.jsonl.gz").write_bytes(gzip.compress(json.dumps(row).encode()))
    (tmp_path / "one.csv").write_text("id,user_id,text\none,u,How?\n")
    storage.upload(parts, "s3://bucket/log")
    storage.upload(tmp_path / "one.csv", "s3://bucket/one.csv")
    with local_files(["s3://bucket/log/", "s3://bucket/one.csv"]) as local:
        records = {record["id"]: record["extra"] for record in Reader("prompts", local).records()}
    assert records == {"en": '{"lang":"en"}', "de": '{"lang":"de"}', "one": None}
    assert not any(path.exists() for path in local)
