"""Two sides of a benchmark, each in a process (and an environment) of its own, that take turns: a line asks, a line answers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
_ONE_THREAD = {name: "1" for name in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")}
_REQUIREMENTS = {
    "datasketch": "datasketch-2.0.txt",
    "datatrove": "datatrove-0.10.txt",
    "presidio": "presidio-2.2.366.txt",
    "trl": "trl-1.9.2.txt",
}


def environment(peer: str) -> str:
    """The python of a peer's environment, .venv-<peer>, which is made where it is missing."""
    folder = ROOT / f".venv-{peer}"
    python = folder / "bin" / "python"
    if not (folder / ".installed").is_file():
        print(f"making .venv-{peer} ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        requirements = ROOT / "benchmarks" / "peers" / _REQUIREMENTS[peer]
        pip = [str(python), "-m", "pip", "install", "-q", "--no-deps", "-r", str(requirements)]
        subprocess.run(pip, check=True, stderr=subprocess.DEVNULL)
        (folder / ".installed").touch()
    return str(python)


def start(command: list[str], **env: str) -> subprocess.Popen[str]:
    """A worker of one thread that waits for lines on its standard input."""
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **_ONE_THREAD, "HF_HUB_OFFLINE": "1", **env},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def ask(process: subprocess.Popen[str], question: str = "") -> Any:
    """The JSON value that a worker answers to a line."""
    assert process.stdin and process.stdout
    process.stdin.write(f"{question}\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit(f"a worker ended; run it by hand to see why: {process.args}")
    return json.loads(line)


def stop(process: subprocess.Popen[str]) -> None:
    assert process.stdin
    process.stdin.close()
    process.wait(timeout=60)
