"""`make up` and `make down` for real, in a folder of their own with a toy flow, and a worker in a second folder."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request

import psutil
import pytest
import yaml

from infra import stack, stack_file

FLOWS = """
import os
from pathlib import Path
from prefect import flow
from rlhf.params import ComputeParams
from tasks import launch

@flow(name="rlhf-iteration")
def rlhf_iteration(seconds: int = 0):
    launch.JOBS = "toyflows.job"
    inputs = {"seconds": seconds}
    launch.run_job({"stage": "rank", "out": "work", "inputs": inputs, "params": {}}, ComputeParams())
    Path("cpu.txt").write_text(os.environ["MLFLOW_TRACKING_URI"])

@flow(name="train-policy")
def train_policy():
    Path("gpu.txt").write_text(os.environ["RLHF_HOME"])
"""
JOB = """
import json, os, pathlib, sys, time
job = json.loads(pathlib.Path(sys.argv[-1]).read_text())
out = pathlib.Path(job["out"])
(out / "pid").write_text(str(os.getpid()))
time.sleep(job["inputs"]["seconds"])
(out / "result.json").write_text("{}")
"""


@pytest.fixture
def clone(root, tmp_path):
    """Makes folders that look like a clone: the project's settings and prefect.yaml, with toy flows."""

    def make(name):
        folder = tmp_path / name
        (folder / "toyflows").mkdir(parents=True)
        (folder / "toyflows" / "__init__.py").touch()
        (folder / "toyflows" / "flows.py").write_text(FLOWS)
        (folder / "toyflows" / "job.py").write_text(JOB)
        shutil.copy(root / "pyproject.toml", folder)
        document = yaml.safe_load((root / "prefect.yaml").read_text())
        chosen = [d for d in document["deployments"] if d["name"] in ("rlhf-iteration", "train-policy")]
        for deployment in chosen:
            deployment["entrypoint"] = f"toyflows.flows.{deployment['entrypoint'].rpartition('.')[2]}"
        (folder / "prefect.yaml").write_text(yaml.safe_dump({**document, "deployments": chosen}))
        return folder

    return make


def environment(**more):
    """A shell with nothing of this test run exported, on ports that are free."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT", "MLFLOW", "RLHF"))}
    return {**kept, "PYTHONPATH": "", "OMP_NUM_THREADS": "1", **more}


def run(folder, env, *words):
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=folder, env=env, capture_output=True, text=True, timeout=280
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def wait_for(condition, seconds=90):
    for _ in range(seconds * 5):
        if condition():
            return
        time.sleep(0.2)
    raise AssertionError("it did not happen in time")


@pytest.mark.slow
def test_up_run_second_clone_down(clone):
    here, there = clone("here"), clone("there")
    prefect_port, mlflow_port = free_port(), free_port()
    ports = {"RLHF_PREFECT_PORT": str(prefect_port), "RLHF_MLFLOW_PORT": str(mlflow_port)}
    run(here, environment(**ports), "infra.stack", "up", "--workers", "cpu")
    noted = json.loads((here / ".rlhf" / "stack.json").read_text())
    worker = None
    try:
        for origin, is_let_in in (
            (f"http://localhost:{prefect_port}", True),
            ("http://elsewhere.org", False),
        ):
            asked = urllib.request.Request(f"{noted['prefect']}/health", headers={"Origin": origin})
            with urllib.request.urlopen(asked) as answer:
                assert (answer.headers["Access-Control-Allow-Origin"] == origin) == is_let_in
        assert "already up" in run(here, environment(**ports), "infra.stack", "up")
        fresh = environment()  # another shell, nothing exported
        listed = json.loads(run(here, fresh, "prefect", "deployment", "ls", "-o", "json"))
        by_name = {item["name"]: item for item in listed}
        assert by_name["rlhf-iteration"]["schedules"][0]["active"]
        run(here, fresh, "prefect", "deployment", "run", "rlhf-iteration", "--watch")
        assert (here / "cpu.txt").read_text() == noted["mlflow"]

        addresses = {"PREFECT_API_URL": noted["prefect"], "MLFLOW_TRACKING_URI": noted["mlflow"]}
        worker = subprocess.Popen(
            [sys.executable, "-m", "infra.stack", "worker", "gpu"], cwd=there, env=environment(**addresses)
        )
        run(here, fresh, "prefect", "deployment", "run", "train-policy", "--watch")
        assert (there / "gpu.txt").read_text() == str(there / ".rlhf") and not (here / "gpu.txt").exists()

        shutil.rmtree(here / "work")
        run(here, fresh, "prefect", "deployment", "run", "rlhf-iteration", "--param", "seconds=600")
        wait_for((here / "work" / "pid").is_file)
        job = psutil.Process(int((here / "work" / "pid").read_text()))
    finally:
        run(here, environment(), "infra.stack", "down")
        if worker:
            assert worker.poll() is None  # not of this stack: left alone
            worker.terminate()
            worker.wait(30)
    assert not job.is_running() and not any(stack_file.alive(p) for p in noted["processes"].values())
    assert "nothing to stop" in run(here, environment(), "infra.stack", "down")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_port_in_use_is_one_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RLHF_HOME", str(tmp_path))
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        monkeypatch.setenv("RLHF_PREFECT_PORT", str(port))
        assert stack.main(["up"]) == 2
    assert capsys.readouterr().err == f"error: port {port} is in use; set RLHF_PREFECT_PORT to a free one\n"
    assert not (tmp_path / "stack.json").exists()


def test_wrong_words(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RLHF_HOME", str(tmp_path))
    monkeypatch.setenv("RLHF_MLFLOW_PORT", "five thousand")
    assert stack.main(["up", "--workers", "tpu"]) == 2
    assert "the pools are cpu, gpu" in capsys.readouterr().err
    assert stack.main(["worker", "gpu"]) == 2 and "PREFECT_API_URL is not set" in capsys.readouterr().err
    assert stack.main(["status"]) == 1
    assert stack.main(["down"]) == 0 and "nothing to stop" in capsys.readouterr().out
