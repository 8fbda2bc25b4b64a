"""Which policy the next round builds on: the aliases candidate, champion and previous-champion.

MLflow is always asked, so a person who moves champion in its UI decides; `registry.reconcile` writes
such moves into the model's history, and `rollback` follows that history back.
"""

from __future__ import annotations

from collections.abc import Sequence

from tasks import registry
from tasks.aliases import Move
from tasks.tracking import ModelRef

POLICY = "policy"
ROLLBACK = "rollback"


def champion() -> ModelRef | None:
    """The version that holds the alias champion; None before the first promotion."""
    version = registry.aliases(POLICY).get("champion")
    return ModelRef(POLICY, version) if version else None


def set_candidate(version: int, *, by: str = "round", why: str = "") -> None:
    """Names a round's policy the candidate. Moves that people made before are recorded first."""
    reconcile()
    registry.set_alias(POLICY, "candidate", version, by=by, why=why)


def promote(version: int | str = "candidate", *, by: str = "rlhf promote", why: str = "") -> ModelRef:
    """Makes a version (number or alias) the champion; the one before becomes previous-champion.

    Nothing changes where it is the champion already. ValueError where there is no such version.
    """
    reconcile()
    ref = registry.resolve(POLICY, version)
    now = champion()
    if now == ref:
        return ref
    if now:  # first, so that a kill between the two leaves a way back
        registry.set_alias(POLICY, "previous-champion", now.version, by=by, why=f"before {ref}")
    registry.set_alias(POLICY, "champion", ref.version, by=by, why=why)
    return ref


def rollback(*, by: str = "rlhf rollback", why: str = "") -> ModelRef:
    """Makes the champion before this one champion again; once more goes one further back.

    ValueError where there is none.
    """
    reconcile()
    reign = champions(registry.history(POLICY))
    if len(reign) < 2:
        raise ValueError("there is no previous champion to go back to")
    back = ModelRef(POLICY, reign[-2])
    if back.version not in registry.versions(POLICY):
        raise ValueError(f"the previous champion {back} was deleted from MLflow")
    registry.set_alias(POLICY, "champion", back.version, by=by, why=why or ROLLBACK)
    reconcile()
    return back


def reconcile() -> list[Move]:
    """Records what people moved in the MLflow UI, and keeps previous-champion true; returns the moves."""
    moves = registry.reconcile(POLICY)
    reign = champions(registry.history(POLICY))
    before = reign[-2] if len(reign) > 1 and reign[-2] in registry.versions(POLICY) else None
    registry.set_alias(POLICY, "previous-champion", before, by="reconcile")
    return moves


def was_champion(version: int) -> bool:
    """Whether a version is the champion, or was."""
    reconcile()
    return any(move.alias == "champion" and move.version == version for move in registry.history(POLICY))


def champions(history: Sequence[Move]) -> list[int]:
    """The champions that led to the present one, oldest first, the present one last.

    A promotion adds one; going back to the one before takes the last away.
    """
    reign: list[int] = []
    for move in history:
        if move.alias != "champion" or move.version is None:
            continue
        if len(reign) > 1 and reign[-2] == move.version:
            reign.pop()
        elif not reign or reign[-1] != move.version:
            reign.append(move.version)
    return reign
