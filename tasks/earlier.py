"""What earlier rounds sampled and ranked, brought back where data/ lacks it: made elsewhere, or lost here."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rlhf.params import VersioningParams
from tasks import registry, stage, versioning
from tasks.stage import Round

FILES = (
    "samples.jsonl",
    "comparisons.jsonl",
)  # which prompts are used, and what the reward model learns from


def bring(this: Round) -> None:
    """Every earlier round's files: all of data/ where the last round's are lacking, else the lost files alone.

    A round that stands in MLflow with its rankings, and whose files no version of data/ holds, is named.
    """
    if this.number == 1:
        return
    kept = this.params.versioning
    if not (this.folder.parent / f"{this.number - 1:04d}" / "comparisons.jsonl").is_file():
        stage.say(f"fetching the data of round {this.number - 1}")
        versioning.materialize(registry.data_version(this.number - 1), kept)
    earlier = [ref for ref in registry.rounds() if ref.round < this.number]
    lost = {
        f"{this.folder.parent.relative_to('data').as_posix()}/{ref.round:04d}/{name}"
        for ref in earlier
        for name in FILES
        if not (this.folder.parent / f"{ref.round:04d}" / name).is_file()
    }
    for ref in reversed(earlier):  # each version holds the rounds before it too, as they were by then
        if lost and registry.DATA_TAG in ref.tags:
            lost -= set(put_back(ref.tags[registry.DATA_TAG], sorted(lost), kept))
    for name in sorted(lost):
        stage.say(f"data/{name} is lost: no version of data/ that a round keeps holds it")


def put_back(
    text: str, names: Sequence[str], params: VersioningParams, root: Path | None = None
) -> list[str]:
    """Puts files of a version into data/ again, and returns which of `names` the version holds; all else stays as it is.

    text: of the version's data.dvc; names: paths in data/. Users that are forgotten since are taken out again. Absent where
    neither cache nor remote holds the version, ValueError where a file of it is damaged or the remote refuses,
    ConnectionError where it does not answer.
    """
    version = versioning.parse(text)
    with versioning.repository(params, root) as repo:
        with versioning.remote_errors(params):
            if not versioning.holds(repo, version, params):
                raise versioning.Absent(f"{params.remote} lacks version {version.digest} of data/")
            _fetch(repo, version.digest)
        listed = versioning.files_of(repo, version.digest) or {}
        found = {name: listed[name] for name in names if name in listed}
        with versioning.remote_errors(params):
            for oid in found.values():
                _fetch(repo, oid)
        data = Path(repo.root_dir) / "data"
        for name, oid in found.items():
            aside = data / f"{name}.part"
            aside.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(versioning.cached(repo, oid), aside)
            aside.replace(data / name)
        if found:
            stage.say(f"brought back {', '.join(f'data/{name}' for name in found)}")
            versioning.stay_forgotten(data, again=True)
    return list(found)


def _fetch(repo: Any, oid: str) -> None:
    """One object of the remote into the cache, where it is not there whole."""
    here = versioning.cached(repo, oid)
    if here.is_file() and not versioning.is_damaged(here, oid):
        return
    here.unlink(missing_ok=True)
    remote = repo.cloud.get_remote_odb(versioning.REMOTE)
    repo.cache.local.add(remote.oid_to_path(oid), remote.fs, oid, check_exists=False)
    if versioning.is_damaged(here, oid):
        raise ValueError(f"object {oid} of the DVC remote is damaged")
