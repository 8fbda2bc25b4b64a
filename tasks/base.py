"""The base model: pretrained here, or imported from the directory that base.path names."""

from __future__ import annotations

from pathlib import Path

from rlhf.params import Params
from tasks import keys, stage
from tasks.data import curated_files
from tasks.registry import StageRef
from tasks.stage import Outcome, Round, stage_task


@stage_task(name="ensure-base")
def ensure_base(this: Round, data: StageRef) -> StageRef:
    """Registers a version of `base`."""
    require_models(this.params)

    def publish(done: Outcome) -> None:
        done.run.register("base", done.out / "model", figures=done.figures)

    files = curated_files(data, "pretraining_train.parquet")
    return stage.run(
        this,
        "base",
        files=files
        | directory_digest("base.path", this.params.base.path)
        | directory_digest("base.adapter", this.params.base.adapter),
        inputs=lambda: {"curated": str(this.curated.absolute())},
        publish=publish,
    )


def require_models(params: Params) -> None:
    """Raise ValueError, in one sentence, where a model directory that the parameters name cannot be what they want of it.

    Seconds, and no weights in memory: so that a round learns it before it curates, and not when the directory is opened.
    """
    start, path = params.reward_model.base, params.base.path
    own = start not in ("sft", "base")
    outside = path is not None and not path.startswith("package:")
    if not own and not outside:
        return
    from rlhf.models.openable import require_openable
    from rlhf.models.suitable import require_reward_model

    if path is not None and outside:
        require_openable(
            path, "base.path", ("base.context", params.base.context), adapter=params.base.adapter
        )
        if not own:
            require_reward_model(Path(path), start)
    if own:  # opened hours later, but looked at now
        require_openable(
            start, "reward_model.base", ("reward_model.max_tokens", params.reward_model.max_tokens)
        )
        require_reward_model(Path(start), start)


def directory_digest(parameter: str, path: str | None) -> dict[str, str]:
    """{path: digest of its files} where a parameter names a directory; {} for none or a package.

    ValueError where the directory is not on this machine: what comes of it could not be told from the rest.
    """
    if path is None or path.startswith("package:"):
        return {}
    if not Path(path).is_dir():
        raise ValueError(f"{parameter}: the directory {path} does not exist")
    return {path: keys.files_digest(file for file in Path(path).rglob("*") if file.is_file())}
