"""S3 over HTTP: files there and back, and one sentence where it refuses."""

import boto3
import pytest

from tasks import storage


def test_a_folder_goes_there_and_comes_back(s3, tmp_path):
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a.jsonl").write_text("a\n")
    (source / "deep" / "b.jsonl").write_text("b\n")
    uris = storage.upload(source, "s3://bucket/data")
    assert uris == ["s3://bucket/data/a.jsonl", "s3://bucket/data/deep/b.jsonl"]
    assert storage.list_objects("s3://bucket/data/") == {"data/a.jsonl": 2, "data/deep/b.jsonl": 2}

    files = storage.download("s3://bucket/data", tmp_path / "back")
    assert [f.relative_to(tmp_path / "back").as_posix() for f in files] == ["a.jsonl", "deep/b.jsonl"]
    assert (tmp_path / "back" / "deep" / "b.jsonl").read_text() == "b\n"


def test_one_object_by_its_key(s3, tmp_path):
    file = tmp_path / "prompts.jsonl"
    file.write_text("x")
    assert storage.upload(file, "s3://bucket/in/") == ["s3://bucket/in/prompts.jsonl"]
    got = storage.download("s3://bucket/in/prompts.jsonl", tmp_path / "got")
    assert got == [tmp_path / "got/prompts.jsonl"]


def test_a_prefix_does_not_take_its_neighbour(s3, tmp_path):
    client = boto3.client("s3")
    client.put_object(Bucket="bucket", Key="a/1", Body=b"1")
    client.put_object(Bucket="bucket", Key="ab/2", Body=b"2")
    assert [file.name for file in storage.download("s3://bucket/a", tmp_path)] == ["1"]


def test_what_is_stored_is_what_was_sent(s3, tmp_path):
    file = tmp_path / "x"
    file.write_bytes(b"exactly this")
    storage.upload(file, "s3://bucket/x")
    assert boto3.client("s3").get_object(Bucket="bucket", Key="x")["Body"].read() == b"exactly this"


def test_a_key_does_not_lead_out_of_the_folder(s3, tmp_path):
    boto3.client("s3").put_object(Bucket="bucket", Key="in/../../evil", Body=b"x")
    with pytest.raises(ValueError, match="leads out"):
        storage.download("s3://bucket/in", tmp_path / "folder")
    assert not (tmp_path / "evil").exists()


@pytest.mark.parametrize("call", [storage.list_objects, lambda uri: storage.download(uri, None)])
def test_a_missing_bucket_is_one_sentence(s3, call):
    with pytest.raises(ValueError, match=r"S3 refused s3://nowhere/x: NoSuchBucket \(") as caught:
        call("s3://nowhere/x")
    assert "\n" not in str(caught.value)


def test_nothing_there_is_one_sentence(s3, tmp_path):
    with pytest.raises(ValueError, match="s3://bucket/none holds nothing"):
        storage.download("s3://bucket/none", tmp_path)


def test_upload_to_a_missing_bucket_is_one_sentence(s3, tmp_path):
    (tmp_path / "f").write_text("x")
    with pytest.raises(ValueError, match=r"S3 refused s3://nowhere/f: .*NoSuchBucket"):
        storage.upload(tmp_path / "f", "s3://nowhere/f")


def test_no_credentials_is_one_sentence(s3, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    boto3.setup_default_session()
    with pytest.raises(ValueError, match=r"S3 refused s3://bucket/x: .*credentials"):
        storage.list_objects("s3://bucket/x")
    boto3.setup_default_session()


def test_no_server_is_one_sentence(s3):
    with pytest.raises(ConnectionError, match="S3 does not answer at s3://bucket/x"):
        storage.list_objects("s3://bucket/x", endpoint_url="http://127.0.0.1:9")


@pytest.mark.parametrize("uri", ["bucket/key", "s3://", "s3:///key", "http://bucket/key"])
def test_an_address_that_is_none(uri):
    with pytest.raises(ValueError, match="is not an S3 address"):
        storage.split(uri)
