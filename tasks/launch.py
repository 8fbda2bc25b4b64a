"""Runs one job (`python -m rlhf.jobs JOB.json`) as processes of its own: inline, under torchrun or deepspeed.

A job is done when `out/result.json` is there: it is not run twice. Its output goes to the terminal and to
`out/log.txt`; whatever ends this process (an error, Ctrl-C, a cancelled flow, kill -9) ends the job too.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shlex
import shutil
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rlhf.params import ComputeParams
from tasks import guard

JOBS = "rlhf.jobs"
#: the stages that work a model, on as many processes as the settings allow; the others always run as one
MODEL_STAGES = frozenset(
    {"base", "sft", "rl_start", "sample", "reward_model", "choose_sft", "ppo", "evaluate", "release"}
)
#: how often a progress bar is shown where output is no terminal (a worker's log)
PROGRESS_SECONDS = 30.0
TAIL_LINES = 20
#: bytes free under which a disk counts as full
FULL = 1 << 20


def run_job(
    job: Mapping[str, Any], compute: ComputeParams, *, on_start: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Runs `job` ({"stage", "out", "inputs", "params"}) to its end and returns its result.json.

    on_start is called with the id of the process that leads the job.
    Raises ValueError with the job's own sentence where the input is at fault (out/error.json), and
    RuntimeError with the end of the log where it broke.
    """
    out = Path(job["out"]).resolve()
    result = out / "result.json"
    if result.is_file():
        return json.loads(result.read_text(encoding="utf-8"))
    out.mkdir(parents=True, exist_ok=True)
    (out / "error.json").unlink(missing_ok=True)
    job_file = out / "JOB.json"
    threads = threads_of(job["stage"], compute)
    _write(job_file, {**job, "out": str(out), "threads": threads})

    status = _run(command(job["stage"], job_file, compute), out, environment(threads, compute), on_start)

    if status == 0 and result.is_file():
        return json.loads(result.read_text(encoding="utf-8"))
    error = out / "error.json"
    if error.is_file():
        raise ValueError(json.loads(error.read_text(encoding="utf-8"))["message"])
    if status == guard.LOCK_TAKEN:
        raise RuntimeError(f"{job['stage']}: another process is still running this job in {out}")
    why = "wrote no result.json" if status == 0 else f"ended with exit status {status}"
    why += " (killed; out of memory?)" if status == 137 else ""
    why += " (the disk is full)" if shutil.disk_usage(out).free < FULL else ""
    raise RuntimeError(f"{job['stage']} {why}; the end of {out / 'log.txt'}:\n{_tail(out / 'log.txt')}")


def processes_of(stage: str, compute: ComputeParams) -> int:
    """Processes the stage runs as: compute.num_processes for a stage with a model under a launcher, else one."""
    if compute.launcher == "inline" and (compute.num_processes or 1) > 1:
        raise ValueError(
            f"compute.num_processes is {compute.num_processes}, but compute.launcher inline "
            "starts one process; set compute.launcher to torchrun or deepspeed"
        )
    if compute.launcher == "inline" or stage not in MODEL_STAGES:
        return 1
    return compute.num_processes or _processes_here(compute)


def _processes_here(compute: ComputeParams) -> int:
    """One a GPU; without one, one a core and at most two, the most that small batches feed."""
    if compute.uses_gpu():
        import torch

        return max(1, torch.cuda.device_count())
    return min(2, _cores())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def threads_of(stage: str, compute: ComputeParams) -> int:
    """CPU threads of one process: compute.threads, or the usable cores shared out."""
    return compute.threads or max(1, _cores() // processes_of(stage, compute))


def command(stage: str, job_file: Path, compute: ComputeParams) -> list[str]:
    """The command line of a job. deepspeed's and torchrun's launchers start stages with a model alone."""
    job = [JOBS, str(job_file)]
    processes = str(processes_of(stage, compute))
    python = [sys.executable, "-m"]
    if stage not in MODEL_STAGES or compute.launcher == "inline":
        return [*python, *job]
    if compute.launcher == "torchrun":
        return [*python, "torch.distributed.run", "--standalone", "--nproc-per-node", processes, "-m", *job]
    return [
        *python,
        "deepspeed.launcher.runner",
        "--num_gpus",
        processes,
        "--master_port",
        str(_free_port()),
        "--no_local_rank",
        "--quiet",
        "--module",
        *job,
    ]


def environment(threads: int, compute: ComputeParams) -> dict[str, str]:
    """The environment of a job: no network for Hugging Face, and as many threads as it was given."""
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # transformers' too; a job shows its own
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONUNBUFFERED": "1",
        "OMP_NUM_THREADS": str(threads),
    }
    if compute.device == "cpu":
        env |= {"DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    elif compute.launcher == "inline":  # transformers' trainer would split each batch over all that it sees
        env["CUDA_VISIBLE_DEVICES"] = env.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
    return env


def _run(command: list[str], out: Path, env: dict[str, str], on_start: Callable[[int], None] | None) -> int:
    mark = uuid.uuid4().hex
    with (out / "log.txt").open("ab") as log:
        log.write(f"$ {shlex.join(command)}\n".encode())
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.guard", str(out / "job.lock"), mark, *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
        try:
            if on_start:
                on_start(process.pid)
            _stream(process, log)
            return process.wait()
        finally:
            assert process.stdin and process.stdout
            process.stdin.close()  # the guard takes this for our end, and ends the job
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=15)
            if process.poll() is None:
                process.kill()
            if process.wait() < 0:  # killed itself: what it guarded may be alive
                guard.end_all(guard.MARK, mark)
            process.stdout.close()


def _stream(process: subprocess.Popen[bytes], log: Any) -> None:
    """Output to the terminal as it comes, and to the log line by line: of a progress bar, its last state."""
    assert process.stdout
    source, live = process.stdout.fileno(), sys.stderr.isatty()
    pending, shown = b"", time.monotonic()
    while True:
        # In short pieces: an exception that Prefect puts into this thread (a cancelled run) gets through.
        if not select.select([source], [], [], 0.5)[0]:
            if process.poll() is not None:
                break  # a stray holds the pipe open
            continue
        chunk = os.read(source, 65536)
        if not chunk:
            break
        if live:
            _show(chunk)
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            log.write(_last_state(line))
            if not live:
                _show(_last_state(line))
        log.flush()
        pending = b"\r".join(pending.split(b"\r")[-2:])
        if not live and pending.strip() and time.monotonic() - shown > PROGRESS_SECONDS:
            _show(_last_state(pending))
            shown = time.monotonic()
    if pending.strip():
        log.write(_last_state(pending))


def _last_state(line: bytes) -> bytes:
    return line.rstrip(b"\r").rsplit(b"\r", 1)[-1] + b"\n"


def _show(text: bytes) -> None:
    sys.stderr.write(text.decode("utf-8", "replace"))
    sys.stderr.flush()


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])


def _write(file: Path, values: Mapping[str, Any]) -> None:
    part = file.with_suffix(".part")
    part.write_text(json.dumps(values, indent=1, default=str), encoding="utf-8")
    part.replace(file)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
