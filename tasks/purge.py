"""What still holds forgotten users' text after they left data/: removed where it can be reached, else named."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlhf.data.forget import Traces, holds
from rlhf.data.prune import prune
from rlhf.data.record_files import Unreadable
from rlhf.params import Params
from tasks import objects, registry, storage, tracking
from tasks.tracking import home

TEXT = (".json", ".jsonl", ".html", ".md", ".txt", ".log", ".csv", ".parquet", ".gz")
LARGEST = 512_000_000  # bytes of an artifact that is looked into


@dataclass
class Purged:
    """cache, remote: objects of older data versions that were removed; artifacts: rewritten in MLflow;
    files: deleted in the state folder; unreadable: what could not be looked into; beyond: what this cannot reach."""

    cache: int = 0
    remote: int = 0
    artifacts: int = 0
    files: int = 0
    unreadable: list[str] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        said = [
            f"purged: {self.cache} objects of older data versions from DVC's cache, {self.remote} from its "
            f"remote; {self.artifacts} artifacts in MLflow rewritten; {self.files} files and folders of work, "
            "logs and reports deleted"
        ]
        if self.unreadable:
            said.append(f"could not be looked into: {', '.join(self.unreadable)}")
        return [*said, "not reached:", *(f"  {line}" for line in self.beyond)]


def purge(traces: Traces, params: Params) -> Purged:
    """Removes what holds the users' records from everything older that this machine reaches."""
    done = Purged()
    done.cache, done.remote = _objects(traces, params, done)
    if registry.exists():
        done.artifacts = sum(_artifacts(run, traces) for run in registry.every_run())
    done.files = _state_folder(traces)
    done.beyond = _beyond(params)
    return done


def _objects(traces: Traces, params: Params, done: Purged) -> tuple[int, int]:
    found = []
    with objects.older(params.versioning, remote=True) as older:
        for oid, path in older.files.items():
            try:
                if holds(path, traces):
                    found.append(oid)
            except Unreadable:
                done.unreadable.append(f"object {oid} of an older data version")
    return objects.remove(found, params.versioning)


def _artifacts(run: Any, traces: Traces) -> int:
    """Rewrites a run's tables, figures and pages in MLflow; returns how many."""
    client, run_id = tracking.client(), run.info.run_id
    rewritten = 0
    for path in _texts(run_id):
        with tempfile.TemporaryDirectory(prefix="rlhf-artifact-") as folder:
            copy = Path(client.download_artifacts(run_id, path, folder))
            if prune(copy, traces):
                client.log_artifact(run_id, str(copy), str(Path(path).parent) if "/" in path else None)
                rewritten += 1
    return rewritten


def _texts(run_id: str, folder: str | None = None) -> Iterator[str]:
    """Artifacts that may hold text; not the folders of models."""
    items = tracking.client().list_artifacts(run_id, folder)
    if any(item.path.endswith(".safetensors") for item in items):
        return
    for item in items:
        if item.is_dir:
            yield from _texts(run_id, item.path)
        elif item.path.endswith(TEXT) and (item.file_size or 0) <= LARGEST:
            yield item.path


def _state_folder(traces: Traces) -> int:
    """Unfinished work goes but the base model's, which read no prompt; logs, reports and fetched copies that
    hold them go."""
    gone = 0
    for path in sorted((home() / "work").glob("*")):
        if not path.name.startswith("base-"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            gone += 1
    kept = [path for name in ("logs", "reports", "cache") for path in (home() / name).rglob("*")]
    for path in [path for path in kept if path.is_file() and path.suffix in TEXT]:
        if _holds(path, traces):
            path.unlink()
            gone += 1
    return gone


def _holds(path: Path, traces: Traces) -> bool:
    try:
        return holds(path, traces)
    except Unreadable:
        return False


def _beyond(params: Params) -> list[str]:
    """What nobody can reach from here."""
    remote = params.versioning.remote
    said = [
        "the weights of the models above, and copies of them that were exported",
        "the git history of data.dvc (digests, no text), other clones, their caches, and backups",
        "the files that data was added from, and files of answers that people were given to rank",
        "Prefect's database, where a flow run of forget-user keeps the ids it was given",
    ]
    if storage.is_s3(remote):
        said.append(f"earlier versions of objects in {remote}, where the bucket keeps versions")
    if not tracking.uri().startswith("sqlite:"):
        said.append("earlier versions of MLflow's artifacts, where their store keeps versions")
    others = sorted(path.name for path in Path("data/profiles").glob("*") if path.name != params.profile)
    if others or params.profile:
        names = ", ".join([*others, *(["default"] if params.profile else [])])
        said.append(
            f"MLflow and the state folders of other profiles ({names}): the same command with their --params"
        )
    return said
