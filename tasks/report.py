"""The report page of a round: .rlhf/reports/round-NNNN.html, and the same page and pictures in MLflow."""

from __future__ import annotations

from pathlib import Path

from tasks import registry
from tasks.stage import Round, stage_task
from tasks.tracking import home


@stage_task(name="write-report")
def write_report(this: Round) -> str:
    """Renders the page of a round from the figures of its stages; returns its path."""
    path = page_path(this.number)
    return str(path)


def page_path(number: int) -> Path:
    return home() / "reports" / f"round-{number:04d}.html"


def page(number: int | None) -> Path:
    """The page of a round, by default of the newest that has one. ValueError where there is none."""
    numbers = [ref.round for ref in registry.rounds() if page_path(ref.round).is_file()]
    if number is None and numbers:
        return page_path(numbers[-1])
    if number not in numbers:
        had = ", ".join(map(str, numbers)) or "none yet"
        raise ValueError(f"there is no report of round {number or 1} (rounds with one: {had})")
    return page_path(number)
