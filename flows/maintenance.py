"""Flows beside the rounds: the history of aliases, and users who are to be forgotten."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect import flow

from flows.forgetting import ids
from flows.stages import params_of
from tasks import forget, promotion
from tasks.profile import keep_apart


@flow(name="reconcile-promotions")
def reconcile_promotions() -> list[str]:
    """Notes what people moved in the MLflow UI: MLflow itself keeps no history of aliases.

    Returns one line for each move that was not known yet.
    """
    return [
        f"{move.alias}: {move.before or 'nobody'} -> {move.version or 'nobody'} ({move.by})"
        for move in promotion.reconcile()
    ]


@flow(name="forget-user")
def forget_user(
    users: list[str] | None = None,
    file: str | None = None,
    purge: bool = False,
    params: dict[str, Any] | None = None,
) -> list[str]:
    """Takes users out of the worker's data/, in a new version: `rlhf data forget`, from afar.

    users: ids, which Prefect keeps with the run; or file: one on the worker, an id a line. Nobody is asked
    before `purge`. Returns the lines of the report. RuntimeError where something of them is left.
    """
    chosen = params_of(params)
    keep_apart(chosen)
    report = forget.forget_users(ids(users or [], Path(file) if file else None), chosen, erase=purge)
    said = forget.lines(report)
    print("\n".join(said))
    forget.check(report)
    return said
