"""A clone in a temporary folder with a little data, where `rlhf` runs as a person would run it."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
THINGS = [
    "river",
    "mountain",
    "castle",
    "engine",
    "garden",
    "bridge",
    "island",
    "library",
    "museum",
    "harbour",
    "forest",
    "desert",
]
PLACES = ["Lisbon", "Oslo", "Vienna", "Lima", "Cairo", "Delhi", "Kyoto", "Quito", "Dublin", "Prague"]
WHO = [
    "the keeper",
    "a young painter",
    "the mayor",
    "an old sailor",
    "the gardener",
    "a travelling doctor",
    "the baker",
    "her cousin",
]
DID = [
    "restored",
    "visited",
    "described",
    "painted",
    "sold",
    "discovered",
    "measured",
    "forgot",
    "guarded",
    "photographed",
]
WHAT = [
    "the stone tower",
    "a wooden boat",
    "the northern gate",
    "every broken window",
    "a silver bell",
    "the long staircase",
]
WHEN = [
    "after the great storm",
    "in the dry summer",
    "before the war ended",
    "on a cold morning",
    "during the festival",
]


def sentence(draw: random.Random) -> str:
    who, did, what, when = (draw.choice(words) for words in (WHO, DID, WHAT, WHEN))
    return f"{who.capitalize()} {did} {what} {when}, and {draw.choice(WHO)} {draw.choice(DID)} {draw.choice(WHAT)}."


class Clone:
    """A folder with git, DVC, params.yaml and data/raw; `rlhf(...)` runs the command line in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "MLFLOW_", "RLHF_"))},
            "OMP_NUM_THREADS": "1",
            "PREFECT_API_URL": "",
        }

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words],
            cwd=self.folder,
            env=self.env,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def rlhf(self, *words: str, status: int = 0, stdin: str = "") -> str:
        """Standard output of a command that must end with `status`; of a failing one, standard error."""
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", *words],
            cwd=self.folder,
            env=self.env,
            text=True,
            input=stdin,
            capture_output=True,
        )
        assert done.returncode == status, (
            f"{words} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
        )
        return done.stderr if status else done.stdout


@pytest.fixture(scope="session")
def make_clone(tmp_path_factory):
    def make(name: str) -> Clone:
        folder = tmp_path_factory.mktemp(name)
        left = shutil.ignore_patterns("tmp", "cache", "config.local")
        shutil.copytree(ROOT / ".dvc", folder / ".dvc", ignore=left)
        shutil.copy(ROOT / ".dvcignore", folder)
        shutil.copy(ROOT / "tests" / "tiny.yaml", folder / "params.yaml")
        git = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@example.org"]
        subprocess.run([*git, "init", "-q"], check=True)
        subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "empty"], check=True)
        little_data(folder / "data" / "raw")
        return Clone(folder)

    return make


def little_data(raw: Path, seed: int = 0) -> None:
    """60 documents, 60 demonstrations and 160 prompts of 40 users, all in plain English."""
    draw = random.Random(seed)
    names = [f"the {place} {thing}" for place in PLACES for thing in THINGS]
    draw.shuffle(names)
    rows: dict[str, list[dict[str, object]]] = {"pretraining": [], "demonstrations": [], "prompts": []}
    for number, name in enumerate(names[:60]):
        facts = " ".join(sentence(draw) for _ in range(6))
        rows["pretraining"].append({"id": f"doc-{number}", "text": f"About {name}. {facts}", "source": "t"})
        rows["demonstrations"].append(
            {
                "id": f"demo-{number}",
                "user_id": f"demo-user-{number % 20}",
                "messages": [
                    {
                        "role": "user",
                        "content": f"Please tell me about {names[60 + number % 50]} number {number}.",
                    }
                ],
                "completion": sentence(draw),
                "labeler_id": f"labeler-{number % 3}",
                "source": "labeler-plain",
            }
        )
    questions = [
        "Where can I find {}?",
        "Why do people like {} so much?",
        "Who built {} and when was it?",
        "How old is {}?",
    ]
    for number in range(160):
        text = draw.choice(questions).format(names[number % len(names)] + f" of house {number}")
        rows["prompts"].append({"id": f"p-{number}", "user_id": f"user-{number % 40}", "text": text})
    for kind, records in rows.items():
        (raw / kind).mkdir(parents=True)
        with (raw / kind / "little.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(record) + "\n" for record in records)
