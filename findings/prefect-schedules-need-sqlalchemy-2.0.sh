#!/usr/bin/env bash
# Prefect 3.8.8 allows SQLAlchemy >=2.0,<3, and pip takes 2.1. With SQLAlchemy 2.1.9 the server starts, deploys and runs what a
# person starts, but no schedule ever runs: each insertion of scheduled runs fails with "Can't evaluate bulk DML statement"
# (a hybrid property of FlowRun has no bulk_dml function, which SQLAlchemy 2.1 asks for). The scheduler loop notes it in the
# server's log and tries again for ever; `prefect deployment ls` shows the schedule as active. With SQLAlchemy 2.0.58 the same
# steps give the runs.
# Seen: sqlalchemy 2.1.9: 0 scheduled runs, InvalidRequestError; sqlalchemy 2.0.58: 5 scheduled runs.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cat > "$folder/schedule.py" <<'PY'
import sys, warnings
warnings.simplefilter("ignore")
from datetime import datetime, timedelta, timezone
import sqlalchemy
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.schedules import CronSchedule
from prefect.testing.utilities import prefect_test_harness

@flow
def weekly(): ...

with prefect_test_harness(server_startup_timeout=180), get_client(sync_client=True) as client:
    schedule = {"schedule": CronSchedule(cron="0 3 * * 1", timezone="UTC"), "active": True}
    id = client.create_deployment(client.create_flow(weekly), name="weekly", schedules=[schedule])
    now = datetime.now(timezone.utc)
    span = {"start_time": now.isoformat(), "end_time": (now + timedelta(weeks=6)).isoformat(), "min_runs": 5, "max_runs": 5}
    try:
        said = client._client.post(f"/deployments/{id}/schedule", json=span).status_code
    except Exception as error:
        said = type(error).__name__
    runs = len(client.read_flow_runs())
    print(f"sqlalchemy {sqlalchemy.__version__}: {runs} scheduled runs, POST /schedule: {said}")
    sys.exit(runs != int(sys.argv[1]))
PY
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q 'prefect==3.8.8' 'fastapi<0.151' 'sqlalchemy[asyncio]==2.1.9' 2>/dev/null
export PREFECT_LOGGING_LEVEL=CRITICAL PREFECT_SERVER_ANALYTICS_ENABLED=false DO_NOT_TRACK=1 PREFECT_CLIENT_MAX_RETRIES=0
cd "$folder"
"$folder/venv/bin/python" schedule.py 0 2>/dev/null
"$folder/venv/bin/pip" install -q 'sqlalchemy[asyncio]==2.0.58' 2>/dev/null
"$folder/venv/bin/python" schedule.py 5 2>/dev/null
