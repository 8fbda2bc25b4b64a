"""Personal data: ours against Presidio without NER, on texts in which it is planted at known places.

    python -m benchmarks.data_pii [--quick] [--alone] --json

Both read the same texts, each in a process of its own, and take turns. The ratio is of rows a CPU second on rows that
hold personal data; recall and precision are counted on those and on as many look-alikes. Presidio has an environment of its own,
.venv-presidio, which is made where it is missing.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from typing import Any

from benchmarks.workers import ask, environment, start, stop
from rlhf.data.pii import Span, find
from rlhf.data.planted.pii import Case, cases, score

SEED = 20_260


def measure(quick: bool, alone: bool = False) -> dict[str, Any]:
    """pii_rows_per_second, pii (recall and precision by kind); not alone also pii_vs_presidio and pii_presidio."""
    made = cases(SEED, 1_200 if quick else 3_000)
    dense = [case.text for case in made if case.spans]
    rates: dict[str, list[float]] = {"ours": [], "presidio": []}
    workers = {"ours": start([sys.executable, "-m", "benchmarks.data_pii", "--worker"])}
    if not alone:
        workers["presidio"] = start([environment("presidio"), "-m", "benchmarks.peers.presidio_pii"])
    for turn in range(1 + (2 if quick else 5)):
        for name, process in workers.items():
            seconds = ask(process, json.dumps(dense))["seconds"]
            if turn:  # the first warms up
                rates[name].append(len(dense) / seconds)
    report: dict[str, Any] = {
        "pii_rows": len(dense),
        "pii_rows_per_second": statistics.median(rates["ours"]),
        "pii": _scored(made, workers["ours"]),
    }
    if not alone:
        report["pii_presidio_rows_per_second"] = statistics.median(rates["presidio"])
        report["pii_vs_presidio"] = statistics.median(
            mine / theirs for mine, theirs in zip(rates["ours"], rates["presidio"], strict=True)
        )
        report["pii_presidio"] = _scored(made, workers["presidio"])
    for process in workers.values():
        stop(process)
    return report


def _scored(made: list[Case], process: subprocess.Popen[str]) -> dict[str, dict[str, float]]:
    found = ask(process, json.dumps([case.text for case in made]))["spans"]
    spans = {case.text: [Span(*hit) for hit in hits] for case, hits in zip(made, found, strict=True)}
    return score(made, spans.__getitem__)


def work() -> None:
    """Ours: the texts of each line on standard input, a JSON line each, as the peer writes them."""
    for line in sys.stdin:
        texts = json.loads(line)
        start = time.process_time()
        found = [find(text) for text in texts]
        seconds = time.process_time() - start
        spans = [[[span.kind, span.start, span.end] for span in hits] for hits in found]
        print(json.dumps({"seconds": seconds, "spans": spans}), flush=True)


def table(report: dict[str, Any]) -> str:
    lines = [
        f"ours {report['pii_rows_per_second']:,.0f} rows a CPU second on {report['pii_rows']:,} dense rows"
    ]
    if "pii_presidio" in report:
        lines[0] += (
            f", Presidio {report['pii_presidio_rows_per_second']:,.0f}: {report['pii_vs_presidio']:.1f} times"
        )
    lines.append(f"{'':<14}{'planted':>8}{'recall':>9}{'precision':>11}    Presidio: recall, precision")
    theirs = report.get("pii_presidio", {})
    for kind, figures in report["pii"].items():
        if kind == "look_alikes":
            other = f"{theirs[kind]['flagged']:>14.4f}" if theirs else ""
            lines.append(f"{kind:<14}{figures['planted']:>8.0f}  flagged {figures['flagged']:.4f}  {other}")
            continue
        other = f"{theirs[kind]['recall']:>14.4f}{theirs[kind]['precision']:>11.4f}" if theirs else ""
        lines.append(
            f"{kind:<14}{figures['planted']:>8.0f}{figures['recall']:>9.4f}{figures['precision']:>11.4f}{other}"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--alone", action="store_true", help="without Presidio")
    parser.add_argument("--quick", action="store_true", help="a fifth of the rows, fewer turns")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work()
        return
    report = measure(options.quick, options.alone)
    print(table(report))
    if options.json:
        print(json.dumps(report))


if __name__ == "__main__":
    main()
