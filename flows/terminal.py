"""The terminal that tables and lines are printed to."""

from __future__ import annotations

import sys

from rich.console import Console


def console(width: int = 110) -> Console:
    """The terminal; `width` columns where output goes to a file. Brackets are text: a folder may be named [team-a]."""
    if sys.stdout.isatty():
        return Console(markup=False)
    return Console(markup=False, width=width, no_color=True)
