"""The data room on a seeded corpus of known truth: near copies beside datasketch and datatrove, and the whole.

    python -m benchmarks.data [--quick] [--rows 100000] [--large] --json

Each side works in a process and an environment of its own (.venv-datasketch, .venv-datatrove, made when they are
missing), with one thread, and they take turns after a run each that is not counted; CPU seconds count. A turn of ours,
seconds beside a peer's minute, is the median of five runs, a peer's is one run. The whole curation is wall time on
--workers processes. Near copies are measured against what was planted (rlhf/data/planted/copies.py).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import itertools
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import psutil

from benchmarks.workers import ROOT, ask, environment, start, stop
from rlhf.data.planted import copies as planted_copies
from rlhf.data.planted.copies import Corpus
from rlhf.records import write_jsonl

PEERS = ("datasketch", "datatrove")
OURS_A_TURN = 5


def main() -> None:
    options = arguments()
    if options.worker:
        work(options.worker)
        return
    report: dict[str, Any] = {"rows": options.rows}
    with tempfile.TemporaryDirectory() as folder:
        corpus = planted_copies.corpus(options.rows, options.seed)
        path = Path(folder) / "corpus.jsonl"
        write_jsonl(path, corpus.records)
        report |= near_copies(path, corpus, options)
        report |= whole(path, Path(folder) / "out", options.workers, options.turns)
        if options.large:
            large = Path(folder) / "large.jsonl"
            write_jsonl(large, planted_copies.corpus(10 * options.rows, options.seed).records)
            ten = whole(large, Path(folder) / "large", options.workers, 1)
            report |= {f"{key}_at_10x": value for key, value in ten.items()}
            report["growth"] = 1 + math.log10(report["rows_per_second"] / ten["rows_per_second"])
    if not options.no_pii:
        from benchmarks import data_pii

        report |= data_pii.measure(options.quick)
    for key, value in report.items():
        print(f"{key}: {value:.4g}" if isinstance(value, float) else f"{key}: {value}")
    if options.json:
        print(json.dumps(report))


def near_copies(path: Path, corpus: Corpus, options: argparse.Namespace) -> dict[str, Any]:
    """Rows a CPU second, recall and precision of ours and of each peer, in turns; and how many times faster we are."""
    commands = {"ours": [sys.executable, "-m", "benchmarks.data", "--worker", str(path)]}
    for peer in options.peers:
        commands[peer] = [environment(peer), "-m", f"benchmarks.peers.{peer}_near", str(path)]
    running = {name: start(command) for name, command in commands.items()}
    seconds: dict[str, list[float]] = {name: [] for name in running}
    found: dict[str, Any] = {name: ask(process) for name, process in running.items()}
    for _ in range(options.turns):
        for name, process in running.items():
            spent = []
            for _ in range(OURS_A_TURN if name == "ours" else 1):
                found[name] = ask(process)
                spent.append(found[name]["seconds"])
            seconds[name].append(statistics.median(spent))
    for process in running.values():
        stop(process)
    report: dict[str, Any] = {}
    for name, times in seconds.items():
        scores = planted_copies.score(corpus, set(found[name]["removed"]))
        prefix = "near" if name == "ours" else name
        report |= {f"{prefix}_{key}": value for key, value in scores.items()}
        report[f"{prefix}_rows_per_cpu_second"] = len(corpus.records) / statistics.median(times)
        report[f"{prefix}_peak_gb"] = found[name]["peak_gb"]
        if name != "ours":
            ratios = [theirs / mine for theirs, mine in zip(times, seconds["ours"], strict=True)]
            report[f"near_dedup_vs_{name}"] = statistics.median(ratios)
    return report


def whole(path: Path, out: Path, workers: int, turns: int) -> dict[str, Any]:
    """Rows a second and the memory of the whole process tree of `rlhf data curate`; and again, all remembered: medians."""
    with path.open("rb") as lines:
        rows = sum(1 for _ in lines)
    found: dict[str, list[float]] = {}
    for turn in range(turns):
        command = [sys.executable, "-m", "flows.cli", "data", "curate", str(path), "--out", f"{out}-{turn}"]
        for name in ("", "_again"):
            start = time.perf_counter()
            process = subprocess.Popen(
                [*command, "--set", f"data.workers={workers}"],
                cwd=ROOT,
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
            )
            peak = Peak(process.pid)
            process.communicate()
            spent = time.perf_counter() - start
            if process.returncode:
                raise SystemExit(f"curation failed: {process.args}")
            found.setdefault(f"rows_per_second{name}", []).append(rows / spent)
            found.setdefault(f"peak_gb{name}", []).append(peak.gb)
    return {key: statistics.median(values) for key, values in found.items()}


class Peak(threading.Thread):
    """The most memory that a process and its children held together, GiB; sampled twenty times a second.

    Who the children are is asked twice a second: each time, all processes of the machine are looked through.
    """

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self.gb, self._process = 0.0, psutil.Process(pid)
        self.start()

    def run(self) -> None:
        family: list[psutil.Process] = []
        for turn in itertools.count():
            held = 0
            try:
                if turn % 10 == 0:
                    family = self._process.children(recursive=True)
                held = self._process.memory_info().rss
            except psutil.NoSuchProcess:
                return
            for member in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    held += member.memory_info().rss
            self.gb = max(self.gb, held / 2**30)
            time.sleep(0.05)


def work(path: str) -> None:
    """Ours, near copies alone: a run for each line on standard input, a JSON line each."""
    import resource

    import numpy as np

    from rlhf.data import dedup, fingerprints, near
    from rlhf.data.curation import PAIRS_A_PIECE

    with open(path, encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    gc.freeze()  # the corpus is the benchmark's, here and in the peers' processes
    limit, size = 0.7, 8192

    def records(some: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"messages": [{"role": "user", "content": row["text"]}]} for row in some]

    def verify(pairs: np.ndarray) -> np.ndarray:
        found = [np.empty(0, bool)]
        for start in range(0, len(pairs), PAIRS_A_PIECE):
            these, places = np.unique(pairs[start : start + PAIRS_A_PIECE], return_inverse=True)
            found.append(near.are_copies(records([rows[row] for row in these]), places.reshape(-1, 2), limit))
        return np.concatenate(found)

    for _ in sys.stdin:
        start = time.process_time()
        prints = [
            fingerprints.of_texts(
                [fingerprints.compared(record, 10**9) for record in records(rows[at : at + size])]
            )
            for at in range(0, len(rows), size)
        ]
        step, _ = dedup.copies(np.concatenate(prints), limit, verify)
        spent = time.process_time() - start
        removed = [row["id"] for row, code in zip(rows, step, strict=True) if code]
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(json.dumps({"seconds": spent, "removed": removed, "peak_gb": peak}), flush=True)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=PEERS)
    parser.add_argument("--large", action="store_true", help="the whole curation of ten times the rows, too")
    parser.add_argument("--no-pii", action="store_true", help="without benchmarks.data_pii")
    parser.add_argument("--quick", action="store_true", help="10,000 rows, one turn")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.quick:
        options.rows, options.turns = min(options.rows, 10_000), 1
    return options


if __name__ == "__main__":
    main()
