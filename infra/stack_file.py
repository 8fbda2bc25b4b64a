"""What `make up` left for others to find: .rlhf/stack.json, and the environment that points there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from tasks.tracking import home

QUIET = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}


def environment(exported: Mapping[str, str], api_url: str | None) -> dict[str, str]:
    """What is to be set: nothing that is exported, and no address where one is configured."""
    wanted = dict(QUIET)
    if not api_url:
        wanted["PREFECT_HOME"] = str(home() / "prefect")
        wanted["PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS"] = "120"
        stack = running()
        if stack and "PREFECT_API_URL" not in exported:
            wanted |= {"PREFECT_API_URL": stack["prefect"], "MLFLOW_TRACKING_URI": stack["mlflow"]}
    return {name: value for name, value in wanted.items() if name not in exported}


def running() -> dict[str, Any] | None:
    """stack.json while the servers that `make up` noted in it are alive, else None."""
    try:
        stack = json.loads((home() / "stack.json").read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return None
    return stack if all(alive(stack["processes"][name]) for name in ("prefect", "mlflow")) else None


def alive(process: Mapping[str, Any]) -> bool:
    """True while the process with this pid is the one that was started then (a pid is used again)."""
    try:
        found = psutil.Process(process["pid"])
        return abs(found.create_time() - process["started"]) < 1 and found.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def deployments(file: Path) -> list[str]:
    """The names in prefect.yaml. Each is its flow's name too."""
    return [item["name"] for item in _deployments(file)]


def scheduled(file: Path) -> list[str]:
    """The names in prefect.yaml that have a schedule."""
    return [item["name"] for item in _deployments(file) if item.get("schedules")]


def _deployments(file: Path) -> list[dict[str, Any]]:
    return yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"] if file.is_file() else []
