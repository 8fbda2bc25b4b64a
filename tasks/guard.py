"""`python -m tasks.guard LOCK MARK COMMAND...`: runs COMMAND, and ends all it started when its owner dies.

Standard input is a pipe whose other end the owner holds: the kernel closes it however the owner ends,
`kill -9` included, and then every process of the job is killed. torchrun puts its workers into sessions of
their own, so the processes of a job are told by a mark in their environment, not by a process group.
LOCK is held until the last of them is gone: a job that is started again waits for the orphans of the one
before. Exits with COMMAND's status; 75 if LOCK stays taken.

`python -m tasks.guard NAME VALUE`: runs nothing, and when its owner dies ends every process with NAME=VALUE in its
environment: what the owner started by other means.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

import filelock
import psutil

MARK = "RLHF_JOB"
LOCK_SECONDS = 30.0
LOCK_TAKEN = 75


def end_all(name: str, value: str, *, grace_seconds: float = 3.0) -> None:
    """SIGTERM to every other process with name=value in its environment, and SIGKILL to what is left."""
    marked = _marked(name, value)
    _signal(marked, signal.SIGTERM)
    psutil.wait_procs(marked, timeout=grace_seconds)
    while left := _marked(name, value):  # a process may have been forked in the meantime
        _signal(left, signal.SIGKILL)
        psutil.wait_procs(left, timeout=grace_seconds)


def _marked(name: str, value: str) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid == os.getpid() or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(name) == value:
                found.append(process)
    return found


def _signal(processes: list[psutil.Process], number: signal.Signals) -> None:
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.send_signal(number)


def main(lock_file: Path, mark: str, command: list[str]) -> int:
    lock = filelock.FileLock(lock_file)
    try:
        lock.acquire(timeout=LOCK_SECONDS)
    except filelock.Timeout:
        return LOCK_TAKEN
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, env={**os.environ, MARK: mark})

    def watch_owner() -> None:
        os.read(0, 1)  # returns when the owner closes the pipe, or is gone
        end_all(MARK, mark)

    threading.Thread(target=watch_owner, daemon=True).start()
    status = child.wait()
    end_all(MARK, mark)  # a launcher that failed may leave workers
    return status if status >= 0 else 128 - status


def end_with_owner(name: str, value: str) -> None:
    """Wait for the owner's end, then `end_all`. The owner is the parent: a process that it forked may hold the pipe open."""
    owner = psutil.Process(os.getppid())
    while owner.is_running() and owner.status() != psutil.STATUS_ZOMBIE:
        if select.select([0], [], [], 2.0)[0]:
            break
    end_all(name, value)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        end_with_owner(sys.argv[1], sys.argv[2])
    else:
        raise SystemExit(main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
