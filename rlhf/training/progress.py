"""A progress bar with rate and time left, on standard error; silent where nobody looks."""

from __future__ import annotations

from collections.abc import Sized
from typing import Any

from tqdm import tqdm


def progress(items: Any, label: str, shown: bool = True) -> Any:
    """`items`, counted as they are used; a line at most every half second."""
    total = len(items) if isinstance(items, Sized) else None
    return tqdm(
        items, desc=label, total=total, disable=not shown, mininterval=0.5, dynamic_ncols=True, leave=True
    )
