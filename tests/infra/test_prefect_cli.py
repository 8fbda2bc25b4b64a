"""What a bare `prefect` in this folder is given: full deployment names, and the local stack's addresses."""

import json
import os
import subprocess
import sys
import time

import prefect  # noqa: F401  (loads the plugin, as every Prefect program does)
import psutil
import pytest

from infra import prefect_cli, stack_file

KNOWN = ["rlhf-iteration", "sample"]


@pytest.mark.parametrize(
    ("typed", "becomes"),
    [
        ("deployment run rlhf-iteration", "deployment run rlhf-iteration/rlhf-iteration"),
        ("deployment run --watch sample", "deployment run --watch sample/sample"),
        (
            "deployment run --tag sample rlhf-iteration",
            "deployment run --tag sample rlhf-iteration/rlhf-iteration",
        ),
        ("deployment schedule ls rlhf-iteration", "deployment schedule ls rlhf-iteration/rlhf-iteration"),
        ("deployment run rlhf-iteration/rlhf-iteration", "deployment run rlhf-iteration/rlhf-iteration"),
        ("deployment run other", "deployment run other"),
        ("deployment ls sample", "deployment ls sample"),
        ("flow-run ls sample", "flow-run ls sample"),
        ("", ""),
    ],
)
def test_bare_names(typed, becomes):
    assert prefect_cli.with_full_name(["/venv/bin/prefect", *typed.split()], KNOWN)[1:] == becomes.split()
    assert prefect_cli.with_full_name(["-m", *typed.split()], KNOWN)[1:] == becomes.split()
    other = ["/venv/bin/rlhf", *typed.split()]
    assert prefect_cli.with_full_name(other, KNOWN) == other


@pytest.fixture
def noted(tmp_path, monkeypatch):
    """A state folder with a stack.json of live processes."""
    monkeypatch.setenv("RLHF_HOME", str(tmp_path))
    me = {"pid": os.getpid(), "started": psutil.Process().create_time()}
    stack = {
        "prefect": "http://127.0.0.1:1/api",
        "mlflow": "http://127.0.0.1:2",
        "processes": {"prefect": me, "mlflow": me},
    }
    (tmp_path / "stack.json").write_text(json.dumps(stack))
    return stack


def test_a_running_stack_is_found(noted, tmp_path):
    given = stack_file.environment({}, None)
    assert given["PREFECT_API_URL"] == noted["prefect"] and given["MLFLOW_TRACKING_URI"] == noted["mlflow"]
    assert given["PREFECT_HOME"] == f"{tmp_path}/prefect"


def test_what_is_exported_or_configured_stays(noted):
    assert "PREFECT_API_URL" not in stack_file.environment({"PREFECT_API_URL": ""}, None)
    assert (
        stack_file.environment({"PREFECT_HOME": "/x", "PREFECT_API_URL": "y"}, "y").keys()
        <= stack_file.QUIET.keys()
    )
    assert stack_file.environment({}, "https://prefect.example/api").keys() <= stack_file.QUIET.keys()


def test_a_dead_stack_is_not_believed(noted, tmp_path):
    # the pid is another process's by now
    noted["processes"]["mlflow"] = {"pid": os.getpid(), "started": time.time() - 1e6}
    (tmp_path / "stack.json").write_text(json.dumps(noted))
    assert stack_file.running() is None
    assert "PREFECT_API_URL" not in stack_file.environment({}, None)


def test_prefect_loads_the_plugin_before_its_settings_are_final(noted, root):
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT", "MLFLOW"))}
    code = "import prefect.settings as s, sys; print(s.PREFECT_API_URL.value(), sys.argv[-1])"
    words = [
        sys.executable,
        "-c",
        f"import sys; sys.argv[0] = 'prefect'; {code}",
        "deployment",
        "run",
        "sample",
    ]
    seen = subprocess.run(words, env=env, cwd=root, capture_output=True, text=True, check=True)
    assert seen.stdout.split() == [noted["prefect"], "sample/sample"] and not seen.stderr


@pytest.mark.parametrize(
    ("typed", "lists"),
    [
        ("deployment ls", True),
        ("deployment ls rlhf-iteration", True),
        ("deployment ls -o json", False),
        ("deployment ls --help", False),
        ("deployment schedule ls rlhf-iteration", False),
        ("flow ls", False),
    ],
)
def test_schedules_follow_the_list_of_deployments(typed, lists):
    assert prefect_cli.lists_deployments(["/venv/bin/prefect", *typed.split()]) is lists
    assert not prefect_cli.lists_deployments(["/venv/bin/rlhf", *typed.split()])
