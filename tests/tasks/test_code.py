"""What the code behind a stage means: each kind of change, and the stages that run again for it."""

from __future__ import annotations

import shutil

import pytest

from rlhf.jobs import STAGES
from tasks import code


@pytest.fixture
def package(root, tmp_path, monkeypatch):
    """A copy of the package that a test changes; package.stages() are its digests."""
    shutil.copytree(root / "rlhf", tmp_path / "rlhf", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code, "ROOT", tmp_path)
    code.forget_what_was_read()
    yield Package(tmp_path / "rlhf")
    code.forget_what_was_read()


@pytest.fixture(scope="module")
def before():
    """The digests of the package as it is."""
    return {stage: code.code_digest(module.partition(":")[0]) for stage, module in STAGES.items()}


class Package:
    def __init__(self, folder):
        self.folder = folder

    def stages(self):
        code.forget_what_was_read()
        return {stage: code.code_digest(module.partition(":")[0]) for stage, module in STAGES.items()}

    def change(self, file, old, new):
        path = self.folder / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r} any more: give this test another line to change"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")


def changed(before, after):
    return {stage for stage in before if before[stage] != after[stage]}


NO_PRODUCT = [
    ("a docstring", "objectives/gae.py", "Generalised advantage", "The generalised advantage"),
    ("a comment", "training/muon.py", "from __future__", "# why\n\nfrom __future__"),
    ("a sentence of an error", "training/ppo.py", "there is no prompt for PPO", "PPO has no prompt"),
    ("a line of the log", "chat.py", "leave no room", "have no room"),
    ("a progress bar", "training/progress.py", "from __future__", "BAR = 1\nfrom __future__"),
    ("a bar's label", "sampling/collect.py", 'f"sampling {', 'f"drawing {'),
    ("the page of the report", "evaluation/pages/report.html", "<html", "<html data-x='1'"),
]


def test_what_makes_no_product_runs_nothing_again(package, before):
    for _, file, old, new in NO_PRODUCT:
        package.change(file, old, new)
    assert changed(before, package.stages()) == set()


@pytest.mark.parametrize(
    ("kind", "file", "old", "new", "expected"),
    [
        ("a constant", "objectives/gae.py", "lam *", "2 * lam *", {"ppo"}),
        ("what PII is", "data/pii/phones.py", "from __future__", "A = 1\nfrom __future__", {"curate"}),
        (
            "words that a stage reads",
            "labeling/stop_words.txt",
            "the",
            "zzz",
            {"rank", "evaluate", "release"},
        ),
        ("words of curation", "data/little_words.txt", "a", "zzz", {"curate"}),
        (
            "the reward model's training",
            "training/reward_model.py",
            "from __future__",
            "A = 1\nfrom __future__",
            {"reward_model"},
        ),
    ],
)
def test_what_may_change_a_product_runs_its_stages_again(package, before, kind, file, old, new, expected):
    package.change(file, old, new)
    assert changed(before, package.stages()) == expected, kind


def test_a_move_runs_nothing_again(package, before):
    (package.folder / "objectives" / "gae.py").rename(package.folder / "training" / "advantages.py")
    for file in package.folder.rglob("*.py"):
        text = file.read_text(encoding="utf-8")
        file.write_text(text.replace("rlhf.objectives.gae", "rlhf.training.advantages"), encoding="utf-8")
    assert changed(before, package.stages()) == set()


def test_another_module_under_the_same_name_is_no_move(package, before):
    (package.folder / "objectives" / "other.py").write_text("def gae(*_, **__):\n    return None\n")
    package.change("training/rollouts.py", "rlhf.objectives.gae", "rlhf.objectives.other")
    assert changed(before, package.stages()) == {"ppo"}
