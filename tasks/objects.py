"""The objects behind data versions, in DVC's cache and in the remote: read, searched, removed."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf.params import VersioningParams
from tasks import versioning
from tasks.versioning import REMOTE, repository


@dataclass(frozen=True)
class Older:
    """Objects that the current version does not need. files: {object id: a copy of it on this machine}."""

    files: dict[str, Path]


@contextmanager
def older(params: VersioningParams, *, remote: bool, root: Path | None = None) -> Iterator[Older]:
    """Objects of other versions than the one that data.dvc names: in the cache, and with `remote` those that
    the remote alone holds, downloaded for the block. No other DVC work may go on inside it.

    ValueError where the remote refuses.
    """
    with tempfile.TemporaryDirectory(prefix="rlhf-objects-") as folder, repository(params, root) as repo:
        needed = _needed(repo)
        cache = repo.cache.local
        files = {oid: Path(cache.oid_to_path(oid)) for oid in _all(cache) if oid not in needed}
        if remote:
            with versioning.remote_errors(params):
                there = repo.cloud.get_remote_odb(REMOTE)
                for oid in _all(there):
                    if oid not in needed and oid not in files:
                        files[oid] = Path(folder) / oid
                        there.fs.get_file(there.oid_to_path(oid), str(files[oid]))
        yield Older(files)


def remove(ids: list[str], params: VersioningParams, root: Path | None = None) -> tuple[int, int]:
    """Removes objects from the cache and the remote: how many were in each. Never one that data.dvc needs."""
    with repository(params, root) as repo:
        wanted = set(ids) - _needed(repo)
        cache = repo.cache.local
        here = wanted & set(_all(cache))
        for oid in here:
            Path(cache.oid_to_path(oid)).unlink(missing_ok=True)
        with versioning.remote_errors(params):
            remote = repo.cloud.get_remote_odb(REMOTE)
            there = wanted & set(_all(remote))
            for oid in there:
                remote.delete(oid)
        return len(here), len(there)


def _needed(repo: Any) -> set[str]:
    return set(versioning.objects_of(repo, versioning.current(Path(repo.root_dir))))


def _all(database: Any) -> list[str]:
    """Ids of a store's objects; [] where it is empty."""
    try:
        return sorted(database.all())
    except FileNotFoundError:
        return []
