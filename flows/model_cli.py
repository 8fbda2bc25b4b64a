"""`rlhf model`: what is known of a model before any round."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from flows.options import Files, Settings, chosen_params

app = typer.Typer(help="Models from outside.", no_args_is_help=True)


@app.callback()
def models() -> None:
    """Models from outside."""


@app.command("check")
def model_check(
    directory: Annotated[
        str | None, typer.Argument(help="a Hugging Face causal LM directory, or package:NAME")
    ] = None,
    all: Annotated[
        bool, typer.Option("--all", help="tiny random models of every causal family, as docs/models.md")
    ] = False,
    params: Files = None,
    set: Settings = None,
) -> None:
    """Say what was found in a model directory, what an import would change, and what will not work; exit 2 if it is refused."""
    if all == (directory is not None):
        raise ValueError("which model? Give a directory, or --all for every family that transformers has")
    chosen = chosen_params(params, set)
    if directory is None:
        from rlhf.models import families

        print(families.page(list(families.families())), end="")
        return
    from transformers.utils import logging as library

    from flows.terminal import console
    from rlhf.models import check

    logging.getLogger("rlhf.models.importing").setLevel(logging.ERROR)  # what it says stands in the table
    library.set_verbosity_error()
    library.disable_progress_bar()
    out = console()
    with tempfile.TemporaryDirectory() as work:
        base = chosen.base
        checked = check.check(
            directory, Path(work), context=base.context, today=chosen.chat.today, adapter=base.adapter
        )
        for name, text in check.lines(checked):
            out.print(f"{name:<28}{text}", highlight=False, soft_wrap=True)
