"""Reading the curated data: what training, sampling and evaluation start from."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal

import polars as pl

from rlhf.data.splits import validation_uses

log = logging.getLogger(__name__)

PROMPT_SETS = ("rm", "ppo", "valid", "test")


def prompts(curated: Path | str, name: str) -> list[dict[str, Any]]:
    """Prompt records of a set: rm or ppo (training users), valid or test (held-out users)."""
    assert name in PROMPT_SETS, name
    return _rows(Path(curated) / f"prompts_{name}.parquet")


def validation_prompts(curated: Path | str, use: Literal["choice", "gate"]) -> list[dict[str, Any]]:
    """The validation users' prompts that are for choices (the reward model's accuracy, SFT's epoch), or for the gate.

    A single prompt is for both, which the log says.
    """
    records = prompts(curated, "valid")
    if len(records) == 1:
        log.warning("the validation users have one prompt: what is chosen on it is evaluated on it too")
        return records
    return [record for record, of in zip(records, validation_uses(records), strict=True) if of == use]


def demonstrations(curated: Path | str, split: str) -> list[dict[str, Any]]:
    """Demonstration records of split train or valid."""
    return _rows(Path(curated) / f"demonstrations_{split}.parquet")


def pretraining_texts(curated: Path | str, split: str) -> list[str]:
    """Documents of split train or valid."""
    return _frame(Path(curated) / f"pretraining_{split}.parquet")["text"].to_list()


def _rows(path: Path) -> list[dict[str, Any]]:
    return _frame(path).to_dicts()


def _frame(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise ValueError(f"{path} does not exist; curate the data first")
    return pl.read_parquet(path)
