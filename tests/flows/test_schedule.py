"""Rounds that were due while no worker was there, on a real Prefect server."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule
from prefect.settings import PREFECT_API_URL
from prefect.testing.utilities import prefect_test_harness

from flows import schedule
from flows.stages import params_of


@pytest.fixture(scope="module")
def server():
    with prefect_test_harness(server_startup_timeout=120):
        yield


@flow(name="rlhf-iteration")
def weekly() -> None:
    """As the round's flow in all that a schedule sees."""


def test_one_round_makes_up_for_all_that_were_missed(server, monkeypatch):
    with get_client(sync_client=True) as client:
        id = client.create_deployment(
            flow_id=client.create_flow(weekly),
            name="rlhf-iteration",
            schedules=[{"schedule": CronSchedule(cron="0 3 * * 1", timezone="UTC"), "active": True}],
        )
        now = datetime.now(UTC)
        asked = {
            "start_time": (now - timedelta(weeks=5)).isoformat(),
            "end_time": now.isoformat(),
            "min_runs": 5,
        }
        client._client.post(f"/deployments/{id}/schedule", json=asked).raise_for_status()
        by_hand = client.create_flow_run_from_deployment(id)
        monkeypatch.setenv("PREFECT_API_URL", PREFECT_API_URL.value())
        assert any("waits for a worker" in line for line in schedule.sentences())

        runs = sorted(client.read_flow_runs(), key=lambda run: run.expected_start_time)
        missed = [run for run in runs if run.auto_scheduled and run.expected_start_time < now]
        assert len(missed) >= 4
        own = SimpleNamespace(id=str(missed[0].id), name=missed[0].name)
        monkeypatch.setattr("prefect.runtime.flow_run", own)
        monkeypatch.setattr("prefect.runtime.deployment", SimpleNamespace(id=str(id)))
        assert schedule.make_up_for_missed() == len(missed) - 1
        assert schedule.make_up_for_missed() == 0
        states = {run.id: run.state_name for run in client.read_flow_runs()}
        assert states[missed[0].id] == "Scheduled" and states[by_hand.id] == "Scheduled"
        assert {states[run.id] for run in missed[1:]} == {"Missed"}
        assert {states[run.id] for run in runs if run.expected_start_time >= now} <= {"Scheduled"}
    said = schedule.sentences()
    assert any(f"{len(missed) - 1} scheduled rounds were missed" in line for line in said), said
    assert any(own.name in line for line in said)


def test_without_a_server_nothing_is_said(monkeypatch, tmp_path):
    monkeypatch.setenv("RLHF_HOME", str(tmp_path))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    assert schedule.sentences() == []
    (tmp_path / "stack.json").write_text(json.dumps({"prefect": "http://127.0.0.1:9/api"}))
    assert schedule.sentences() == []
    assert "PREFECT_API_URL" not in os.environ


@pytest.mark.parametrize("settings", [[1], "ppo", 5, {"ppo": 5}, {"pp": {}}, {"ppo": {"learning_rate": 1}}])
def test_params_of_a_deployment_are_a_mapping_of_known_keys(settings):
    with pytest.raises(ValueError, match=r"^(params is|parameter ppo is 5|unknown parameter) ?"):
        params_of(settings)
