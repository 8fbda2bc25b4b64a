"""The claim that machines with one MLflow server see; the lock of one machine is in tests/flows/test_rounds.py."""

from __future__ import annotations

import json
import time

import pytest

from tasks import lock, tracking


def stand(who: str, beat: float) -> None:
    claim = {"id": who, "who": who, "since": "today", "beat": beat}
    tracking.client().set_experiment_tag(tracking.experiment(), lock.CLAIM, json.dumps(claim))


def test_a_claim_that_is_renewed_is_respected(state):
    stand("round on another machine", time.time() - lock.STALE / 2)
    with (
        pytest.raises(ValueError, match="running already: round on another machine, since today"),
        lock._claim({"id": "me", "who": "me", "since": "now"}),
    ):
        pass


def test_a_claim_that_was_dropped_is_taken_over_and_given_back(state, monkeypatch):
    monkeypatch.setattr(lock, "SETTLE", 0.01)
    stand("a machine that lost its power", time.time() - lock.STALE - 1)
    with lock._claim({"id": "me", "who": "me", "since": "now"}):
        standing = lock._read()
        assert standing and standing["id"] == "me"
    assert lock._read() is None


def test_of_two_claims_at_once_the_later_stands(state, monkeypatch):
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: stand("the other", time.time()))
    with pytest.raises(ValueError, match="the other"), lock._claim({"id": "me", "who": "me", "since": "now"}):
        pass
