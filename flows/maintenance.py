"""Small scheduled flows that keep the records true."""

from __future__ import annotations

from prefect import flow

from tasks import promotion


@flow(name="reconcile-promotions")
def reconcile_promotions() -> list[str]:
    """Notes what people moved in the MLflow UI: MLflow itself keeps no history of aliases.

    Returns one line for each move that was not known yet.
    """
    return [
        f"{move.alias}: {move.before or 'nobody'} -> {move.version or 'nobody'} ({move.by})"
        for move in promotion.reconcile()
    ]
