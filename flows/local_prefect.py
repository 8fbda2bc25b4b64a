"""Prefect in place, for rounds by hand: its state in .rlhf/, no chatter at the terminal, nothing left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from tasks.tracking import home

SERVER = "prefect.server.api.server:create_app"
CLOCK = 300  # seconds: a process began later where the machine's clock was set meanwhile
OWNER = "RLHF_SERVER_OWNER"  # in a temporary server's environment: the process that it is for


def prepare() -> None:
    """To be called before Prefect is imported. What the user exported stands."""
    level = "INFO" if "RLHF_DEBUG" in os.environ else "CRITICAL"
    for name, value in {
        "PREFECT_HOME": str(home() / "prefect"),
        "PREFECT_LOGGING_LEVEL": level,
        "PREFECT_LOGGING_SERVER_LEVEL": level,
        "PREFECT_LOGGING_INTERNAL_LEVEL": level,
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }.items():
        os.environ.setdefault(name, value)
    if not os.environ.get("PREFECT_API_URL"):
        os.environ.pop("PREFECT_API_URL", None)  # an empty one would be taken for an address
    os.environ[OWNER] = _name(psutil.Process())
    Path(os.environ["PREFECT_HOME"]).mkdir(parents=True, exist_ok=True)
    end_strays(os.environ["PREFECT_HOME"])
    end_with_this_process()


def end_with_this_process() -> None:
    """What this process starts from now on ends with it, however it ends: SIGTERM and SIGKILL run no exit handlers.

    Nobody closes the pipe to the guard: it closes as this process goes.
    """
    waits, _ = os.pipe()
    subprocess.Popen(
        [sys.executable, "-m", "tasks.guard", OWNER, os.environ[OWNER]],
        stdin=waits,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(waits)


def end_strays(prefect_home: str) -> int:
    """Ends Prefect's temporary servers of this state folder whose round was killed; returns their number.

    Prefect starts one beside a flow where no server is configured, and stops it as the process ends. The guard ends
    that of a killed process; this is for the case that the guard was killed too.
    """
    ended = 0
    for process in psutil.process_iter(["cmdline", "ppid"]):
        if SERVER not in (process.info["cmdline"] or []):
            continue
        with suppress(psutil.Error):
            environment = process.environ()
            owner = environment.get(OWNER)  # none: a server that a person started
            if environment.get("PREFECT_HOME") == prefect_home and owner and not _lives(owner):
                process.terminate()
                ended += 1
    return ended


def _name(process: psutil.Process) -> str:
    """Of this process and no other: ids are given again."""
    return f"{process.pid} {process.create_time()}"


def _lives(owner: str) -> bool:
    pid, began = owner.split()
    if not psutil.pid_exists(int(pid)):
        return False
    return abs(psutil.Process(int(pid)).create_time() - float(began)) < CLOCK
