"""What was logged (tables, figures, pages) without what shows a user's texts or names their prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rlhf.data.forget import Traces, strings
from rlhf.data.record_files import Unreadable, kind, rewrite

GONE = "This page showed a text of a user who was forgotten. The round, run again, writes it anew.\n"


def prune(path: Path, traces: Traces) -> bool:
    """Rewrites a logged file without them: whether anything had to go.

    Of JSON the rows and values that show a text, of JSON Lines the lines, and a page as a whole.
    """
    try:
        if path.suffix == ".json":
            value = json.loads(path.read_text(encoding="utf-8"))
            kept = pruned(value, traces)
            if kept != value:
                path.write_text(json.dumps(kept), encoding="utf-8")
            return bool(kept != value)
        if kind(path) == "document":
            shown = traces.shows(path.read_bytes().decode("utf-8", "replace"))
            if shown:
                path.write_text(GONE, encoding="utf-8")
            return shown
        return rewrite(path, lambda entry: isinstance(entry, dict) and _speaks(entry, traces))[1] > 0
    except (Unreadable, ValueError):  # a picture, a file that is no JSON after all
        return False


def pruned(value: Any, traces: Traces) -> Any:
    """A JSON value without the list items, and values of objects, that speak of them."""
    if isinstance(value, list):
        return [pruned(item, traces) for item in value if not _speaks(item, traces)]
    if isinstance(value, dict):
        return {
            key: pruned(item, traces)
            for key, item in value.items()
            if not (isinstance(item, str) and _speaks(item, traces))
        }
    return value


def _speaks(item: Any, traces: Traces) -> bool:
    """Whether a row (an object, or a table's list of cells) or a text is about them, and not what it is part of."""
    if isinstance(item, str):
        return traces.shows(item)
    if isinstance(item, list):
        return any(isinstance(cell, str) and traces.shows(cell) for cell in item)
    if isinstance(item, dict):
        return traces.owns(item) or any(map(traces.shows, strings(item)))
    return False
