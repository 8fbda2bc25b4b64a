"""What a stage task retries, and what it keeps of a job's metrics."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import requests

from tasks import stage


def chained(cause: BaseException) -> RuntimeError:
    error = RuntimeError("outer")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (ConnectionError(), True),
        (TimeoutError(), True),
        (requests.exceptions.ReadTimeout(), True),
        (chained(requests.exceptions.ConnectionError()), True),
        (RuntimeError("ppo ended with exit status 1"), False),
        (ValueError("S3 refused s3://b/k"), False),
        (FileNotFoundError("x"), False),
    ],
)
def test_retries_are_for_io_alone(error, again):
    assert stage.io_failed(None, None, SimpleNamespace(data=error)) is again


def test_a_series_is_thinned_and_keeps_its_last_line(tmp_path, monkeypatch):
    path = tmp_path / "metrics.jsonl"
    lines = [{"step": n, "time": 0.0, "loss": n / 10} for n in range(1, 1001)]
    lines.append({"step": 1000, "time": 1.0, "loss": 7.0})  # a resumed job wrote its last step again
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    path.write_text(path.read_text() + '{"step": 1001, "ti')  # and was killed while it wrote another
    found = stage.series(path)
    assert 1 < len(found) <= stage.POINTS
    assert found[-1] == lines[-1]
    assert [line["step"] for line in found] == sorted({line["step"] for line in found})
    assert stage.series(tmp_path / "absent.jsonl") == []


def test_put_replaces_a_folder_whole_and_leaves_bookkeeping_behind(tmp_path):
    out, target = tmp_path / "out", tmp_path / "data" / "curated"
    out.mkdir()
    for name in ("a.parquet", "result.json", "metrics.jsonl", "metrics.jsonl.sent", "JOB.json", "log.txt"):
        (out / name).write_text(name)
    target.mkdir(parents=True)
    (target / "stale.parquet").write_text("")
    stage.put(out, target)
    assert [path.name for path in target.iterdir()] == ["a.parquet"]
