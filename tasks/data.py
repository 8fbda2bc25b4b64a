"""Prepare data: raw prompts, demonstrations and text -> curated splits under data/curated."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from rlhf.data import sources, tombstones
from tasks import forget, keys, stage, versioning
from tasks.registry import StageRef
from tasks.stage import Outcome, Round, stage_task
from tasks.tracking import home

RAW = ("pretraining", "demonstrations", "prompts")


@stage_task(name="prepare-data")
def prepare_data(this: Round) -> StageRef:
    """Curates data/raw; figures hold the funnel and the digest of every curated file ("files")."""
    if forget.pending():
        raise ValueError("a user is half forgotten: `rlhf data forget` (no id is needed) goes on with it")
    versioning.stay_forgotten(this.raw.parent)
    if sources.is_half(this.raw) or not any(this.raw.glob("*/*")):
        bring_raw(this)
    raw = {kind: keys.files_digest((this.raw / kind).glob("*.*")) for kind in RAW}
    if this.params.base.path:  # its tokenizer measures lengths
        tokenizer = Path(this.params.base.path) / "tokenizer.json"
        raw |= {"tokenizer": keys.file_digest(tokenizer)} if tokenizer.is_file() else {}
    forgotten = this.raw.parent / tombstones.FILE
    if forgotten.is_file():
        raw["forgotten"] = keys.file_digest(forgotten)

    def publish(done: Outcome) -> None:
        stage.put(done.out, this.curated)
        done.figures["files"] = stage.digests(this.curated, "*")
        done.figures |= stage.version_data(this)

    def present(cached: StageRef) -> bool:
        return stage.digests(this.curated, "*") == cached.figures["files"]

    return stage.run(
        this,
        "curate",
        files=raw,
        inputs=lambda: {
            "raw": str(this.raw.absolute()),
            "cache": str((home() / "cache" / "curation").absolute()),
        },
        publish=publish,
        present=present,
    )


def bring_raw(this: Round) -> None:
    """data/ as data.dvc pins it, where the DVC remote holds it; else the embedded default, built anew.

    A remote that refuses or does not answer may hold it: that rises.
    """
    if Path("data.dvc").is_file() and not sources.is_half(this.raw):
        with suppress(versioning.Absent):
            versioning.materialize(versioning.current().text, this.params.versioning)
            return
    stage.say("data/raw is empty: building the embedded default (rlhf data fetch)")
    sources.fetch(this.raw)


def curated_files(data: StageRef, *names: str) -> dict[str, str]:
    """{file: digest} of the curated files that a stage reads."""
    files = data.figures["files"]
    return {name: files[name] for name in names}
