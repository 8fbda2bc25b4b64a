"""Where MLflow is, how files get there and back, and a stage's run while it runs.

tasks/registry.py is what the pipeline calls, and with this file the only one that knows MLflow. MLflow
is imported on first use (two seconds), and importing sets nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import unquote, urlparse
from urllib.request import urlopen

from filelock import FileLock

from rlhf.models.plain import require_plain
from tasks import storage
from tasks.keys import digest, manifest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

    from tasks.follower import Follower

EXPERIMENT = "rlhf"
BATCH = 1000  # metrics a request: MLflow's limit
OUTPUTS = "outputs.json"  # of a stage's run: its figures and every file that belongs to it


class Point(NamedTuple):
    """One value of a metric. time: unix milliseconds."""

    name: str
    value: float
    time: int
    step: int


@dataclass(frozen=True)
class ModelRef:
    """A registered model version; str() gives policy/3."""

    name: str
    version: int

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class StageRef:
    """A finished stage: its run, the model version it registered (if any) and its figures."""

    run_id: str
    stage: str
    key: str
    round: int
    model: ModelRef | None
    figures: dict[str, Any]
    tags: dict[str, str]


def home() -> Path:
    """The state folder: $RLHF_HOME, by default .rlhf in the working directory."""
    return Path(os.environ.get("RLHF_HOME") or ".rlhf").absolute()


def uri() -> str:
    """$MLFLOW_TRACKING_URI, by default the SQLite file in the state folder."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home()}/mlflow.db"


def shown() -> str:
    """`uri()` for people: without the user and password that it may hold."""
    return re.sub(r"//[^/@]*@", "//", uri())


def client() -> MlflowClient:
    """The client of `uri()`. ValueError where a server is named that does not answer."""
    address = uri()
    connected = _client(address)
    _point(address)
    return connected


def _point(address: str) -> None:
    """Sets MLflow's own global address, which its SQL store uses behind the client's back.

    set_tracking_uri writes the environment too: that is undone, or a later RLHF_HOME would not count.
    """
    import mlflow

    if mlflow.get_tracking_uri() != address:
        before = os.environ.get("MLFLOW_TRACKING_URI")
        mlflow.set_tracking_uri(address)
        if before is None:
            os.environ.pop("MLFLOW_TRACKING_URI", None)


@cache
def _client(address: str) -> MlflowClient:
    storage.plain_checksums()
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would report usage to its makers
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")  # one for each small file
    os.environ.setdefault("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    if address.startswith(("http://", "https://")):
        try:
            urlopen(f"{shown().rstrip('/')}/health", timeout=20).close()
        except (OSError, HTTPException) as error:
            answers = isinstance(error, HTTPError) and error.code < 500  # the client sees if it lets us in
            if not answers:
                sentence = f"no MLflow server answers at {shown()} (MLFLOW_TRACKING_URI): {error}"
                raise ValueError(sentence) from None
    from mlflow import MlflowClient

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    if not address.startswith("sqlite:///"):
        return MlflowClient(address, address)
    database = Path(address.removeprefix("sqlite:///"))
    database.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{database}.lock"):  # two processes must not create the tables at once
        if not database.exists():  # sixty migrations: a kill among them must leave no half-made tables
            aside = database.with_name(f"{database.name}.part")
            aside.unlink(missing_ok=True)
            MlflowClient(f"sqlite:///{aside}").search_experiments(max_results=1)
            aside.replace(database)
        return MlflowClient(address, address)


def experiment() -> str:
    """Id of the experiment, made on first use; for SQLite its artifacts lie in the state folder."""
    return _experiment(uri(), os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT)


@cache
def _experiment(address: str, name: str) -> str:
    mlflow = client()
    found = mlflow.get_experiment_by_name(name)
    if found is None:
        from mlflow.exceptions import MlflowException

        local = (home() / "artifacts").as_uri() if not address.startswith(("http://", "https://")) else None
        try:
            return str(mlflow.create_experiment(name, artifact_location=local))
        except MlflowException:
            found = mlflow.get_experiment_by_name(name)  # another process was quicker
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ValueError(f"the MLflow experiment {name} is deleted: restore it, or name another")
    return str(found.experiment_id)


# ---------------------------------------------------------------- directories


def local(artifact_uri: str) -> Path | None:
    """The folder behind an artifact URI where the store is on this machine, else None."""
    parsed = urlparse(artifact_uri)
    if parsed.scheme == "file":
        return Path(unquote(parsed.path))
    return Path(artifact_uri) if parsed.scheme == "" else None


def sizes(artifact_uri: str) -> dict[str, int]:
    """{relative path: bytes} of what the store holds there; {} where it holds nothing. Errors rise."""
    folder = local(artifact_uri)
    if folder is not None:
        return {p.relative_to(folder).as_posix(): p.stat().st_size for p in folder.rglob("*") if p.is_file()}
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository = get_artifact_repository(artifact_uri, tracking_uri=uri())
    found: dict[str, int] = {}
    folders: list[str | None] = [None]
    while folders:
        for item in repository.list_artifacts(folders.pop()):
            if item.is_dir:
                folders.append(item.path)
            else:
                found[item.path] = int(item.file_size or 0)
    return found


def fetch(artifact_uri: str, files: Mapping[str, list[Any]] | None) -> Path:
    """A local folder with the artifacts: the store's own where it is local, else a verified copy.

    The copy lies in .rlhf/cache and is made once. files: the manifest to check it against.
    RuntimeError where a file did not arrive as it was stored.
    """
    folder = local(artifact_uri)
    if folder is not None:
        return folder
    target = home() / "cache" / hashlib.sha256(f"{uri()} {artifact_uri}".encode()).hexdigest()[:24]
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_dir():  # it gets this name by the rename below, complete and checked
            return target
        from mlflow.artifacts import download_artifacts

        logging.getLogger(__name__).info("fetching %s", artifact_uri)
        aside = target.with_suffix(".part")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        got = Path(download_artifacts(artifact_uri=artifact_uri, dst_path=str(aside), tracking_uri=uri()))
        arrived = manifest(got)
        for name, expected in (files or arrived).items():
            if arrived.get(name) != list(expected):
                raise RuntimeError(f"{name} of {artifact_uri} did not arrive as it was stored")
        got.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
    return target


# ---------------------------------------------------------------- figures


def numbers(figures: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The numeric leaves of nested figures as (a/b, value); text, lists and nulls are left out."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from numbers(value, f"{prefix}{name}/")
        elif isinstance(value, (int, float)):
            yield prefix + "".join(c if c.isalnum() or c in "_-./ " else "_" for c in str(name)), float(value)


def log_points(
    run_id: str, points: Sequence[Point], model_id: str | None = None, data_digest: str | None = None
) -> None:
    """Metrics of a run, or of a logged model on a data version, in as few requests as MLflow takes."""
    from mlflow.entities import Metric

    data, version = ("data", data_digest[:36]) if model_id and data_digest else (None, None)
    metrics = [Metric(*point, model_id, data, version, run_id) for point in points]
    for start in range(0, len(metrics), BATCH):
        client().log_batch(run_id, metrics=metrics[start : start + BATCH], synchronous=True)


@dataclass
class StageRun:
    """A stage's MLflow run, from its start to `finish`. registry.stage_run makes it.

    Text that a model or a user wrote goes in redacted: MLflow shows it to everybody.
    """

    run_id: str
    stage: str
    key: str
    round: int
    tags: dict[str, str]
    data_digest: str | None = None
    model: ModelRef | None = None
    finished: StageRef | None = None
    directories: dict[str, dict[str, Any]] = field(default_factory=dict)
    followers: list[Follower] = field(default_factory=list)

    def follow(self, metrics: Path) -> None:
        """Carries the lines of a metrics.jsonl to MLflow from now until the stage ends."""
        from tasks.follower import Follower

        self.followers.append(Follower(self.run_id, metrics))
        self.followers[-1].start()

    def log_table(self, rows: Sequence[Mapping[str, Any]], name: str) -> None:
        """Rows of one shape, as a table that MLflow's UI shows and filters."""
        if rows:
            columns = {key: [row[key] for row in rows] for key in rows[0]}
            client().log_table(self.run_id, columns, name)

    def log_artifact(self, path: Path, folder: str | None = None) -> None:
        """A file as an artifact. Never curated data or samples: those travel by DVC."""
        client().log_artifact(self.run_id, str(path), folder)

    def store(self, directory: Path, name: str = "model") -> None:
        """Keeps a model directory with the run, unregistered: registry.local_dir(run_id, name) finds it."""
        require_plain(directory)
        client().log_artifacts(self.run_id, str(directory), name)
        self.directories[name] = {"path": name, "files": manifest(directory)}

    def register(
        self,
        name: str,
        directory: Path,
        tags: Mapping[str, str] | None = None,
        figures: Mapping[str, Any] | None = None,
    ) -> ModelRef:
        """A Hugging Face directory as the next version of model `name`, with its lineage in tags.

        tags are added to the run's own; figures are logged on the model and its data set. ValueError for
        a directory with code, pickles, or no safetensors. registry.local_dir(run_id) finds it too.
        """
        from mlflow.entities import LoggedModelOutput

        require_plain(directory)
        files = manifest(directory)
        mlflow = client()
        logged = mlflow.create_logged_model(experiment(), name, self.run_id, model_type="transformers")
        mlflow.log_model_artifacts(logged.model_id, str(directory))
        mlflow.finalize_logged_model(logged.model_id, "READY")
        mlflow.log_outputs(self.run_id, [LoggedModelOutput(logged.model_id, 0)])
        self._log(figures or {}, 0, logged.model_id)
        _unless("RESOURCE_ALREADY_EXISTS", lambda: mlflow.create_registered_model(name))
        lineage = {k: v for k, v in self.tags.items() if not k.startswith("mlflow.")}
        lineage |= {"rlhf.run": self.run_id, "rlhf.files": digest(files), **(tags or {})}
        version = mlflow.create_model_version(
            name, f"models:/{logged.model_id}", self.run_id, tags=lineage, model_id=logged.model_id
        )
        self.model = ModelRef(name, int(version.version))
        self.directories["model"] = {"path": logged.artifact_location, "files": files}
        return self.model

    def log_inputs(self, parents: Mapping[str, ModelRef]) -> None:
        """Parent versions and the data version as the run's inputs, so that the UI draws the lineage."""
        from mlflow.entities import Dataset, DatasetInput, InputTag, LoggedModelInput

        models = [LoggedModelInput(model_id) for ref in parents.values() if (model_id := model_id_of(ref))]
        datasets = []
        if self.data_digest:
            source = json.dumps({"uri": "data.dvc"})
            dataset = Dataset("data", self.data_digest[:36], "local", source)
            datasets = [DatasetInput(dataset, [InputTag("mlflow.data.context", self.stage)])]
        if models or datasets:
            client().log_inputs(self.run_id, datasets or None, models or None)

    def finish(self, figures: Mapping[str, Any] | None = None) -> StageRef:
        """Sends what is left, keeps figures and manifests as outputs.json, and closes the run FINISHED."""
        figures = dict(figures or {})
        self._stop()
        self._log(figures, 0)
        model = [self.model.name, self.model.version] if self.model else None
        outputs = {"figures": figures, "model": model, "directories": self.directories}
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / OUTPUTS
            path.write_text(json.dumps(outputs, indent=1))
            client().log_artifact(self.run_id, str(path))
        client().set_terminated(self.run_id, "FINISHED")
        self.finished = StageRef(
            self.run_id, self.stage, self.key, self.round, self.model, figures, self.tags
        )
        return self.finished

    def close(self, status: str) -> None:
        """Ends a run that did not finish: FAILED or KILLED."""
        try:
            self._stop()
        finally:
            client().set_terminated(self.run_id, status)

    def _stop(self) -> None:
        while self.followers:
            self.followers.pop().stop()

    def _log(self, figures: Mapping[str, Any], step: int, model_id: str | None = None) -> None:
        now = int(time.time() * 1000)
        points = [Point(name, value, now, step) for name, value in numbers(figures)]
        log_points(self.run_id, points, model_id, self.data_digest)


def model_id_of(ref: ModelRef) -> str | None:
    """Id of the logged model behind a version; None for one registered from elsewhere."""
    version = version_of(ref)
    source = (version.source if version else None) or ""
    return source.removeprefix("models:/") if source.startswith("models:/m-") else None


def registered(name: str) -> RegisteredModel | None:
    """The registered model; None where MLflow knows none of that name. Errors of the store rise."""
    return _unless("RESOURCE_DOES_NOT_EXIST", lambda: client().get_registered_model(name))


def version_of(ref: ModelRef) -> ModelVersion | None:
    """The model version; None where MLflow has none of that number. Errors of the store rise."""
    return _unless("RESOURCE_DOES_NOT_EXIST", lambda: client().get_model_version(ref.name, str(ref.version)))


def _unless(code: str, ask: Callable[[], Any]) -> Any:
    from mlflow.exceptions import MlflowException

    try:
        return ask()
    except MlflowException as error:
        if error.error_code == code:
            return None
        raise
