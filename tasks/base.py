"""The base model: pretrained here, or imported from the directory that base.path names."""

from __future__ import annotations

from pathlib import Path

from rlhf.models.intact import require_importable
from rlhf.models.suitable import require_reward_model
from tasks import keys, stage
from tasks.data import curated_files
from tasks.registry import StageRef
from tasks.stage import Outcome, Round, stage_task


@stage_task(name="ensure-base")
def ensure_base(this: Round, data: StageRef) -> StageRef:
    """Registers a version of `base`."""
    start, path = this.params.reward_model.base, this.params.base.path
    if start not in ("sft", "base"):  # opened hours later, but looked at now
        require_importable(start, "reward_model.base")
    if path is not None and not path.startswith("package:"):
        require_importable(path, "base.path")
        if start in ("sft", "base"):
            require_reward_model(Path(path), start)

    def publish(done: Outcome) -> None:
        done.run.register("base", done.out / "model", figures=done.figures)

    files = curated_files(data, "pretraining_train.parquet")
    return stage.run(
        this,
        "base",
        files=files | directory_digest("base.path", this.params.base.path),
        inputs=lambda: {"curated": str(this.curated.absolute())},
        publish=publish,
    )


def directory_digest(parameter: str, path: str | None) -> dict[str, str]:
    """{path: digest of its files} where a parameter names a directory; {} for none or a package.

    ValueError where the directory is not on this machine: what comes of it could not be told from the rest.
    """
    if path is None or path.startswith("package:"):
        return {}
    if not Path(path).is_dir():
        raise ValueError(f"{parameter}: the directory {path} does not exist")
    return {path: keys.files_digest(file for file in Path(path).rglob("*") if file.is_file())}
