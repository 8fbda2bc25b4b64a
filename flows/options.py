"""Options that commands share, and the parameters that they name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rlhf.params import Params

Files = Annotated[
    list[Path] | None, typer.Option("--params", help="a profile laid over params.yaml (may be repeated)")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="one setting: section.key=value (may be repeated)")
]


def chosen_params(files: list[Path] | None = None, settings: list[str] | None = None) -> Params:
    """params.yaml of this folder, profiles and settings laid over it; the profile's state is kept apart."""
    from rlhf.params import load
    from tasks.profile import keep_apart

    here = Path("params.yaml")
    chosen = load(here if here.is_file() else None, files or [], settings or [])
    keep_apart(chosen)
    return chosen
