"""The claim that machines with one MLflow server see; the lock of one machine is in tests/flows/test_rounds.py."""

from __future__ import annotations

import json
import time

import pytest

from tasks import lock, tracking


def stand(who: str, beat: float, home: str = "elsewhere") -> None:
    claim = {"id": who, "who": who, "since": "today", "beat": beat, "home": home}
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


def test_a_claim_of_this_folder_whose_process_was_killed_does_not_block(state, monkeypatch):
    monkeypatch.setattr(lock, "SETTLE", 0.01)
    monkeypatch.setattr(lock, "_is_shared", lambda: True)
    with lock.one_round_at_a_time("a test"):
        own = lock._where()
    stand("a process that was killed", time.time(), home=own)
    assert lock.holder() is None
    with lock.one_round_at_a_time("a test"):
        assert "a test" in str(lock.holder())
    stand("round on another machine", time.time())
    assert lock.holder() == "round on another machine, since today"


def test_who_took_over_keeps_the_claim(state, monkeypatch):
    monkeypatch.setattr(lock, "SETTLE", 0.01)
    monkeypatch.setattr(lock, "BEAT", 0.4)
    with lock._claim({"id": "me", "who": "me", "since": "now"}):
        stand("another, after we were away for long", time.time())
        time.sleep(0.8)
    standing = lock._read()
    assert standing and standing["id"].startswith("another")


def test_what_changes_data_waits_for_the_rounds_of_every_profile(state, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RLHF_HOME", ".rlhf/mine")
    with lock.one_round_at_a_time("a round"):
        monkeypatch.setenv("RLHF_HOME", ".rlhf")
        with (
            pytest.raises(ValueError, match="of another profile is running: a round, process"),
            lock.nobody_at_work("rlhf data forget"),
        ):
            pass
    with lock.nobody_at_work("rlhf data forget"):
        pass


def test_of_two_claims_at_once_the_later_stands(state, monkeypatch):
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: stand("the other", time.time()))
    with pytest.raises(ValueError, match="the other"), lock._claim({"id": "me", "who": "me", "since": "now"}):
        pass
