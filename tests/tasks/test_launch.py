"""run_job with real processes: a result, a user's mistake, a crash, several ranks, every way to be killed."""

import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from rlhf.params import ComputeParams
from tasks import guard, launch

TOY = """
import json, os, pathlib, sys, time
job = json.loads(pathlib.Path(sys.argv[-1]).read_text())
out, inputs = pathlib.Path(job["out"]), job["inputs"]
(out / f"pid-{os.environ.get('RANK', '0')}").write_text(str(os.getpid()))
world = 1
if "RANK" in os.environ:
    import torch, torch.distributed as dist
    dist.init_process_group("gloo")
    total = torch.ones(1)
    dist.all_reduce(total)
    world = int(total.item())
    dist.destroy_process_group()
print("bar 1 %\\rbar 99 %\\rbar 100 %\\nworking on it", file=sys.stderr)
if inputs.get("mistake"):
    (out / "error.json").write_text(json.dumps({"message": inputs["mistake"]}))
    sys.exit(2)
if inputs.get("crash"):
    sys.exit("the roof fell in")
time.sleep(inputs.get("seconds", 0))
if os.environ.get("RANK", "0") == "0":
    (out / "result.json").write_text(json.dumps({
        "world": world, "threads": job["threads"], "omp": os.environ["OMP_NUM_THREADS"],
        "offline": os.environ["HF_HUB_OFFLINE"], "time": time.time()}))
"""
SECOND_GUARD = """
import sys
from pathlib import Path
from tasks import guard
guard.LOCK_SECONDS = .2
sys.exit(guard.main(Path(sys.argv[1]), 'another', ['true']))
"""
FLOW = """
import sys
from rlhf.params import ComputeParams
from tasks import launch
launch.JOBS = "toyjob"
launch.run_job({"stage": "ppo", "out": sys.argv[1], "inputs": {"seconds": 600}, "params": {}},
               ComputeParams(launcher=sys.argv[2], num_processes=int(sys.argv[3]), device="cpu"))
"""


@pytest.fixture(autouse=True)
def toy(tmp_path, monkeypatch):
    (tmp_path / "toyjob.py").write_text(TOY)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.getcwd()}")
    monkeypatch.setattr(launch, "JOBS", "toyjob")


INLINE = ComputeParams(launcher="inline")


def job(out, stage="ppo", **inputs):
    return {"stage": stage, "out": str(out), "inputs": inputs, "params": {}}


def test_inline_result_log_and_environment(tmp_path, capfd):
    result = launch.run_job(job(tmp_path / "out"), ComputeParams(launcher="inline", threads=3))
    assert (result["world"], result["threads"], result["omp"], result["offline"]) == (1, 3, "3", "1")
    log = (tmp_path / "out" / "log.txt").read_text()
    assert "working on it" in log and "bar 100 %" in log and "bar 1 %" not in log
    assert "working on it" in capfd.readouterr().err


def test_a_finished_job_is_not_run_again(tmp_path):
    first = launch.run_job(job(tmp_path / "out"), INLINE)
    assert launch.run_job(job(tmp_path / "out", crash=True), INLINE) == first


def test_mistake_is_a_value_error_with_its_sentence_alone(tmp_path):
    with pytest.raises(ValueError, match=r"^prompts\.jsonl line 3: no messages$"):
        launch.run_job(job(tmp_path / "out", mistake="prompts.jsonl line 3: no messages"), INLINE)
    assert launch.run_job(job(tmp_path / "out"), INLINE)["world"] == 1  # mended, it runs


def test_crash_shows_the_end_of_the_log(tmp_path):
    with pytest.raises(RuntimeError, match="ppo ended with exit status 1") as error:
        launch.run_job(job(tmp_path / "out", crash=True), INLINE)
    assert "the roof fell in" in str(error.value)


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(launch, "FULL", 1 << 60)
    with pytest.raises(RuntimeError, match=r"exit status 1 \(the disk is full\); the end of"):
        launch.run_job(job(tmp_path / "out", crash=True), INLINE)


@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed"])
def test_two_processes_reduce_over_gloo(tmp_path, launcher):
    compute = ComputeParams(launcher=launcher, num_processes=2, device="cpu", threads=1)
    assert launch.run_job(job(tmp_path / "out"), compute)["world"] == 2
    assert launch.run_job(job(tmp_path / "sampled", stage="curate"), compute)["world"] == 1


def test_mistake_under_torchrun(tmp_path):
    compute = ComputeParams(launcher="torchrun", num_processes=2, device="cpu", threads=1)
    with pytest.raises(ValueError, match="no messages"):
        launch.run_job(job(tmp_path / "out", mistake="no messages"), compute)


def test_several_processes_need_a_launcher(tmp_path):
    with pytest.raises(ValueError, match="num_processes is 2"):
        launch.run_job(job(tmp_path / "out"), ComputeParams(launcher="inline", num_processes=2))


def test_one_process_sees_one_gpu(monkeypatch):
    """transformers' trainer would split each batch over all of them."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert launch.environment(1, INLINE)["CUDA_VISIBLE_DEVICES"] == "2"
    assert launch.environment(1, ComputeParams(launcher="torchrun"))["CUDA_VISIBLE_DEVICES"] == "2,3"
    assert launch.environment(1, ComputeParams(device="cpu"))["CUDA_VISIBLE_DEVICES"] == ""


def test_threads_are_shared_out():
    cores = len(os.sched_getaffinity(0))
    assert launch.threads_of("ppo", ComputeParams(launcher="torchrun", num_processes=2)) == max(1, cores // 2)
    assert launch.threads_of("curate", ComputeParams(launcher="torchrun", num_processes=2)) == cores
    assert launch.threads_of("ppo", ComputeParams(threads=5)) == 5


@pytest.mark.parametrize(
    ("how", "launcher", "ranks"),
    [
        (signal.SIGKILL, "inline", 1),
        (signal.SIGINT, "inline", 1),
        (signal.SIGTERM, "inline", 1),
        (signal.SIGKILL, "torchrun", 2),  # torchrun's workers have sessions of their own
    ],
)
def test_no_orphan_whatever_ends_the_flow(tmp_path, how, launcher, ranks):
    out = tmp_path / "out"
    flow = start_flow(out, launcher, ranks)
    pids = [read_pid(out / f"pid-{rank}") for rank in range(ranks)]
    assert all(psutil.pid_exists(pid) for pid in pids)
    flow.send_signal(how)
    flow.wait()
    for _ in range(100):
        if not any(running(pid) for pid in pids):
            break
        time.sleep(0.1)
    assert not any(running(pid) for pid in pids)
    assert launch.run_job(job(out), INLINE)["world"] == 1  # a later run has the folder to itself


def test_an_exception_in_the_task_ends_the_job(tmp_path):
    def on_start(_pid):
        read_pid(tmp_path / "out" / "pid-0")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch.run_job(job(tmp_path / "out", seconds=600), INLINE, on_start=on_start)
    assert not running(read_pid(tmp_path / "out" / "pid-0"))


def test_the_guard_killed(tmp_path):
    def on_start(pid):
        read_pid(tmp_path / "out" / "pid-0")
        os.kill(pid, signal.SIGKILL)

    with pytest.raises(RuntimeError, match="exit status -9"):
        launch.run_job(job(tmp_path / "out", seconds=600), INLINE, on_start=on_start)
    assert not running(read_pid(tmp_path / "out" / "pid-0"))


def test_the_same_job_twice_at_once_is_refused(tmp_path):
    out = tmp_path / "out"
    flow = start_flow(out, "inline", 1)
    first = read_pid(out / "pid-0")
    second = subprocess.run([sys.executable, "-c", SECOND_GUARD, str(out / "job.lock")])
    assert second.returncode == guard.LOCK_TAKEN and running(first)
    flow.kill()
    flow.wait()


def start_flow(out, launcher, ranks):
    words = [sys.executable, "-c", FLOW, str(out), launcher, str(ranks)]
    return subprocess.Popen(words, stderr=subprocess.DEVNULL)


def read_pid(file, seconds=40):
    for _ in range(seconds * 20):
        if file.is_file() and file.read_text():
            return int(file.read_text())
        time.sleep(0.05)
    raise AssertionError(f"{file.name} was not written")


def running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_job_file_is_json(tmp_path):
    launch.run_job(job(tmp_path / "out"), ComputeParams(launcher="inline", threads=1))
    described = json.loads((tmp_path / "out" / "JOB.json").read_text())
    assert described["stage"] == "ppo" and described["threads"] == 1
