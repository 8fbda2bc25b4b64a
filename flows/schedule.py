"""Rounds that were due while no worker was there: one makes up for all of them, and `rlhf status` says so.

Prefect keeps every missed run and hands all of them to the worker that comes back. A round is long and learns from the newest
data, so a second one right after it would be the same round again.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from typing import Any
from urllib.request import Request, urlopen

from tasks.tracking import home

MISSED = "Missed"  # the state's name of a run that another one made up for
WAITING = ("Late", "AwaitingConcurrencySlot")


def make_up_for_missed() -> int:
    """Called by a run of a deployment: ends the runs of its schedule that are due already. Returns their number.

    A run that a person asked for stays in the queue.
    """
    from prefect.client.orchestration import get_client
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType
    from prefect.runtime import deployment, flow_run
    from prefect.states import State

    ended = 0
    with get_client(sync_client=True) as client:
        due = client.read_flow_runs(
            flow_run_filter=filters.FlowRunFilter(
                deployment_id=filters.FlowRunFilterDeploymentId(any_=[deployment.id]),
                state=filters.FlowRunFilterState(
                    type=filters.FlowRunFilterStateType(any_=[StateType.SCHEDULED])
                ),
            )
        )
        now = datetime.now(UTC)
        for run in due:
            is_due = run.state_name in WAITING or (run.expected_start_time or now) < now
            if run.auto_scheduled and is_due and str(run.id) != flow_run.id:
                message = f"due {run.expected_start_time:%Y-%m-%d %H:%M} UTC; {flow_run.name} makes up for it"
                state = State(type=StateType.CANCELLED, name=MISSED, message=message)
                client.set_flow_run_state(run.id, state, force=True)
                ended += 1
    return ended


def sentences(name: str = "rlhf-iteration") -> list[str]:
    """What `rlhf status` says of the schedule of the deployment `name`: what waits for a worker, what was missed, what comes.

    Empty where there is no Prefect server, or it does not answer.
    """
    try:
        return _sentences(_api_url(), name)
    except (OSError, ValueError):
        return []


def _api_url() -> str:
    """Of the environment, else of the stack that `make up` started here."""
    stack = home() / "stack.json"
    return os.environ.get("PREFECT_API_URL") or json.loads(stack.read_text(encoding="utf-8"))["prefect"]


def _sentences(api_url: str, name: str) -> list[str]:

    def runs(state: dict[str, Any], sort: str) -> list[dict[str, Any]]:
        asked = {
            "deployments": {"name": {"any_": [name]}},
            "flow_runs": {"state": state},
            "sort": sort,
            "limit": 100,
        }
        return [run for run in _post(f"{api_url}/flow_runs/filter", asked) if run["auto_scheduled"]]

    said = []
    missed = runs({"name": {"any_": [MISSED]}}, "END_TIME_DESC")
    if missed:
        last = missed[0]["state"]
        count = len([run for run in missed if run["end_time"][:16] == missed[0]["end_time"][:16]])
        said.append(f"{count} scheduled rounds were missed while no worker was there; {last['message']}")
    coming = runs({"type": {"any_": ["SCHEDULED"]}}, "NEXT_SCHEDULED_START_TIME_ASC")
    now = datetime.now(UTC)
    times = [datetime.fromisoformat(run["expected_start_time"]) for run in coming]
    if late := [time for time in times if time < now]:
        said.append(
            f"due since {late[0]:%a %Y-%m-%d %H:%M} UTC: waits for a worker of the pool cpu, and runs once"
        )
    if ahead := [time for time in times if time >= now]:
        said.append(f"next round {ahead[0]:%a %Y-%m-%d %H:%M} UTC")
    return said


def _post(url: str, body: dict[str, Any]) -> Any:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        return json.load(answer)
