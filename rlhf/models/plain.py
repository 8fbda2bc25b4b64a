"""Which model directories are let in: plain data, so that to open one runs nothing that its makers wrote.

Without torch, because a registry looks at directories too.
"""

from __future__ import annotations

import json
from pathlib import Path

PICKLED = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".joblib"}


def require_plain(directory: Path) -> None:
    """Raise ValueError unless `directory` is a Hugging Face model of JSON and safetensors: no Python, no pickle, no auto_map."""
    if not (directory / "config.json").is_file():
        raise ValueError(f"{directory} is no Hugging Face model directory: there is no config.json in it")
    for file in sorted(directory.rglob("*")):
        if file.suffix == ".py":
            raise ValueError(f"{directory} carries code ({file.name}); only models without code are opened")
        if file.suffix in PICKLED:
            raise ValueError(
                f"{directory} carries pickled weights ({file.name}); only safetensors are opened"
            )
        if file.name.endswith("config.json") and "auto_map" in json.loads(file.read_text(encoding="utf-8")):
            raise ValueError(f"{file} asks to run code (auto_map); only models without code are opened")
    if not any(directory.glob("*.safetensors")):
        raise ValueError(f"{directory} has no .safetensors weights")
