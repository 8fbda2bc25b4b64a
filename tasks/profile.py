"""Where a run keeps its state: the embedded default in .rlhf/ and data/, a named profile beside it."""

from __future__ import annotations

import os
from pathlib import Path

from rlhf.params import Params


def keep_apart(params: Params) -> None:
    """A named profile keeps its state in .rlhf/<profile>, unless RLHF_HOME says where."""
    if params.profile:
        os.environ.setdefault("RLHF_HOME", f".rlhf/{params.profile}")


def data_folder(params: Params) -> Path:
    """Curated splits and rounds: data/, or data/profiles/<name>/ of a named profile. data/raw is shared."""
    return Path("data/profiles") / params.profile if params.profile else Path("data")
