"""Versions of the folder data/ by DVC: the only file that imports it.

data.dvc holds a version's digest; the bytes lie in DVC's cache and in the remote that
params.versioning names. Prefect owns the order of work, DVC only the bytes: no pipelines, one output.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from filelock import FileLock

from rlhf.data import forget, tombstones
from rlhf.data.tombstones import Tombstones
from rlhf.params import VersioningParams
from tasks import storage
from tasks.tracking import home

if TYPE_CHECKING:
    from dvc.repo import Repo

REMOTE = "rlhf"
TRIES = 5  # at DVC's own lock, which a person's `dvc` command may hold


class Absent(ValueError):
    """Neither DVC's cache nor the remote, which did answer, holds a version."""


@dataclass(frozen=True)
class DataVersion:
    """A version of data/. digest: "<md5>.dir"; text: of data.dvc, from which it can be brought back."""

    digest: str
    text: str


def snapshot(params: VersioningParams, root: Path | None = None) -> DataVersion:
    """Versions data/ as it is, pushes it, and makes sure that every byte arrived.

    data.dvc moves on in the working copy. ValueError where the remote refuses, ConnectionError where it does
    not answer, RuntimeError where it took the push and yet lacks a file.
    """
    go_on(params, root)
    with repository(params, root) as repo:
        if not (Path(repo.root_dir) / "data").is_dir():
            raise ValueError("there is no data/ to version: `rlhf data fetch` makes it")
        _retry(lambda: repo.add(str(Path(repo.root_dir) / "data")))
        version = _current(repo)
        _write(_stands(Path(repo.root_dir)), version.digest.encode())
        with remote_errors(params):
            _push(repo, version)
        return version


def materialize(
    text: str, params: VersioningParams, root: Path | None = None, *, since: str | None = None
) -> DataVersion:
    """Makes data/ the version that a data.dvc text names: from DVC's cache, else from the remote.

    What data/ held goes into the local cache first, so that nothing is lost, and data/ is touched only once
    every byte of the version is here. What a user put into data/raw since the version that data/ last was, or
    since the text of a data.dvc that the version comes from, stays there. Users that data/ knew as forgotten,
    and the version does not, are taken out of it again. Killed in the middle it is ended by `go_on`.

    Absent where neither cache nor remote holds the version, ValueError where files of it are lacking or damaged or the
    remote refuses, ConnectionError where it does not answer.
    """
    version = parse(text)
    with repository(params, root) as repo:
        file, data = Path(repo.root_dir) / "data.dvc", Path(repo.root_dir) / "data"
        stands, under_way = _stands(Path(repo.root_dir)), _under_way(Path(repo.root_dir))
        half = json.loads(under_way.read_text()) if under_way.is_file() else None
        if file.exists() and _current(repo).digest == version.digest and not half and _clean(repo):
            _write(stands, version.digest.encode())
            return version
        stood = _stood(repo, stands, version.digest)
        kept = None
        if data.is_dir():
            kept = _retry(lambda: repo.add(str(data)))[0].outs[0].hash_info.value
            logging.getLogger(__name__).info("data/ was %s and becomes %s", kept, version.digest)
        before = file.read_bytes() if file.exists() else None
        gone = tombstones.read(data)
        with remote_errors(params):
            if not holds(repo, version, params):
                raise Absent(f"{params.remote} lacks version {version.digest} of data/")
        _write(file, text.encode())
        try:
            with remote_errors(params):
                _fetch(repo, version)
            lacking = [oid for oid in objects_of(repo, version) if not cached(repo, oid).is_file()]
            if lacking:
                raise ValueError(f"{params.remote} lacks {len(lacking)} files of version {version.digest}")
        except BaseException:
            _write(file, before)
            raise
        if (known := gone.union(tombstones.read(home()))) != tombstones.NOBODY:
            tombstones.write(home(), known)  # data/'s own list may be gone when a killed one goes on
        own = half["own"] if half else _own(repo, parse(since).digest if since else stood, kept, version)
        _write(under_way, json.dumps({"text": text, "own": own}).encode())
        _retry(lambda: repo.checkout(force=True))
        for name, oid in own.items():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(cached(repo, oid), data / name)
        stay_forgotten(data, gone, again=bool(own))
        _write(stands, version.digest.encode())
        _write(under_way, None)
        return version


def go_on(params: VersioningParams, root: Path | None = None) -> None:
    """Ends a `materialize` that was killed while data/ was changing: half of a version is no version."""
    under_way = _under_way(root or Path.cwd())
    if under_way.is_file():
        materialize(json.loads(under_way.read_text(encoding="utf-8"))["text"], params, root)


def stay_forgotten(data: Path, also: Tombstones = tombstones.NOBODY, *, again: bool = False) -> None:
    """Nobody comes back with an earlier version of data/, or with one that is built anew.

    The state folder keeps a copy of the list for this. again: look also where the list is as it was.
    """
    known = tombstones.read(data)
    every = known.union(also).union(tombstones.read(home()))
    if every != known:
        data.mkdir(exist_ok=True)
        tombstones.write(data, every)
    if every != known or again:
        forget.again(data)


def checkout_round(number: int, params: VersioningParams, root: Path | None = None) -> DataVersion:
    """Brings back the data of a round, by the text of data.dvc kept with it in MLflow.

    ValueError where the round keeps none, or data/ has changes that no version keeps.
    """
    from tasks import registry

    text = registry.data_version(number)
    go_on(params, root)
    if ((root or Path.cwd()) / "data").exists() and not is_clean(params, root):
        raise ValueError("data/ has changes that no version keeps: `rlhf data snapshot` keeps them")
    return materialize(text, params, root)


def current(root: Path | None = None) -> DataVersion:
    """The version that data.dvc names now. ValueError where there is no data.dvc."""
    file = (root or Path.cwd()) / "data.dvc"
    if not file.is_file():
        raise ValueError("there is no data.dvc: run in the root of the clone, after `rlhf data fetch`")
    return parse(file.read_text())


def is_clean(params: VersioningParams, root: Path | None = None) -> bool:
    """Whether data/ is what data.dvc names."""
    with repository(params, root) as repo:
        return (Path(repo.root_dir) / "data.dvc").is_file() and _clean(repo)


def require_git(root: Path | None = None) -> None:
    """ValueError where there is no git clone to commit data.dvc in: said before a round, not at its end."""
    asked = ["git", "-C", str(root or Path.cwd()), "rev-parse", "--git-dir"]
    if subprocess.run(asked, capture_output=True).returncode:
        raise ValueError("versioning.git is commit, but this folder is no git clone")


def commit(message: str, root: Path | None = None) -> bool:
    """Commits data.dvc, and nothing else, to git; False where it is committed already."""
    here = root or Path.cwd()
    git = ["git", "-C", str(here)]
    status = [*git, "status", "--porcelain", "--", "data.dvc"]
    if not subprocess.run(status, check=True, capture_output=True).stdout:
        return False
    subprocess.run([*git, "add", "data.dvc"], check=True, capture_output=True)
    only = ["commit", "-q", "-m", message, "--", "data.dvc"]
    done = subprocess.run([*git, *only], capture_output=True, text=True)
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()[-1:]
        raise ValueError(f"git did not commit data.dvc: {' '.join(said)}")
    return True


def parse(text: str) -> DataVersion:
    """The version behind the text of a data.dvc. ValueError where it is none."""
    try:
        digest = yaml.safe_load(text)["outs"][0]["md5"]
    except (yaml.YAMLError, KeyError, IndexError, TypeError):
        digest = ""
    if not re.fullmatch(r"[0-9a-f]{32}\.dir", str(digest)):
        raise ValueError("this is not the text of a data.dvc: it names no directory digest")
    return DataVersion(str(digest), text)


# ---------------------------------------------------------------- DVC


@contextmanager
def repository(params: VersioningParams, root: Path | None) -> Iterator[Repo]:
    """DVC's repository with its remote set, one process at a time."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    here = root or Path.cwd()
    logging.getLogger("dvc").setLevel(logging.WARNING)
    logging.getLogger("dvc_data").setLevel(logging.CRITICAL)  # what it could not fetch, we say once
    storage.plain_checksums(params.s3_endpoint_url)
    lock = here / ".dvc" / "tmp" / "rlhf.lock"
    if not lock.parent.parent.is_dir():
        raise ValueError(f"{here} is not a clone of this repository: it has no .dvc folder")
    lock.parent.mkdir(exist_ok=True)
    with FileLock(lock):
        try:
            repo = Repo(str(here))
        except NotDvcRepoError as error:
            raise ValueError(f"{here} is not a DVC repository: {error}") from None
        with repo:
            _configure(repo, params)
            yield repo


def _configure(repo: Repo, params: VersioningParams) -> None:
    """Writes the remote of params to .dvc/config.local, which git ignores."""
    folder = Path(params.remote)
    url = params.remote
    if "://" not in url:
        inside = folder.parts[0] == ".rlhf" if folder.parts else False
        path = home().joinpath(*folder.parts[1:]) if inside else Path(repo.root_dir) / folder
        path.mkdir(parents=True, exist_ok=True)
        url = str(path)
    wanted = {"url": url, "verify": True}
    endpoint = params.s3_endpoint_url or storage.custom_endpoint()
    if storage.is_s3(url) and endpoint:
        wanted["endpointurl"] = endpoint
    if repo.config["remote"].get(REMOTE) == wanted and repo.config["core"].get("remote") == REMOTE:
        return
    with repo.config.edit("local") as local:
        local["remote"] = {REMOTE: wanted}
        local["core"] = {**local.get("core", {}), "remote": REMOTE}


def _push(repo: Repo, version: DataVersion) -> None:
    """Pushes, then looks at each object in the remote; what DVC took for pushed and is not goes again."""
    from dvc.fs import LocalFileSystem

    _retry(lambda: repo.push())
    remote = repo.cloud.get_remote_odb(REMOTE)
    for oid in objects_of(repo, version):
        source = cached(repo, oid)
        for again in (False, True):
            if _size(remote, oid) == source.stat().st_size:
                break
            if again:
                raise RuntimeError(f"the DVC remote took the push and yet lacks object {oid}")
            remote.add(str(source), LocalFileSystem(), oid, check_exists=False)


def _fetch(repo: Repo, version: DataVersion) -> None:
    """The version's objects into the cache, each with the bytes that its id is the hash of.

    DVC takes an object of its cache as it is: a changed one would be checked out as if it were whole.
    """
    for listed in ([version.digest], None):  # the listing first, since it names the others
        for oid in listed or objects_of(repo, version):
            if is_damaged(cached(repo, oid), oid):
                logging.getLogger(__name__).warning(
                    "object %s of the DVC cache is damaged: fetched again", oid
                )
                cached(repo, oid).unlink()
        _retry(lambda: repo.fetch())
    damaged = [oid for oid in objects_of(repo, version) if is_damaged(cached(repo, oid), oid)]
    if damaged:
        raise ValueError(
            f"{len(damaged)} files of version {version.digest} are damaged in the remote (object {damaged[0]})"
        )


def is_damaged(file: Path, oid: str) -> bool:
    """False where there is no file."""
    if not file.is_file():
        return False
    with file.open("rb") as content:
        return hashlib.file_digest(content, "md5").hexdigest() != oid.removesuffix(".dir")


def _size(remote: Any, oid: str) -> int | None:
    try:
        return int(remote.fs.info(remote.oid_to_path(oid))["size"])
    except FileNotFoundError:
        return None


def objects_of(repo: Repo, version: DataVersion) -> list[str]:
    """Ids of a version's objects: its files, and last the listing that names them (if it is here)."""
    listing = cached(repo, version.digest)
    if not listing.is_file():
        return [version.digest]
    return [*sorted({item["md5"] for item in json.loads(listing.read_text())}), version.digest]


def holds(repo: Repo, version: DataVersion, params: VersioningParams) -> bool:
    """Whether the listing of a version is in the cache or the remote. What the remote says but "no" rises."""
    if cached(repo, version.digest).is_file():
        return True
    found = _size(repo.cloud.get_remote_odb(REMOTE), version.digest) is not None
    if not found and storage.is_s3(params.remote):  # a bucket that is not there lacks everything too
        storage.require_bucket(params.remote, endpoint_url=params.s3_endpoint_url)
    return found


def _stood(repo: Repo, stands: Path, coming: str) -> str | None:
    """The digest of the version that data/ last was, whoever brought it; None where that cannot be told."""
    now = _current(repo).digest if (Path(repo.root_dir) / "data.dvc").exists() else None
    if now and _clean(repo):
        return now
    if stands.is_file():
        return stands.read_text()
    return None if now == coming else now


def _own(repo: Repo, stood: str | None, kept: str | None, coming: DataVersion) -> dict[str, str]:
    """{path: object} of what data/raw has since the version `stood`, and the version that comes leaves alone.

    Where `stood` is not known: what the version that comes has no file of.
    """
    before, now, then = (files_of(repo, digest) or {} for digest in (stood, kept, coming.digest))
    return {
        name: oid
        for name, oid in now.items()
        if name.startswith("raw/")
        and "/." not in name
        and oid != before.get(name)
        and then.get(name) == before.get(name)
    }


def files_of(repo: Repo, digest: str | None) -> dict[str, str] | None:
    """{path in data/: object} of a version whose listing is in the cache, else None."""
    if digest is None or not cached(repo, digest).is_file():
        return None
    return {item["relpath"]: item["md5"] for item in json.loads(cached(repo, digest).read_text())}


def _under_way(root: Path) -> Path:
    """While data/ becomes another version: its text, and the user's own files that come back into it (own)."""
    return root / ".dvc" / "tmp" / "rlhf-checkout.json"


def _stands(root: Path) -> Path:
    """The digest of the version that data/ last was. data.dvc may be ahead of it, by git."""
    return root / ".dvc" / "tmp" / "rlhf-stands"


def cached(repo: Repo, oid: str) -> Path:
    return Path(repo.cache.local.oid_to_path(oid))


def _current(repo: Repo) -> DataVersion:
    return current(Path(repo.root_dir))


def _clean(repo: Repo) -> bool:
    return not _retry(lambda: repo.status(str(Path(repo.root_dir) / "data.dvc")))


def _retry(work: Callable[[], Any]) -> Any:
    """`work`, again where DVC's own lock is held (by a person's `dvc` command)."""
    from dvc.lock import LockError

    for wait in range(TRIES):
        try:
            return work()
        except LockError:
            time.sleep(1 + wait)
    return work()


@contextmanager
def remote_errors(params: VersioningParams) -> Iterator[None]:
    """One sentence for what a remote answers; ConnectionError, which is tried again, where it does not."""
    from botocore.exceptions import BotoCoreError, ClientError
    from dvc.exceptions import DvcException

    try:
        yield
    except (DvcException, BotoCoreError, ClientError, OSError) as error:
        cause = error.__cause__ or error
        said = (str(cause).strip() or type(cause).__name__).splitlines()[0]
        if storage.is_away(cause):
            raise ConnectionError(f"the DVC remote {params.remote} does not answer: {said}") from error
        raise ValueError(f"the DVC remote {params.remote} refused: {said}") from error


def _write(file: Path, content: bytes | None) -> None:
    """Whole or not at all; None takes the file away."""
    if content is None:
        file.unlink(missing_ok=True)
        return
    aside = file.with_name(f"{file.name}.part")
    aside.write_bytes(content)
    aside.replace(file)
