"""Rounds, stages and model versions in MLflow; this file and tasks/tracking.py alone import it.

A round is a parent run, a stage a child run tagged rlhf.stage, rlhf.key and rlhf.round. `find` is the
pipeline's cache: a stage whose key is known, whose run finished and whose outputs are still there is
not run again, on whatever machine it ran. A run counts only once `finish` has closed it, and its
outputs.json names every file that belongs to it, so a killed run leaves nothing that looks finished.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.models.plain import require_plain
from tasks import tracking
from tasks.aliases import aliases, history, reconcile
from tasks.aliases import set_alias as set_alias
from tasks.keys import digest
from tasks.tracking import OUTPUTS, ModelRef, StageRef, StageRun

MODELS = ("base", "sft", "reward-model", "policy")
RETIRED = "retired-"  # before the key of a stage's run that counts no more
DATA_TAG = "rlhf.data_dvc"  # on a round: the text of data.dvc, which brings its data back


@dataclass(frozen=True)
class RoundRef:
    """The newest run of a round. status: RUNNING, FINISHED, FAILED, KILLED; times in unix seconds."""

    run_id: str
    round: int
    status: str
    started: float
    ended: float | None
    tags: dict[str, str]


# ---------------------------------------------------------------- rounds


def start_round(round: int, params: Mapping[str, Any], tags: Mapping[str, str] | None = None) -> str:
    """Run id of the round: its newest run goes on where the params are the same, else a new one starts."""
    same = digest(params)
    values = {**(tags or {}), "rlhf.kind": "round", "rlhf.round": str(round), "rlhf.params": same}
    mlflow = tracking.client()
    known = [r for r in rounds() if r.round == round and r.tags.get("rlhf.params") == same]
    if known:
        run_id = known[-1].run_id
        mlflow.update_run(run_id, status="RUNNING")
        _set_tags(run_id, values)
        return run_id
    run_id = mlflow.create_run(tracking.experiment(), run_name=f"round-{round:04d}", tags=values).info.run_id
    mlflow.log_dict(run_id, dict(params), "params.json")
    return run_id


def finish_round(run_id: str, status: str = "FINISHED", tags: Mapping[str, str] | None = None) -> None:
    """Closes a round: FINISHED, FAILED or KILLED."""
    _set_tags(run_id, tags or {})
    tracking.client().set_terminated(run_id, status)


def rounds() -> list[RoundRef]:
    """The newest run of every round, by number."""
    newest: dict[int, RoundRef] = {}
    for run in _search("tags.`rlhf.kind` = 'round'"):
        number = int(run.data.tags["rlhf.round"])
        ended = run.info.end_time / 1000 if run.info.end_time else None
        ref = RoundRef(
            run.info.run_id, number, run.info.status, run.info.start_time / 1000, ended, dict(run.data.tags)
        )
        newest.setdefault(number, ref)  # newest first
    return [newest[number] for number in sorted(newest)]


def set_data_version(round_run_id: str, text: str) -> None:
    """Keeps the text of data.dvc with a round."""
    tracking.client().set_tag(round_run_id, DATA_TAG, text)


def data_version(round: int) -> str:
    """The text of data.dvc that a round ended with. ValueError where the round keeps none."""
    known = {ref.round: ref.tags for ref in rounds() if DATA_TAG in ref.tags}
    if round not in known:
        had = ", ".join(map(str, known)) or "none yet"
        raise ValueError(f"round {round} keeps no data version (rounds that do: {had})")
    return known[round][DATA_TAG]


def adopt(round_run_id: str, ref: StageRef) -> None:
    """Notes on a round which stage run it used, taken from the cache or run."""
    tracking.client().set_tag(round_run_id, f"rlhf.run.{ref.stage}", ref.run_id)


def stages(round_run_id: str) -> dict[str, StageRef]:
    """The stage runs that a round used so far, by stage."""
    tags = tracking.client().get_run(round_run_id).data.tags
    noted = [(name, run) for name, run in tags.items() if name.startswith("rlhf.run.")]
    return {name.removeprefix("rlhf.run."): stage_ref(run) for name, run in noted}


# ---------------------------------------------------------------- stages


def find(stage: str, key: str) -> StageRef | None:
    """The newest finished run of a stage with this key whose outputs still exist, else None.

    A store that does not answer raises: it never reads as "absent".
    """
    query = f"tags.`rlhf.stage` = '{stage}' and tags.`rlhf.key` = '{key}' and attributes.status = 'FINISHED'"
    for run in _search(query):
        outputs = _outputs(run)
        if outputs is not None and _stored(run, outputs):
            return _stage_ref(run, outputs)
    return None


def stage_ref(run_id: str) -> StageRef:
    """The stage behind a run id. ValueError where it did not finish or keeps no outputs."""
    run = tracking.client().get_run(run_id)
    outputs = _outputs(run)
    if outputs is None or run.info.status != "FINISHED":
        raise ValueError(f"run {run_id} is not a finished stage")
    return _stage_ref(run, outputs)


def local_dir(run_id: str, name: str = "model") -> Path:
    """The local folder of a directory that a stage stored or registered under this name."""
    run = tracking.client().get_run(run_id)
    outputs = _outputs(run)
    if outputs is None or name not in outputs["directories"]:
        raise ValueError(f"run {run_id} keeps no directory {name!r}")
    item = outputs["directories"][name]
    return tracking.fetch(_location(run, item), item["files"])


def folder(ref: StageRef | ModelRef) -> Path:
    """The local folder of the model that a stage made, or of a registered version."""
    return local_dir(ref.run_id) if isinstance(ref, StageRef) else local_path(ref)


@contextmanager
def stage_run(
    stage: str,
    key: str,
    round: int,
    parent_run_id: str | None,
    *,
    tags: Mapping[str, str] | None = None,
    data_digest: str | None = None,
    parents: Mapping[str, ModelRef] | None = None,
) -> Iterator[StageRun]:
    """A child run for one stage. An unfinished run of the same stage, key and round goes on.

    data_digest: of the data it reads ("<md5>.dir", at most 36 characters); it becomes the run's dataset.
    parents: the model versions it reads, by role; they become its inputs and the tags of its versions.
    Leaving the block without `finish` closes the run FAILED (KILLED on an interrupt).
    """
    mlflow = tracking.client()
    values = {**(tags or {}), "rlhf.kind": "stage", "rlhf.stage": stage, "rlhf.key": key}
    values["rlhf.round"] = str(round)
    values |= {f"rlhf.parent.{role}": str(ref) for role, ref in (parents or {}).items()}
    if data_digest:
        values["rlhf.data"] = data_digest
    if parent_run_id:
        values["mlflow.parentRunId"] = parent_run_id
    same = f"tags.`rlhf.stage` = '{stage}' and tags.`rlhf.key` = '{key}' and tags.`rlhf.round` = '{round}'"
    unfinished = [run for run in _search(same) if run.info.status != "FINISHED"]
    if unfinished:
        run_id = unfinished[0].info.run_id
        mlflow.update_run(run_id, status="RUNNING")
        _set_tags(run_id, values)
    else:
        run_id = mlflow.create_run(tracking.experiment(), run_name=stage, tags=values).info.run_id
    run = StageRun(run_id, stage, key, round, values, data_digest)
    try:
        run.log_inputs(parents or {})
        yield run
    except BaseException as error:
        try:
            run.close("FAILED" if isinstance(error, Exception) else "KILLED")
        except Exception as second:  # what ended the stage matters more than a store that is away
            error.add_note(f"its MLflow run {run_id} could not be closed: {type(second).__name__}")
        raise
    if not run.finished:
        run.close("FAILED")
    elif parent_run_id:
        adopt(parent_run_id, run.finished)


def _outputs(run: Any) -> dict[str, Any] | None:
    """A run's outputs.json; None where the run has none. Errors of the store rise."""
    location = run.info.artifact_uri
    folder = _visible(location)
    if folder is not None:
        path = folder / OUTPUTS
        return json.loads(path.read_text()) if path.is_file() else None
    if not any(item.path == OUTPUTS for item in tracking.client().list_artifacts(run.info.run_id)):
        return None
    from mlflow.artifacts import load_dict

    return load_dict(f"{location}/{OUTPUTS}")


def _stored(run: Any, outputs: dict[str, Any]) -> bool:
    """Whether the model version stands, and every file of every directory is in the store with its size."""
    if outputs["model"]:
        version = tracking.version_of(ModelRef(*outputs["model"]))
        if version is None or version.status != "READY":
            return False
    for item in outputs["directories"].values():
        found = tracking.sizes(_location(run, item))
        if any(found.get(name) != size for name, (size, _) in item["files"].items()):
            return False
    return True


def _location(run: Any, item: dict[str, Any]) -> str:
    path = item["path"]  # an artifact folder of the run, or a logged model's own address
    return path if "/" in path else f"{run.info.artifact_uri}/{path}"


def _visible(location: str) -> Path | None:
    """The local folder of an address, None for a remote one. ValueError where it is another machine's."""
    folder = tracking.local(location)
    if folder is None or folder.is_relative_to(tracking.home()):
        return folder
    if not any(parent.is_dir() for parent in list(folder.parents)[:2]):
        raise ValueError(
            f"the artifacts at {location} are not on this machine: "
            "start the MLflow server with an artifact root that all machines reach, s3://bucket/prefix"
        )
    return folder


def _stage_ref(run: Any, outputs: dict[str, Any]) -> StageRef:
    tags = dict(run.data.tags)
    model = ModelRef(*outputs["model"]) if outputs["model"] else None
    stage, key, round = tags["rlhf.stage"], tags["rlhf.key"], int(tags["rlhf.round"])
    return StageRef(run.info.run_id, stage, key, round, model, outputs["figures"], tags)


def _search(query: str) -> list[Any]:
    """Active runs, newest first."""
    order = ["attributes.start_time DESC"]
    search = tracking.client().search_runs
    return _pages(lambda token: search([tracking.experiment()], query, order_by=order, page_token=token))


def _pages(ask: Callable[[str | None], Any]) -> list[Any]:
    page = ask(None)
    found = list(page)
    while page.token:
        page = ask(page.token)
        found += page
    return found


def _set_tags(run_id: str, tags: Mapping[str, str]) -> None:
    from mlflow.entities import RunTag

    tracking.client().log_batch(run_id, tags=[RunTag(name, str(value)) for name, value in tags.items()])


# ---------------------------------------------------------------- model versions


def resolve(name: str, version: str | int = "newest") -> ModelRef:
    """The version of a model by number, alias, or "newest". MLflow is asked each time.

    ValueError where there is none, with what there is.
    """
    if str(version) == "newest":
        found = newest(name)
        if found is None:
            raise ValueError(f"there is no {name} yet: no finished round has registered one")
        return found
    if str(version).isdigit():
        if int(version) in versions(name):
            return ModelRef(name, int(version))
        raise ValueError(f"{name} has no version {version} (versions: {_listed(versions(name))})")
    known = aliases(name)
    if version not in known:
        raise ValueError(f"{name} has no version or alias {version!r} (aliases: {_listed(known)})")
    return ModelRef(name, known[str(version)])


def newest(name: str) -> ModelRef | None:
    """What chat and export take of a model where no version is named; None where there is none yet.

    Of candidate and champion the alias that moved last, so that a person who moves champion in the
    MLflow UI decides; of a model without these the newest version of a finished run.
    """
    reconcile(name)
    held = {alias: v for alias, v in aliases(name).items() if alias in ("candidate", "champion")}
    for move in reversed(history(name)):
        if held.get(move.alias) == move.version and move.version is not None:
            return ModelRef(name, move.version)
    if name == "policy":
        return None
    for version in sorted(versions(name), reverse=True):
        run_id = tracking.client().get_model_version(name, str(version)).run_id
        if not run_id or tracking.client().get_run(run_id).info.status == "FINISHED":
            return ModelRef(name, version)
    return None


def versions(name: str) -> list[int]:
    """Numbers of the versions that MLflow holds of a model, ascending; [] for an unknown model."""
    search = tracking.client().search_model_versions
    found = _pages(lambda token: search(f"name = '{name}'", page_token=token))
    return sorted(int(item.version) for item in found if item.status == "READY")


def version_tags(ref: ModelRef) -> dict[str, str]:
    """Tags of a version: data, params, git commit, flow run, parents, gate."""
    return dict(tracking.client().get_model_version(ref.name, str(ref.version)).tags)


def tag_version(ref: ModelRef, tags: Mapping[str, Any], description: str | None = None) -> None:
    """Adds tags (gate figures, for one) and a description, in Markdown, to a version."""
    for name, value in tags.items():
        tracking.client().set_model_version_tag(ref.name, str(ref.version), name, str(value))
    if description is not None:
        tracking.client().update_model_version(ref.name, str(ref.version), description)


def local_path(ref: ModelRef) -> Path:
    """The Hugging Face directory of a version on this machine.

    No copy where the store is local; else downloaded once, checked against its manifest.
    """
    mlflow = tracking.client()
    version = tracking.version_of(ref)
    if version is None:
        raise ValueError(f"{ref.name} has no version {ref.version} (versions: {_listed(versions(ref.name))})")
    model_id = tracking.model_id_of(ref)
    location = str(mlflow.get_logged_model(model_id).artifact_location if model_id else version.source)
    files = None
    if version.run_id:
        outputs = _outputs(mlflow.get_run(version.run_id)) or {"directories": {}}
        files = next((d["files"] for d in outputs["directories"].values() if d["path"] == location), None)
    _visible(location)
    folder = tracking.fetch(location, files)
    require_plain(folder)
    return folder


def _listed(values: Any) -> str:
    return ", ".join(map(str, values)) or "none"


# ---------------------------------------------------------------- forgetting


def exists() -> bool:
    """Whether there is a registry: asking a local one that is not there would make it."""
    address = tracking.uri()
    return not address.startswith("sqlite:///") or Path(address.removeprefix("sqlite:///")).is_file()


def every_run() -> list[Any]:
    """All runs of the experiment, those that were deleted in the UI too, newest first."""
    from mlflow.entities import ViewType

    search = tracking.client().search_runs
    ask = {"run_view_type": ViewType.ALL, "order_by": ["attributes.start_time DESC"]}
    return _pages(lambda token: search([tracking.experiment()], page_token=token, **ask))


def outputs_of(run: Any) -> dict[str, Any] | None:
    """A finished stage's outputs.json {"figures", "model", "directories"}; None of any other run."""
    return _outputs(run) if run.info.status == "FINISHED" else None


def retire(run_id: str) -> None:
    """A stage's run is found by its key no more: whoever needs it makes it anew."""
    key = tracking.client().get_run(run_id).data.tags["rlhf.key"]
    if not key.startswith(RETIRED):
        _set_tags(run_id, {"rlhf.key": f"{RETIRED}{key}"})
