"""S3 and what speaks its protocol: the only file that imports boto3.

The endpoint is AWS_ENDPOINT_URL (or the argument), credentials come as boto3 finds them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def is_s3(uri: str) -> bool:
    return uri.startswith("s3://")


def split(uri: str) -> tuple[str, str]:
    """("bucket", "key or prefix") of s3://bucket/key. ValueError for anything else."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    if not is_s3(uri) or not bucket:
        raise ValueError(f"{uri} is not an S3 address: expected s3://bucket/key")
    return bucket, key


def plain_checksums(endpoint_url: str | None = None) -> None:
    """Asks this process's S3 clients (boto3's, MLflow's, DVC's) for no checksum trailers.

    boto3 writes them by default since 1.36, and some servers that are not AWS store them inside the
    object. Settings the user made stand.
    """
    if endpoint_url or custom_endpoint():
        os.environ.setdefault("AWS_REQUEST_CHECKSUM_CALCULATION", "when_required")
        os.environ.setdefault("AWS_RESPONSE_CHECKSUM_VALIDATION", "when_required")


def custom_endpoint() -> str | None:
    """The S3 server that is not AWS's, where the environment names one."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "MLFLOW_S3_ENDPOINT_URL"):
        if os.environ.get(name):
            return os.environ[name]
    return None


def is_away(error: BaseException) -> bool:
    """Whether an error says that a server did not answer, and not what it answered."""
    from botocore import exceptions

    away = (exceptions.ConnectionError, exceptions.HTTPClientError, ConnectionError, TimeoutError)
    return isinstance(error, away)


def require_bucket(uri: str, *, endpoint_url: str | None = None) -> None:
    """ValueError where the bucket of an address is not there, or not for us."""
    with _refusal(uri):
        _client(endpoint_url).head_bucket(Bucket=split(uri)[0])


def list_objects(uri: str, *, endpoint_url: str | None = None) -> dict[str, int]:
    """{key: bytes} of every object under s3://bucket/prefix; {} where there is none."""
    bucket, prefix = split(uri)
    with _refusal(uri):
        pages = _client(endpoint_url).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}


def download(uri: str, folder: Path, *, endpoint_url: str | None = None) -> list[Path]:
    """The object s3://bucket/key, or every object under the prefix s3://bucket/prefix/, as files in
    `folder` (relative to the prefix). A file appears whole or not at all.

    ValueError, one sentence with the URI and S3's answer, where there is nothing or S3 refuses.
    """
    bucket, key = split(uri)
    client = _client(endpoint_url)
    found = list_objects(uri, endpoint_url=endpoint_url)
    if key in found:
        names = {key: key.rsplit("/", 1)[-1]}
    else:
        prefix = key.rstrip("/") + "/" if key else ""
        names = {n: n.removeprefix(prefix) for n in found if n.startswith(prefix) and n != prefix}
    if not names:
        raise ValueError(f"{uri} holds nothing: no object and no prefix of that name")
    files = []
    for name, relative in sorted(names.items()):
        target = folder / relative
        if not target.resolve().is_relative_to(folder.resolve()):
            raise ValueError(f"{uri} is refused: an object's name leads out of the folder")
        target.parent.mkdir(parents=True, exist_ok=True)
        aside = target.with_name(f"{target.name}.part")
        with _refusal(uri):
            client.download_file(bucket, name, str(aside))
        aside.replace(target)
        files.append(target)
    return files


def upload(source: Path, uri: str, *, endpoint_url: str | None = None) -> list[str]:
    """Puts a file at s3://bucket/key, or a folder's files under s3://bucket/prefix; returns their URIs."""
    bucket, key = split(uri)
    client = _client(endpoint_url)
    if source.is_dir():
        names = {
            p: f"{key.rstrip('/')}/{p.relative_to(source).as_posix()}".lstrip("/")
            for p in sorted(source.rglob("*"))
            if p.is_file()
        }
    elif source.is_file():
        names = {source: key + source.name if not key or key.endswith("/") else key}
    else:
        raise ValueError(f"{source} does not exist")
    for path, name in names.items():
        with _refusal(uri):
            client.upload_file(str(path), bucket, name)
    return [f"s3://{bucket}/{name}" for name in names.values()]


def _client(endpoint_url: str | None) -> S3Client:
    import boto3
    from botocore.config import Config

    endpoint = endpoint_url or custom_endpoint()
    settings: dict[str, Any] = {"retries": {"max_attempts": 4, "mode": "standard"}, "connect_timeout": 10}
    if endpoint:
        settings |= {
            "request_checksum_calculation": "when_required",
            "response_checksum_validation": "when_required",
            "s3": {"addressing_style": "path"},
        }
    return boto3.client("s3", endpoint_url=endpoint, config=Config(**settings))


@contextmanager
def _refusal(uri: str) -> Iterator[None]:
    """One sentence that names the URI: ValueError for what S3 answers, ConnectionError where it does not."""
    from boto3.exceptions import S3UploadFailedError
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except ClientError as error:
        answer = error.response.get("Error", {})
        said = f"{answer.get('Code', 'error')} ({answer.get('Message') or 'no message'})".replace("\n", " ")
        raise ValueError(f"S3 refused {uri}: {said}") from error
    except (BotoCoreError, S3UploadFailedError) as error:
        if is_away(error):
            raise ConnectionError(f"S3 does not answer at {uri}: {str(error).splitlines()[0]}") from error
        raise ValueError(f"S3 refused {uri}: {str(error).splitlines()[0]}") from error
