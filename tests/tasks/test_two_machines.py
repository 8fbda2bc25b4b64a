"""Two machines that share an MLflow server, S3, and nothing else."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from rlhf.params import VersioningParams
from tasks import keys, registry, versioning

pytestmark = pytest.mark.slow


@pytest.fixture
def server(tmp_path, empty_database, s3):
    """An MLflow server whose artifacts lie on S3; gives its address."""
    shutil.copyfile(empty_database, tmp_path / "server.db")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        *(
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ),
        *("--backend-store-uri", f"sqlite:///{tmp_path}/server.db"),
        *("--no-serve-artifacts", "--default-artifact-root", "s3://bucket/mlflow"),
    ]
    env = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (tmp_path / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline, (
                    tmp_path / "server.log"
                ).read_text()
                time.sleep(0.3)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


@pytest.fixture
def machine(tmp_path, monkeypatch, server):
    """Turns this process into a machine of the given name: its own state folder, its own clone."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server)

    def become(name):
        from dvc.repo import Repo

        clone = tmp_path / name
        clone.mkdir()
        subprocess.run(["git", "init", "-q"], cwd=clone, check=True)
        Repo.init(str(clone)).close()
        monkeypatch.setenv("RLHF_HOME", str(clone / ".rlhf"))
        monkeypatch.chdir(clone)
        return clone

    return become


def test_what_one_machine_made_the_other_finds(machine, model_dir):
    params = VersioningParams(remote="s3://bucket/dvc")
    first = machine("first")
    (first / "data").mkdir()
    (first / "data" / "comparisons.jsonl").write_text("ranked\n")
    version = versioning.snapshot(params)
    round_run = registry.start_round(1, {"seed": 0})
    with registry.stage_run("sft", "k", 1, round_run, data_digest=version.digest) as run:
        run.follow(first / "metrics.jsonl")
        (first / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
        ref = run.register("sft", model_dir, figures={"loss": 2.0})
        run.store(model_dir, "epoch-1")
        run.finish({"loss": 2.0})
    registry.set_data_version(round_run, version.text)
    registry.finish_round(round_run)

    second = machine("second")
    found = registry.find("sft", "k")
    assert found.model == ref and found.figures == {"loss": 2.0}
    for folder in (registry.local_path(ref), registry.local_dir(found.run_id, "epoch-1")):
        assert folder.is_relative_to(second)
        assert keys.manifest(folder) == keys.manifest(model_dir)
    assert versioning.checkout_round(1, params) == version
    assert (second / "data" / "comparisons.jsonl").read_text() == "ranked\n"
