"""What a stored directory holds, and which model directories are let in."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".h5", ".msgpack", ".joblib"}


def manifest(directory: Path) -> dict[str, list[Any]]:
    """{relative path: [bytes, sha256]} of every file under `directory`, in order."""
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {path.relative_to(directory).as_posix(): [path.stat().st_size, sha256(path)] for path in files}


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_safe_model(directory: Path) -> None:
    """ValueError unless `directory` is a Hugging Face model of safetensors that carries no code."""
    if not (directory / "config.json").is_file():
        raise ValueError(f"{directory} is not a model directory: it has no config.json")
    for path in sorted(directory.rglob("*")):
        if path.suffix == ".py" or path.suffix in PICKLES:
            raise ValueError(f"{path} is refused: a model is safetensors and JSON, no code and no pickle")
        if path.name.endswith("config.json") and "auto_map" in json.loads(path.read_text(encoding="utf-8")):
            raise ValueError(f"{path} is refused: auto_map would run the model's own code")
    if not any(directory.glob("*.safetensors")):
        raise ValueError(f"{directory} holds no .safetensors weights")


def digest(value: Any) -> str:
    """sha256 of a JSON value, keys sorted."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
