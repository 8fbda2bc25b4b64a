"""The local stack: `python -m infra.stack up|down|status`, and `worker cpu|gpu` for one more worker.

up starts a Prefect server, an MLflow server and a worker a pool, all on loopback, deploys prefect.yaml and
notes what it started in .rlhf/stack.json; down ends that and nothing else. Their state and logs lie in .rlhf.

| variable | default | |
|---|---|---|
| RLHF_PREFECT_PORT, RLHF_MLFLOW_PORT | 4200, 5000 | |
| RLHF_ARTIFACT_ROOT | .rlhf/artifacts | where weights go; s3://bucket/prefix for several machines |

`worker POOL` runs in the foreground, in any clone whose environment names PREFECT_API_URL and
MLFLOW_TRACKING_URI: nothing else passes between the machines but the stores.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import psutil

from infra import stack_file
from tasks import guard
from tasks.tracking import EXPERIMENT, home

HOST = "127.0.0.1"
POOLS = ("cpu", "gpu")
MARK = "RLHF_STACK"  # in the environment of all that up starts, and so of all that this starts in turn
START_SECONDS = 180.0


def up(pools: tuple[str, ...]) -> None:
    """Starts what is not running, and returns when all of it answers."""
    if stack := _read():
        if all(stack_file.alive(process) for process in stack["processes"].values()):
            print(f"already up: Prefect {stack['prefect'].removesuffix('/api')}, MLflow {stack['mlflow']}")
            return
        down()
    prefect_port, mlflow_port = _port("RLHF_PREFECT_PORT", 4200), _port("RLHF_MLFLOW_PORT", 5000)
    prefect, mlflow = f"http://{HOST}:{prefect_port}/api", f"http://{HOST}:{mlflow_port}"
    stack = {"id": uuid.uuid4().hex, "prefect": prefect, "mlflow": mlflow, "processes": {}}
    try:
        _start(stack, "prefect", ["prefect", "server", "start", "--host", HOST, "--port", str(prefect_port)])
        _start(stack, "mlflow", [
            "mlflow", "server", "--host", HOST, "--port", str(mlflow_port), "--workers", "1",
            "--backend-store-uri", f"sqlite:///{home() / 'mlflow.db'}",
            "--default-artifact-root", _artifact_root(), "--no-serve-artifacts",
        ])  # fmt: skip
        _wait(stack, "prefect", f"{prefect}/health")
        for pool in pools:
            _start(stack, f"worker-{pool}", _worker(pool))
        for pool in pools:
            _wait(stack, f"worker-{pool}", f"{prefect}/work_pools/{pool}")  # its worker makes it
        _deploy(stack, pools)
        _wait(stack, "mlflow", f"{mlflow}/health")
    except BaseException:
        down()
        raise
    _warn_of_other_artifacts(mlflow)
    print(
        f"Prefect  {prefect.removesuffix('/api')}\nMLflow   {mlflow}\nworkers  {', '.join(pools)}\n"
        "start a round: prefect deployment run rlhf-iteration     stop: make down"
    )


def down() -> None:
    """Ends what `up` noted, and every process that these started: workers first, so that runs can report."""
    stack = _read()
    if stack is None:
        return
    guard.end_all(MARK, f"{stack['id']}-worker", grace_seconds=10)
    guard.end_all(MARK, f"{stack['id']}-server", grace_seconds=10)
    _stack_file().unlink(missing_ok=True)


def status() -> int:
    """Prints what is running; 0 where all of it is."""
    stack = _read()
    if stack is None:
        print("the local stack is down (make up starts it)")
        return 1
    running = {name: stack_file.alive(process) for name, process in stack["processes"].items()}
    for name, process in stack["processes"].items():
        print(f"{name:<12} {'up' if running[name] else 'DOWN':<5} pid {process['pid']:<8} {_log(name)}")
    print(f"Prefect {stack['prefect'].removesuffix('/api')}   MLflow {stack['mlflow']}")
    return 0 if all(running.values()) else 1


def worker(pool: str) -> None:
    """Becomes a worker of the pool, for the servers in the environment or else those of `up` here."""
    env = {**os.environ, **stack_file.environment(os.environ, os.environ.get("PREFECT_API_URL"))}
    for name in ("PREFECT_API_URL", "MLFLOW_TRACKING_URI"):
        if not env.get(name):
            raise ValueError(f"{name} is not set, and no local stack is up here: whose worker is this?")
    home().mkdir(parents=True, exist_ok=True)
    os.execve(sys.executable, [sys.executable, "-m", *_worker(pool)], {**env, **_settings()})


def _settings() -> dict[str, str]:
    return {
        **stack_file.QUIET,
        "PREFECT_HOME": str(home() / "prefect"),
        "PREFECT_PLUGINS_ENABLED": "false",  # infra/prefect_cli.py has nothing to add to these settings
        "PREFECT_WORKER_QUERY_SECONDS": "2",
        "PREFECT_RUNNER_AUTO_INSTALL_DEPENDENCIES": "false",  # flows run in this environment, as it is
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # its job runners would outlive the server
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "RLHF_HOME": str(home()),
    }


def _worker(pool: str) -> list[str]:
    """A worker's command: training runs one at a time on a machine, rounds and curation do not wait."""
    one_at_a_time = ["--limit", "1"] if pool == "gpu" else []
    return [
        "prefect",
        "worker",
        "start",
        "--pool",
        pool,
        "--type",
        "process",
        "--name",
        f"{pool}-{socket.gethostname()}-{os.getpid()}",
        *one_at_a_time,
    ]


def _start(stack: dict[str, Any], name: str, command: list[str]) -> None:
    kind = "worker" if name.startswith("worker") else "server"
    own = stack["prefect"].removesuffix("/api")
    env = {
        **os.environ,
        **_settings(),
        MARK: f"{stack['id']}-{kind}",
        # a page of anybody's, open in a browser on this machine, reaches loopback too: no API for it
        "PREFECT_SERVER_CORS_ALLOWED_ORIGINS": f"{own},{own.replace(HOST, 'localhost')}",
    }
    if kind == "worker":
        env |= {"PREFECT_API_URL": stack["prefect"], "MLFLOW_TRACKING_URI": stack["mlflow"]}
    else:
        env.pop("PREFECT_API_URL", None)
    _log(name).parent.mkdir(parents=True, exist_ok=True)
    with _log(name).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=env,
            start_new_session=True,
        )
    started = psutil.Process(process.pid).create_time()
    stack["processes"][name] = {"pid": process.pid, "started": started}
    part = _stack_file().with_suffix(".part")
    part.write_text(json.dumps(stack, indent=1), encoding="utf-8")
    part.replace(_stack_file())


def _wait(stack: dict[str, Any], name: str, url: str) -> None:
    """Until the address answers 200. RuntimeError where its process ends, or time is up."""
    deadline = time.monotonic() + START_SECONDS
    while not _answers(url):
        if not stack_file.alive(stack["processes"][name]):
            raise RuntimeError(f"{name} ended while starting; see {_log(name)}")
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} did not answer within {START_SECONDS:.0f} s; see {_log(name)}")
        time.sleep(0.3)


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (HTTPError, URLError, OSError):
        return False


def _deploy(stack: dict[str, Any], pools: tuple[str, ...]) -> None:
    """prefect.yaml, and a look whether all of it arrived: Prefect skips what it does not understand."""
    env = {**os.environ, **_settings(), "PREFECT_API_URL": stack["prefect"]}
    for pool in POOLS:
        if pool not in pools:  # its workers are elsewhere
            _post(f"{stack['prefect']}/work_pools/", {"name": pool, "type": "process"})
    deployed = subprocess.run(
        [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
        env=env,
        capture_output=True,
        text=True,
    )
    _log("deploy").write_text(deployed.stdout + deployed.stderr, encoding="utf-8")
    if deployed.returncode:
        raise RuntimeError(f"prefect deploy failed; see {_log('deploy')}")
    found = {item["name"] for item in _post(f"{stack['prefect']}/deployments/filter", {})}
    if missing := set(stack_file.deployments(Path("prefect.yaml"))) - found:
        raise RuntimeError(f"not deployed: {', '.join(sorted(missing))}; see {_log('deploy')}")


def _warn_of_other_artifacts(mlflow: str) -> None:
    """The place of an experiment's artifacts is fixed when it is made: say so where another is asked for."""
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    url = f"{mlflow}/api/2.0/mlflow/experiments/get-by-name?experiment_name={name}"
    try:
        with urlopen(url, timeout=20) as answer:
            location = json.load(answer)["experiment"]["artifact_location"]
    except HTTPError:
        return  # not made yet
    if not location.startswith(_artifact_root()):
        print(
            f"note: the experiment {name} keeps its artifacts in {location}; set MLFLOW_EXPERIMENT_NAME "
            f"to a new name to use {_artifact_root()}",
            file=sys.stderr,
        )


def _artifact_root() -> str:
    return os.environ.get("RLHF_ARTIFACT_ROOT") or (home() / "artifacts").as_uri()


def _post(url: str, body: dict[str, Any]) -> Any:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except HTTPError as error:
        if error.code == 409:  # it is there already
            return None
        raise


def _port(variable: str, default: int) -> int:
    text = os.environ.get(variable) or str(default)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(f"{variable} is {text!r}: expected a port, 1 to 65535")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, int(text)))
        except OSError:
            raise ValueError(f"port {text} is in use; set {variable} to a free one") from None
    return int(text)


def _stack_file() -> Path:
    return home() / "stack.json"


def _read() -> dict[str, Any] | None:
    file = _stack_file()
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def _log(name: str) -> Path:
    return home() / "logs" / f"{name}.log"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m infra.stack", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("up", help="start the servers and workers, and deploy")
    starting.add_argument("--workers", default=",".join(POOLS), help="pools served here (default: cpu,gpu)")
    commands.add_parser("down", help="stop what up started")
    commands.add_parser("status", help="what is running")
    commands.add_parser("worker", help="one more worker, here").add_argument("pool", choices=POOLS)
    words = parser.parse_args(argv)
    try:
        if words.command == "up":
            pools = tuple(name for name in words.workers.split(",") if name)
            if unknown := set(pools) - set(POOLS):
                raise ValueError(f"--workers {', '.join(sorted(unknown))}: the pools are {', '.join(POOLS)}")
            up(pools)
        elif words.command == "down":
            message = "stopped" if _read() else "nothing to stop"
            down()
            print(message)
        elif words.command == "worker":
            worker(words.pool)
        else:
            return status()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
