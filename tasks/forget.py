"""`rlhf data forget`: a data version without some users, and the list of models that learned from them.

In this order, each step of which may be done twice: what there is of the users is noted in the state
folder, their ids are buried (data/forgotten.json), their records leave data/, all of data/ is searched,
a version is made and pushed, models are tagged, stages dropped from the cache, older copies purged where
that is asked for, and the note is deleted. A killed one goes on from the note.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rlhf.data import byte_search, forget, tombstones
from rlhf.data.byte_search import Found
from rlhf.data.forget import Traces
from rlhf.data.record_files import Unreadable
from rlhf.params import Params
from tasks import keys, lock, objects, purge, registry, rounds, versioning
from tasks.lineage import Learned, lineage
from tasks.purge import Purged
from tasks.tracking import home

DATA = Path("data")
HASHES = 12  # hexadecimal digits of a keyed hash in a tag: MLflow takes 5000 characters


@dataclass
class Note:
    """What is to be forgotten. holding: {sha256 of each file of data/ and its versions: whether it holds them}."""

    asked: list[str]
    traces: Traces
    holding: dict[str, bool]
    changed: dict[str, int] = field(default_factory=dict)


@dataclass
class Report:
    """What was done. models: those that learned from them; stages: what the next round makes anew."""

    users: int
    traces: Traces
    changed: dict[str, int]
    version: str
    found: Found
    models: list[Learned]
    stages: list[str]
    purged: Purged | None


def forget_users(user_ids: Sequence[str], params: Params, *, erase: bool = False) -> Report:
    """Takes users out of data/, and with `erase` out of everything older that can be reached.

    Goes on, too, with whom a killed run was about to forget; no user_ids are needed for these alone.
    ValueError, and nothing written, where a user is not known, or while a round runs.
    """
    asked = list(dict.fromkeys(user_ids))
    if not (asked or pending()) or not all(name.strip() for name in asked):
        raise ValueError("no user is named: give one or more ids, none of them empty")
    with lock.nobody_at_work("rlhf data forget"):
        versioning.go_on(params.versioning)
        note = _note(asked, params, remote=erase)
        buried = _bury(note)
        note.changed |= forget.clean(DATA, note.traces)
        _stop_waiting(note.changed)
        _write(note)
        found = byte_search.search(DATA, note.traces)
        version = versioning.snapshot(params.versioning)
        if params.versioning.git == "commit":
            versioning.commit("Data without users who were forgotten")
        models, stages = _models(note, buried.hashes(note.asked), version.text)
        purged = purge.purge(note.traces, params) if erase else None
        _file().unlink()
    return Report(len(note.asked), note.traces, note.changed, version.digest, found, models, stages, purged)


def pending() -> bool:
    """Whether a run was killed before its end: no round may start on half of it."""
    return _file().is_file()


def _note(asked: list[str], params: Params, *, remote: bool) -> Note:
    """What there is of the users in data/ and its older versions, and what a killed run had noted."""
    before = _read()
    users = {*asked, *(before.asked if before else ())}
    known = tombstones.read(DATA)
    with objects.older(params.versioning, remote=remote) as older:
        files = [*forget.files_of(DATA), *older.files.values()]
        traces = forget.gather(files, users.__contains__)
        if before:
            traces.users |= before.traces.users
            traces.prompts |= before.traces.prompts
            traces.texts = before.traces.texts | traces.texts
            traces.whole |= before.traces.whole
        unknown = [
            at for at, name in enumerate(asked, 1) if not (name in traces.users or known.has_user(name))
        ]
        if unknown:  # by place: an id is personal data, and this sentence may be logged
            raise ValueError(
                f"user {unknown[0]} of the {len(asked)} named has no record in data/ or its older versions; "
                "nothing was changed"
            )
        traces.users |= users
        traces = forget.without_shared(traces, forget.files_of(DATA / "raw"))
        holding = {keys.file_digest(path): _holds(path, traces) for path in files}
    note = Note(sorted(users), traces, holding)
    if before:
        note.holding |= {sha: True for sha, held in before.holding.items() if held}
        note.changed = before.changed
    _write(note)
    return note


def _holds(path: Path, traces: Traces) -> bool:
    try:
        return forget.holds(path, traces)
    except Unreadable:
        return False


def _bury(note: Note) -> tombstones.Tombstones:
    """The list first in the state folder, so that it outlives data/; then in data/."""
    versioning.stay_forgotten(DATA)
    buried = tombstones.read(DATA).bury(secrets.token_hex(32), note.traces.users, note.traces.prompts)
    for folder in (home(), DATA):
        folder.mkdir(parents=True, exist_ok=True)
        tombstones.write(folder, buried)
    return buried


def _stop_waiting(changed: dict[str, int]) -> None:
    """What people are asked to rank is written anew where a round waits for them: its answers change."""
    for ref in registry.rounds()[-1:] if registry.exists() else ():
        if rounds.state(ref) == "waiting for rankings":
            for name in [name for name in changed if name.endswith(f"rounds/{ref.round:04d}/to_rank.jsonl")]:
                (DATA / name).unlink(missing_ok=True)


def _models(note: Note, hashes: list[str], version: str) -> tuple[list[Learned], list[str]]:
    """Tags the models that learned from them, drops stale stages from the cache, and moves the newest round
    to the new data version."""
    if not registry.exists():
        return [], []
    found = lineage(note.holding)
    for learned in found.models:
        if learned.model:
            held = registry.version_tags(learned.model).get("rlhf.forgotten", "").split()
            every = sorted({*held, *(name[:HASHES] for name in hashes)})
            tags = {
                "rlhf.forgotten_users": len(every),
                "rlhf.forgotten": " ".join(every[:380]),
                "rlhf.forgotten_how": learned.how,
            }
            registry.tag_version(learned.model, tags)
    for run_id in found.stale:
        registry.retire(run_id)
    kept = [ref for ref in registry.rounds() if registry.DATA_TAG in ref.tags]
    for ref in kept[-1:]:  # what another machine goes on from
        registry.set_data_version(ref.run_id, version)
    return found.models, [stage for stage in keys.READS if stage in set(found.stale.values())]


# ---------------------------------------------------------------- the note


def _file() -> Path:
    return home() / "forgetting.json"


def _write(note: Note) -> None:
    """Whole or not at all, and readable for its owner alone: it holds their texts until the end."""
    file = _file()
    aside = file.with_name(f"{file.name}.part")
    aside.touch(mode=0o600)
    values: dict[str, Any] = asdict(note)
    for name in ("users", "prompts", "whole"):
        values["traces"][name] = sorted(values["traces"][name])
    aside.write_text(json.dumps(values), encoding="utf-8")
    os.replace(aside, file)


def _read() -> Note | None:
    try:
        values = json.loads(_file().read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    traces = values.pop("traces")
    for name in ("users", "prompts", "whole"):
        traces[name] = set(traces[name])
    return Note(traces=Traces(**traces), **values)


# ---------------------------------------------------------------- the report


def lines(report: Report) -> list[str]:
    """The report for a person: counts and names of files and models, no id and no text."""
    traces = report.traces
    said = [
        f"forgotten: {report.users} user{'s' * (report.users > 1)}, {len(traces.prompts)} prompts, "
        f"{len(traces.texts)} texts"
    ]
    if traces.shared:
        said.append(f"           {traces.shared} more texts are another user's too, and stay theirs")
    for name, dropped in sorted(report.changed.items()):
        what = f"{dropped:,} records out" if dropped else "deleted: the next round writes it anew"
        said.append(f"  data/{name}: {what}")
    said.append(f"data version {report.version} (data.dvc), pushed")
    said += _searched(report)
    if report.models:
        said.append("models that learned from them (weights stay as they are; tagged rlhf.forgotten_users):")
        said += [f"  {learned.name:<16} {learned.how}" for learned in report.models]
    else:
        said.append("models that learned from them: none")
    stages = ", ".join(stage.replace("_", " ") for stage in report.stages) or "none"
    said.append(f"stages dropped from the cache: {stages}; what depends on them is made anew too")
    said.append("rebuild: `rlhf run` (the next round), or `rlhf run --round N` (round N again)")
    if report.purged:
        said += report.purged.lines()
    else:
        said.append(
            "older data versions, logged tables and reports still hold them: --purge removes these too"
        )
    return said


def check(report: Report) -> None:
    """RuntimeError where the search found something of them in the new data version."""
    if report.found.left:
        files = ", ".join(f"data/{name}" for name in report.found.left)
        raise RuntimeError(f"something of them is left in {files}: look there by hand")


def _searched(report: Report) -> list[str]:
    traces, found = report.traces, report.found
    said = [
        f"searched {found.files} files of data/, {found.bytes / 1e6:.1f} MB ({found.unpacked / 1e6:.1f} MB "
        f"unpacked), for {len(traces.users)} user ids, {len(traces.prompts)} prompt ids, "
        f"{len(traces.searched)} texts: " + ("STILL THERE" if found.left else "nothing is left")
    ]
    said += [f"  data/{name}: {dict(hits)}" for name, hits in found.left.items()]
    if found.inside:
        said.append(f"  {found.inside} records of others hold one of the texts inside a longer one")
    if traces.short:
        said.append(
            f"  {traces.short} texts under {forget.SHORT} characters are nobody's alone: not searched for"
        )
    if found.unreadable:
        said.append(f"  could not be looked into: {', '.join(found.unreadable)}")
    return said
