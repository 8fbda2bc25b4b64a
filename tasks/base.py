"""The base model: pretrained here, or imported from the directory that base.path names."""

from __future__ import annotations

from pathlib import Path

from rlhf.models import directories
from tasks import keys, stage
from tasks.data import split
from tasks.registry import StageRef
from tasks.stage import Outcome, Round, stage_task


@stage_task(name="ensure-base")
def ensure_base(this: Round, data: StageRef) -> StageRef:
    """Registers a version of `base`."""
    start = this.params.reward_model.base
    if start not in ("sft", "base"):  # opened hours later, but looked at now
        directories.check(Path(start))

    def publish(done: Outcome) -> None:
        done.run.register("base", done.out / "model", figures=done.figures)

    files = split(data, "pretraining_train.parquet")
    return stage.run(
        this,
        "base",
        files=files | directory_digest(this.params.base.path),
        inputs=lambda: {"curated": str(this.curated.absolute())},
        publish=publish,
    )


def directory_digest(path: str | None) -> dict[str, str]:
    """{path: digest of its files} where a parameter names a directory; {} otherwise."""
    if path is None or not Path(path).is_dir():
        return {}
    return {path: keys.files_digest(file for file in Path(path).rglob("*") if file.is_file())}
