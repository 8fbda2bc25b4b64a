"""`rlhf data curate` at the terminal: the funnel of prompts that were curated by themselves."""

from __future__ import annotations

from pathlib import Path

from rich.table import Table

from flows.terminal import console
from rlhf.data.room import Curated

SHOWN = 4  # reasons of a step


def show_curation(done: Curated, out_dir: Path) -> None:
    """Steps with rows in and out and their reasons, the splits, and how much was known already."""
    out = console()
    table = Table(title=f"{done.rows:,} valid prompts curated", title_justify="left")
    for name, right in (("step", False), ("rows in", True), ("rows out", True), ("why", False)):
        table.add_column(name, justify="right" if right else "left")
    for step in done.funnel["steps"]:
        reasons = sorted(step["reasons"].items(), key=lambda reason: (-reason[1], reason[0]))
        said = [f"{reason} {count:,}" for reason, count in reasons[:SHOWN]]
        if len(reasons) > SHOWN:
            said.append(f"{len(reasons) - SHOWN} more reasons")
        name = f"{step['step']} ({step['of']})" if "of" in step else step["step"]
        table.add_row(name, f"{step['in']:,}", f"{step['out']:,}", ", ".join(said))
    for line in done.formats:
        out.print(line, highlight=False, markup=False, soft_wrap=True)
    out.print(table)
    if done.funnel["pii"]:
        kinds = ", ".join(f"{kind} {count:,}" for kind, count in done.funnel["pii"].items())
        out.print(f"personal data in training users' prompts: {kinds}", highlight=False)
    sizes = ", ".join(f"{split} {rows:,}" for split, rows in done.funnel["sets"].items())
    out.print(f"{sizes}; in {out_dir}", highlight=False, soft_wrap=True)
    if done.remembered:
        out.print(
            f"{done.remembered:,} of {done.rows:,} rows were known from an earlier run", highlight=False
        )
