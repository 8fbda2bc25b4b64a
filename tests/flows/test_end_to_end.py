"""One real round through the command line, killed in the middle of a stage and continued."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import psutil


def test_a_round_survives_kill_9(make_clone):
    clone = make_clone("killed")
    running = clone.start("run")
    job = wait_for(clone.folder / ".rlhf" / "work", "base-*/log.txt", running)
    said = clone.rlhf("run", status=2)
    assert "a round is running already: rlhf run, process" in said and said.count("\n") == 1
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    no_job_left(job.parent)

    out = clone.rlhf("run")
    assert "round 1: finished" in out
    rows = {line.split("│")[1].strip(): line for line in out.splitlines() if line.startswith("│")}
    assert "cached" in rows["curate"] and " run " in rows["base"] and "policy/1" in rows["ppo"]

    page = (clone.folder / ".rlhf/reports/round-0001.html").read_text()
    assert "<svg" in page and "<script" not in page
    folder = Path(clone.rlhf("export", "policy", "--path").strip())
    assert json.loads((folder / "config.json").read_text())["architectures"][0].endswith("ForCausalLM")
    assert (folder / "model.safetensors").is_file() and (folder / "ema" / "model.safetensors").is_file()
    assert clone.rlhf("chat", "--max-new-tokens", "4", stdin="Where is the bridge?\n").strip()


def wait_for(folder: Path, pattern: str, running, seconds: float = 900) -> Path:
    """The first file that matches, as soon as it is there."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = list(folder.glob(pattern)) if folder.is_dir() else []
        if found:
            return found[0]
        assert running.poll() is None, running.stdout.read()
        time.sleep(0.1)
    raise AssertionError(f"no {pattern} after {seconds} s")


def no_job_left(out: Path, seconds: float = 120) -> None:
    """The killed round's job ends too: two of them must not write into one folder."""
    end = time.monotonic() + seconds
    while any(
        str(out) in " ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])
    ):
        assert time.monotonic() < end, "the job outlived its round"
        time.sleep(0.2)
