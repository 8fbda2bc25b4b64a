"""How long is a first round, how much of it is work, and what does running it again cost?

    python -m benchmarks.round --json

Clones this repository's HEAD into a temporary folder, builds the embedded data there, and runs `rlhf run`
twice in fresh state, in this virtual environment. Prints a table, and with --json one JSON object last:

seconds_total: the first round, from the command to its end; seconds_fetch is apart (it is the network's)
seconds_by_stage: the closing table's; seconds_work: a job process was alive; orchestration_share: the rest
of the total, as a share; peak_rss_gb: resident memory of the whole process tree, memory that processes share
counted in each; rerun_seconds: `rlhf run --round 1` once more, rerun_cached: whether every stage was cached
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tasks import registry, rounds

HERE = Path(__file__).resolve().parents[1]
INTERVAL = 0.2  # seconds between two looks at the process tree
JOBS = "rlhf.jobs"


class Observed(NamedTuple):
    """A command that ran to its end: wall seconds, seconds with a job alive, peak of the tree's memory in bytes."""

    seconds: float
    seconds_work: float
    peak_rss: int


def main() -> None:
    options = arguments()
    folder = Path(tempfile.mkdtemp(prefix="rlhf-round-"))
    try:
        found = measure(folder / "clone", options)
    finally:
        if options.keep:
            print(f"kept: {folder}", file=sys.stderr)
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(table(found))
    if options.json:
        print(json.dumps(found))


def measure(clone: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The figures above, of a round in `clone`, which is made here."""
    subprocess.run(["git", "clone", "--quiet", str(HERE), str(clone)], check=True)
    env = environment(clone)
    chosen = []
    for number, file in enumerate(options.params):
        # a copy: where the file changes meanwhile, the second run would rightly find stages to do
        copy = clone.parent / f"{number}-{Path(file).name}"
        shutil.copy(file, copy)
        chosen += ["--params", str(copy)]
    chosen += [word for setting in options.set for word in ("--set", setting)]
    if options.raw:
        shutil.copytree(options.raw, clone / "data" / "raw")
        fetched = None
    else:
        fetched = watch(clone, env, "data", "fetch").seconds
    first = watch(clone, env, "run", *chosen)
    rows = closing_table(clone)
    again = watch(clone, env, "run", "--round", "1", *chosen)
    return {
        "seconds_total": round(first.seconds, 1),
        "seconds_by_stage": {row["stage"]: row["seconds"] for row in rows},
        "seconds_work": round(first.seconds_work, 1),
        "orchestration_share": round(1.0 - first.seconds_work / first.seconds, 4),
        "peak_rss_gb": round(first.peak_rss / 1e9, 2),
        "rerun_seconds": round(again.seconds, 1),
        "rerun_cached": again.seconds_work == 0.0,
        "seconds_fetch": None if fetched is None else round(fetched, 1),
        "params": options.params,
        "set": options.set,
        "commit": answer("git", "-C", str(clone), "rev-parse", "HEAD"),
        "machine": machine(),
    }


def environment(clone: Path) -> dict[str, str]:
    """This environment without settings of another round; modules come from the clone."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "RLHF_"))}
    return {**kept, "PYTHONPATH": str(clone), "PREFECT_API_URL": "", "RLHF_HOME": str(clone / ".rlhf")}


def watch(clone: Path, env: dict[str, str], *words: str) -> Observed:
    """Runs `rlhf WORDS` in the clone and looks at its processes meanwhile. RuntimeError where it fails."""
    began = time.time()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words],
        cwd=clone,
        env=env,
        stdout=sys.stderr,
        start_new_session=True,
    )
    tree = psutil.Process(process.pid)
    alive: dict[int, tuple[float, float]] = {}  # a job's process -> first and last moment seen
    peak = 0
    try:
        while process.poll() is None:
            rss, now = 0, time.time()
            for each in [tree, *_children(tree)]:
                with suppress(psutil.Error):
                    rss += each.memory_info().rss
                    if JOBS in each.cmdline():
                        alive[each.pid] = (max(began, each.create_time()), now)
            peak = max(peak, rss)
            time.sleep(INTERVAL)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
    if process.returncode:
        raise RuntimeError(f"rlhf {' '.join(words)} ended with exit status {process.returncode}")
    return Observed(time.time() - began, covered(list(alive.values())), peak)


def covered(spans: list[tuple[float, float]]) -> float:
    """Seconds that at least one of the spans (begin, end) covers."""
    total, reached = 0.0, float("-inf")
    for begin, end in sorted(spans):
        total += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return total


def closing_table(clone: Path) -> list[dict[str, Any]]:
    """The rows of the round's table, as its MLflow run keeps them."""
    os.environ["RLHF_HOME"] = str(clone / ".rlhf")
    for name in [name for name in os.environ if name.startswith("MLFLOW_")]:
        del os.environ[name]
    return rounds.table(registry.rounds()[-1])


def table(found: dict[str, Any]) -> str:
    lines = [f"{stage:<16}{seconds:>9.1f} s" for stage, seconds in found["seconds_by_stage"].items()]
    lines += [
        f"{'round':<16}{found['seconds_total']:>9.1f} s   work {found['seconds_work']:.1f} s, "
        f"orchestration {found['orchestration_share']:.1%}, peak {found['peak_rss_gb']:.2f} GB",
        f"{'again':<16}{found['rerun_seconds']:>9.1f} s   "
        + ("all cached" if found["rerun_cached"] else "NOT all cached"),
        f"{found['machine']}, commit {found['commit'][:12]}",
    ]
    return "\n".join(lines)


def machine() -> str:
    """Processor, cores and memory, in words."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    memory = psutil.virtual_memory().total / 1e9
    return f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GB"


def answer(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _children(tree: psutil.Process) -> list[psutil.Process]:
    try:
        return tree.children(recursive=True)
    except psutil.Error:
        return []


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--params", action="append", default=[], help="profile to overlay")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    parser.add_argument("--raw", help="a folder to copy as data/raw, instead of building the embedded data")
    parser.add_argument("--keep", action="store_true", help="leave the clone where it is")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


if __name__ == "__main__":
    main()
