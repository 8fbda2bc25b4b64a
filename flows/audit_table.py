"""The table of `rlhf data audit`."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console
from rich.table import Table

from rlhf.data.audit import Figures


def show(figures: Iterable[Figures], console: Console) -> bool:
    """Print a line a check, with its bars; whether every figure holds."""
    table = Table(title="what the data room finds of planted faults", title_justify="left")
    table.add_column("check")
    for name in ("planted", "found", "recall", "clean", "wrong", "precision", "bars"):
        table.add_column(name, justify="right")
    table.add_column("")
    holds = True
    for line in figures:
        holds &= line.holds
        table.add_row(
            line.name,
            f"{line.planted:,}",
            f"{line.found:,}",
            f"{line.recall:.4f}" if line.planted else "",
            f"{line.clean:,}" if line.clean else "",
            f"{line.wrong:,}" if line.clean else "",
            f"{line.precision:.4f}" if line.precision_bar is not None else "",
            _bars(line),
            "holds" if line.holds else "MISSED",
        )
    console.print(table)
    return holds


def _bars(line: Figures) -> str:
    bars = (("recall ≥", line.recall_bar), ("precision ≥", line.precision_bar), ("wrong ≤", line.false_bar))
    return ", ".join(f"{name} {bar:g}" for name, bar in bars if bar is not None)
