"""What every stage task does: key -> registry -> a cached reference, or a job whose products are registered.

A stage works in .rlhf/work/<stage>-<key>/, so that a killed one is found again: a finished job is only
registered, an unfinished one goes on from its own checkpoints. Tasks retry where a store or the network
did not answer, and nothing else: the job's result is then found in its folder.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.deployments import run_deployment
from prefect.runtime import flow_run

from rlhf.params import Params
from tasks import keys, registry, versioning
from tasks.launch import run_job
from tasks.profile import data_folder
from tasks.registry import ModelRef, StageRef
from tasks.tracking import StageRun, home

BOOKKEEPING = (
    "JOB.json",
    "result.json",
    "error.json",
    "metrics.jsonl*",
    "log.txt",
    "job.lock",
    "*.tmp",
    "*.part",
)
POINTS = 400
CACHED = "rlhf.cached"  # on a reference that came from the registry
NETWORK = ("requests.", "urllib3.", "botocore.", "httpx.", "aiobotocore.", "aiohttp.")


DEPLOYMENTS = {
    "base": "train-base",
    "sft": "train-sft",
    "rl_start": "train-rl-start",
    "sample": "sample",
    "reward_model": "train-reward-model",
    "choose_sft": "choose-sft",
    "ppo": "train-policy",
    "evaluate": "evaluate",
}
"""Stages that run as deployments of their own on the pool gpu: flow and deployment have this name."""


@dataclass(frozen=True)
class Round:
    """A round at work. policies: the versions it samples; champion: what it is judged against;
    sft: the version that stood as chosen when it began. Recorded at its start, so that running a round
    again means the same whatever came after it. is_ranked: people rank it, and have its samples.
    dispatch: stages that train or sample are run as
    deployments of their own, on the pool gpu, instead of in place.
    """

    number: int
    run_id: str
    params: Params
    policies: tuple[str, ...] = ()
    champion: str | None = None
    sft: str | None = None
    is_ranked: bool = False
    dispatch: bool = False

    @property
    def data(self) -> Path:
        """Curated splits and rounds: data/, or data/profiles/<name>/ of a named profile."""
        return data_folder(self.params)

    @property
    def raw(self) -> Path:
        return Path("data/raw")

    @property
    def curated(self) -> Path:
        return self.data / "curated"

    @property
    def folder(self) -> Path:
        return self.data / "rounds" / f"{self.number:04d}"

    def earlier(self, name: str) -> list[Path]:
        """The files `name` of the rounds before this one, in order."""
        return [
            path
            for path in sorted(self.folder.parent.glob(f"*/{name}"))
            if path.parent.name < self.folder.name
        ]


@dataclass
class Outcome:
    """What a finished job leaves to register: `publish` fills in the model and adds figures."""

    run: StageRun
    out: Path
    figures: dict[str, Any] = field(default_factory=dict)


def io_failed(task: Any, task_run: Any, state: Any) -> bool:
    """True where a store or the network did not answer: worth another try."""
    error: BaseException | None = state.data if isinstance(state.data, BaseException) else None
    while error is not None:
        if isinstance(error, ValueError):
            return False
        if isinstance(error, (ConnectionError, TimeoutError)) or type(error).__module__.startswith(NETWORK):
            return True
        if type(error).__name__ == "MlflowException" and "API request" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


stage_task = functools.partial(
    task,
    retries=3,
    retry_delay_seconds=[5, 30, 120],
    retry_condition_fn=io_failed,
    cache_policy=NO_CACHE,
    persist_result=False,
)
"""Prefect's task for a stage: retried on I/O alone, cached by the registry alone."""


def run(
    this: Round,
    stage: str,
    *,
    inputs: Callable[[], dict[str, Any]],
    publish: Callable[[Outcome], None],
    files: Mapping[str, str] | None = None,
    parents: Mapping[str, StageRef | ModelRef] | None = None,
    work: Callable[[Path], dict[str, Any]] | None = None,
    present: Callable[[StageRef], bool] = lambda ref: True,
    beside: Mapping[str, str] | None = None,
) -> StageRef:
    """The stage's reference, from the registry where nothing it depends on has changed.

    inputs: the job's inputs, asked for only where it runs (they may have to be downloaded).
    publish: registers what the job left in `out`. work: instead of a job, for what takes no time.
    present: whether a cached stage's files still lie where they belong. beside: digests of files behind
    `files`. With these they are kept among its figures ("read"), and so are its parents ("parents"), so
    that it can be told what it learned from.
    """
    parents = parents or {}
    identities = {role: _identity(ref) for role, ref in parents.items()}
    key = keys.key(stage, this.params, files=files or {}, parents=identities)
    out = home() / "work" / f"{stage}-{key[:12]}"
    found = registry.find(stage, key)
    if found and present(found):
        shutil.rmtree(out, ignore_errors=True)  # left by a kill just after it was registered
        return take(this, found)
    if this.dispatch and stage in DEPLOYMENTS:
        return _elsewhere(this, stage, key, present)
    say(f"{title(stage)} ...")
    began = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    models = {role: model for role, ref in parents.items() if (model := _model(ref))}
    with registry.stage_run(
        stage, key, this.number, this.run_id, tags=_lineage(this), data_digest=data_digest(), parents=models
    ) as stage_run:
        stage_run.follow(out / "metrics.jsonl")
        job = {"stage": stage, "out": str(out), "params": this.params.model_dump(mode="json")}
        figures = work(out) if work else run_job({**job, "inputs": inputs()}, this.params.compute)
        kept = {"read": {**(files or {}), **(beside or {})}, "parents": identities}
        outcome = Outcome(stage_run, out, {**figures, **kept, "series": series(out / "metrics.jsonl")})
        publish(outcome)
        done = stage_run.finish(outcome.figures)
    _keep_log(out)
    shutil.rmtree(out)
    say(
        f"{title(stage)}: done in {time.monotonic() - began:.0f} s"
        + (f", {done.model}" if done.model else "")
    )
    return done


def take(this: Round, found: StageRef) -> StageRef:
    """A stage that was done before, as this round's."""
    say(f"{title(found.stage)}: cached ({found.model or 'run ' + found.run_id[:8]})")
    registry.adopt(this.run_id, found)
    return replace(found, tags={**found.tags, CACHED: "true"})


def _elsewhere(this: Round, stage: str, key: str, present: Callable[[StageRef], bool]) -> StageRef:
    """Runs the stage's deployment and finds what it registered; its files under data/ come by DVC."""
    name = DEPLOYMENTS[stage]
    say(f"{title(stage)}: runs as the deployment {name}")
    at = {
        "round": this.number,
        "run_id": this.run_id,
        "params": this.params.model_dump(mode="json"),
        "data_version": versioning.snapshot(this.params.versioning).text,
    }
    ended: Any = run_deployment(f"{name}/{name}", parameters={"at": at}, poll_interval=2)
    if ended.state is None or not ended.state.is_completed():
        said = ended.state.message if ended.state else "no state"
        raise RuntimeError(f"the deployment {name} did not complete: {said}")
    done = registry.find(stage, key)
    if done is None:
        raise RuntimeError(
            f"the deployment {name} completed, but MLflow holds no {title(stage)} of this round's key: "
            "its worker runs other code, other params or another MLflow server"
        )
    if not present(done) and "data_dvc" in done.figures:
        versioning.materialize(
            done.figures["data_dvc"], this.params.versioning, since=str(at["data_version"])
        )
    return done


def series(metrics: Path) -> list[dict[str, float]]:
    """The lines of a job's metrics.jsonl, at most POINTS of them, evenly: what the report draws.

    A step that a resumed job wrote again counts once, as it was written last.
    """
    if not metrics.is_file():
        return []
    lines: dict[int, dict[str, float]] = {}
    for text in metrics.read_text(encoding="utf-8", errors="replace").splitlines():
        with suppress(ValueError):  # a line that a killed job left torn
            line = json.loads(text)
            lines[line["step"]] = line
    rows = [lines[step] for step in sorted(lines)]
    every = max(1, -(-len(rows) // POINTS))
    return rows[::-every][::-1]


def title(stage: str) -> str:
    return stage.replace("_", " ")


def say(line: str) -> None:
    """One line for the person at the terminal, or in the worker's log."""
    print(f"[rlhf] {line}", file=sys.stderr, flush=True)


# ---------------------------------------------------------------- files under data/


def put(source: Path, target: Path) -> None:
    """`source`, a file or folder, in place of `target`: whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.with_name(f".{target.name}.new")
    _remove(aside)
    if source.is_dir():
        shutil.copytree(source, aside, ignore=shutil.ignore_patterns(*BOOKKEEPING))
    else:
        shutil.copyfile(source, aside)
    if target.is_dir():
        _remove(target)
    os.replace(aside, target)


def version_data(this: Round) -> dict[str, str]:
    """Snapshots data/ and returns what brings it back, for a stage's figures."""
    return {"data_dvc": versioning.snapshot(this.params.versioning).text}


def data_digest() -> str | None:
    """ "<md5>.dir" of the data version that data.dvc names here; None where there is none yet."""
    path = Path("data.dvc")
    return versioning.parse(path.read_text(encoding="utf-8")).digest if path.is_file() else None


def digests(folder: Path, pattern: str) -> dict[str, str]:
    return {path.name: keys.file_digest(path) for path in sorted(folder.glob(pattern)) if path.is_file()}


# ---------------------------------------------------------------- lineage


def _identity(ref: StageRef | ModelRef) -> str:
    return ref.run_id if isinstance(ref, StageRef) else str(ref)


def _model(ref: StageRef | ModelRef) -> ModelRef | None:
    return ref.model if isinstance(ref, StageRef) else ref


def _lineage(this: Round) -> dict[str, str]:
    return {
        "rlhf.params": keys.digest(this.params.model_dump(mode="json")),
        "rlhf.git_commit": _git_commit(),
        "rlhf.flow_run": str(flow_run.id or ""),
    }


@functools.cache
def _git_commit() -> str:
    asked = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return asked.stdout.strip() or "none"


def _keep_log(out: Path) -> None:
    """The job's log outlives its folder: .rlhf/logs/<stage>-<key>.txt."""
    log = out / "log.txt"
    if log.is_file():
        logs = home() / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        os.replace(log, logs / f"{out.name}.txt")


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
