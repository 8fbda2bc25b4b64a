"""`rlhf data forget`: whose data goes, a question before a purge, and the report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import typer

from rlhf.params import Params


def forget(named: Sequence[str], file: Path | None, params: Params, *, erase: bool, ask: bool) -> None:
    """Forgets the users at once and prints what was done. RuntimeError where something of them is left."""
    users = ids(named, file)
    from tasks import forget

    if ask and not _sure(len(set(users))):
        raise ValueError("not confirmed, nothing was changed (--yes asks nothing)")
    try:
        report = forget.forget_users(users, params, erase=erase)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        raise typer.Exit(130) from None
    for line in forget.lines(report):
        print(line)
    forget.check(report)


def ids(named: Sequence[str], file: Path | None) -> list[str]:
    """The ids on the command line and those of a file, one a line.

    ValueError where there is none, unless a run that was killed has to be ended.
    """
    from tasks import forget

    if file and not file.is_file():
        raise ValueError(f"{file} does not exist or is no file: expected user ids, one a line")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines() if file else []
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not UTF-8 text: expected user ids, one a line") from None
    found = [*named, *(line.strip() for line in lines if line.strip())]
    if not found and not forget.pending():
        raise ValueError("whom to forget? Give user ids, or --file with one a line")
    return found


def _sure(users: int) -> bool:
    question = (
        f"Erase {users} user{'s' * (users > 1)} from older data versions, logged tables, reports and work "
        "folders too? Nothing brings these back."
    )
    try:
        return typer.confirm(question)
    except typer.Abort:
        return False
