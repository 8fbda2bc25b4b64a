"""Prefect ignores keys it does not know and skips deployments it cannot read: prefect.yaml is held to both."""

import importlib

import pytest
import yaml
from prefect.cli.deploy._models import (
    ConcurrencyLimitSpec,
    DeploymentConfig,
    PrefectYamlModel,
    RawScheduleConfig,
    WorkPoolConfig,
)
from prefect.client.schemas.objects import ConcurrencyLimitStrategy
from prefect.workers.process import ProcessVariables


@pytest.fixture
def document(root):
    return yaml.safe_load((root / "prefect.yaml").read_text())


def unknown(values, model):
    names = set(model.model_fields) | {field.alias for field in model.model_fields.values()}
    return set(values) - names


def test_only_keys_that_prefect_knows(document):
    assert not unknown(document, PrefectYamlModel) - {"definitions"}  # the place for anchors
    for deployment in document["deployments"]:
        assert not unknown(deployment, DeploymentConfig)
        assert not unknown(deployment["work_pool"], WorkPoolConfig)
        assert not unknown(deployment["work_pool"]["job_variables"], ProcessVariables)
        for schedule in deployment.get("schedules", []):
            RawScheduleConfig.model_validate(schedule)
        limit = deployment.get("concurrency_limit", {})
        assert not unknown(limit, ConcurrencyLimitSpec)
        if limit:
            ConcurrencyLimitStrategy(limit["collision_strategy"])


def test_every_entrypoint_is_a_flow_of_the_deployments_name(document):
    for deployment in document["deployments"]:
        module, _, name = deployment["entrypoint"].rpartition(".")
        assert getattr(importlib.import_module(module), name).name == deployment["name"]


def test_pools_schedule_and_one_round_at_a_time(document):
    by_name = {deployment["name"]: deployment for deployment in document["deployments"]}
    round = by_name["rlhf-iteration"]
    assert round["concurrency_limit"]["limit"] == 1 and round["schedules"][0]["active"]
    pools = {name: deployment["work_pool"]["name"] for name, deployment in by_name.items()}
    assert pools["rlhf-iteration"] == "cpu" and set(pools.values()) == {"cpu", "gpu"}
    assert all(pool == "gpu" for name, pool in pools.items() if name.startswith("train-"))


def test_no_place_is_named(document, root):
    text = (root / "prefect.yaml").read_text()
    assert str(root) not in text and "://" not in text
    assert document["pull"] == [{"prefect.deployments.steps.set_working_directory": {"directory": "."}}]
