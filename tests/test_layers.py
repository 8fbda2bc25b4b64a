"""The layers, read from the imports: flows -> tasks -> rlhf, and each effect in one place."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LAYERS = {"rlhf": set(), "tasks": {"rlhf"}, "flows": {"rlhf", "tasks"}, "infra": {"rlhf", "tasks"}}
#: package -> the files that may import it, anywhere in them
OWNERS = {
    "prefect": {"flows/", "tasks/", "infra/"},
    "mlflow": {"tasks/registry.py", "tasks/tracking.py"},
    "dvc": {"tasks/versioning.py"},
    "dvc_data": {"tasks/versioning.py"},
    "boto3": {"tasks/storage.py"},
}


def imports():
    """(file, the package it imports) of every import statement of the four packages."""
    for layer in LAYERS:
        for file in sorted((ROOT / layer).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    names = [alias.name for alias in node.names]
                elif isinstance(node, ast.ImportFrom):
                    assert node.level == 0, f"{file}: write the whole name"
                    names = [node.module]
                else:
                    continue
                for name in names:
                    yield file.relative_to(ROOT).as_posix(), name.split(".")[0]


def test_no_arrow_points_up():
    wrong = [
        f"{file} imports {package}"
        for file, package in imports()
        if package in LAYERS and package != (layer := file.split("/")[0]) and package not in LAYERS[layer]
    ]
    assert not wrong


def test_each_effect_has_one_place():
    wrong = [
        f"{file} imports {package}"
        for file, package in imports()
        if package in OWNERS and not file.startswith(tuple(OWNERS[package]))
    ]
    assert not wrong


def test_the_walk_sees_the_imports():
    seen = set(imports())
    assert {("flows/stages.py", "tasks"), ("tasks/versioning.py", "dvc"), ("tasks/stage.py", "rlhf")} <= seen
