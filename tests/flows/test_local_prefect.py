"""Prefect's temporary server does not outlive a round that was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from flows import local_prefect


def test_strays_of_this_state_folder_are_ended_and_no_others(tmp_path):
    sleeper = "import time; time.sleep(60)"
    # The parent ends at once, as a killed round does: its child is left alone.
    me = local_prefect._name(psutil.Process())
    owners = {"mine": "1 0.0", "theirs": "1 0.0", "at work": me, "a person's": ""}
    parent = "import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', *sys.argv[1:]]).pid)"
    pids = {}
    for name, owner in owners.items():
        home = "theirs" if name == "theirs" else "mine"
        done = subprocess.run(
            [sys.executable, "-c", parent, sleeper, local_prefect.SERVER],
            env={**os.environ, "PREFECT_HOME": str(tmp_path / home), local_prefect.OWNER: owner},
            capture_output=False,
            stdout=(tmp_path / name).open("w"),
            check=True,
        )
        assert done.returncode == 0
        pids[name] = int((tmp_path / name).read_text())
    try:
        assert local_prefect.end_strays(str(tmp_path / "mine")) == 1
        end = time.monotonic() + 10
        while (
            psutil.pid_exists(pids["mine"]) and psutil.Process(pids["mine"]).status() != psutil.STATUS_ZOMBIE
        ):
            assert time.monotonic() < end
            time.sleep(0.05)
        for name in ("theirs", "at work", "a person's"):
            assert psutil.Process(pids[name]).status() != psutil.STATUS_ZOMBIE
    finally:
        for pid in pids.values():
            if psutil.pid_exists(pid):
                psutil.Process(pid).kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_what_a_command_started_ends_with_it_however_it_ends(tmp_path, number):
    command = (
        "import subprocess, sys, time\n"
        "from flows import local_prefect\n"
        "local_prefect.prepare()\n"
        "sleeper = [sys.executable, '-c', 'import time; time.sleep(120)']\n"
        "print(subprocess.Popen(sleeper, start_new_session=True).pid, flush=True)\n"
        "time.sleep(120)\n"
    )
    environment = {**os.environ, "RLHF_HOME": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
    with subprocess.Popen([sys.executable, "-c", command], env=environment, stdout=subprocess.PIPE) as owner:
        started = psutil.Process(int(owner.stdout.readline()))
        owner.send_signal(number)
    started.wait(timeout=30)
