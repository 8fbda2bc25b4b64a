"""Aliases of model versions, and the history of their moves, which MLflow does not keep."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from tasks import tracking

HISTORY = "rlhf.history."  # on a registered model: one tag for each move of an alias


@dataclass(frozen=True)
class Move:
    """One move of an alias. version and before are None where the alias is absent."""

    at: str
    alias: str
    version: int | None
    before: int | None
    by: str
    why: str


def aliases(name: str) -> dict[str, int]:
    """{alias: version} of a model as MLflow has them now; {} for an unknown model."""
    model = tracking.registered(name)
    return {alias: int(version) for alias, version in model.aliases.items()} if model else {}


def set_alias(name: str, alias: str, version: int | None, *, by: str, why: str = "") -> None:
    """Moves an alias (None takes it away) and keeps the move in the model's history."""
    before = aliases(name).get(alias)
    if before == version:
        return
    if version is None:
        tracking.client().delete_registered_model_alias(name, alias)
    else:
        tracking.client().set_registered_model_alias(name, alias, str(version))
    _keep(name, alias, version, before, by, why)


def history(name: str) -> list[Move]:
    """Every recorded move of a model's aliases, oldest first."""
    model = tracking.registered(name)
    tags = model.tags if model else {}
    return [Move(**json.loads(tags[key])) for key in sorted(tags) if key.startswith(HISTORY)]


def reconcile(name: str = "policy") -> list[Move]:
    """Records the moves that people made in the MLflow UI since the last look; returns them."""
    now = aliases(name)
    last = {move.alias: move.version for move in history(name)}
    moved = [alias for alias in sorted({*now, *last}) if now.get(alias) != last.get(alias)]
    return [_keep(name, a, now.get(a), last.get(a), "MLflow UI", "noticed by reconcile") for a in moved]


def _keep(name: str, alias: str, version: int | None, before: int | None, by: str, why: str) -> Move:
    move = Move(datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"), alias, version, before, by, why)
    tracking.client().set_registered_model_tag(name, f"{HISTORY}{move.at}.{alias}", json.dumps(asdict(move)))
    return move
