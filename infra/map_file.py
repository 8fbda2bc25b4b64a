"""Writes `docs/map.md`: every module with the first sentence of its docstring, folder by folder."""

from __future__ import annotations

import ast
from pathlib import Path

FOLDERS = ("flows", "tasks", "rlhf", "infra", "benchmarks")
FILE = Path("docs/map.md")
HEAD = """# The map of the house

`flows -> tasks -> rlhf`, and never back: a test reads the imports. `rlhf/` is the method and knows no Prefect, MLflow,
DVC or S3; `tasks/` is the effects; `flows/` is the order. `tests/` mirrors the tree.

`python -m infra.map_file` writes this page from the modules' docstrings; a test holds it current.
"""


def text(root: Path) -> str:
    """The page. root: the folder of the clone."""
    parts = [HEAD]
    for folder in sorted({path.parent for name in FOLDERS for path in (root / name).rglob("*.py")}):
        rows = [
            f"| {path.name} | {first_sentence(path)} |"
            for path in sorted(folder.glob("*.py"))
            if first_sentence(path)
        ]
        if rows:
            parts.append(
                "\n".join([f"\n| `{folder.relative_to(root).as_posix()}/` | |", "|---|---|", *rows, ""])
            )
    return "".join(parts)


def first_sentence(path: Path) -> str:
    """Of a module's docstring, on one line; empty where it has none."""
    paragraph = " ".join(
        (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n\n")[0].split()
    )
    end = paragraph.find(". ")
    return (
        (paragraph if end < 0 else paragraph[:end])
        .removesuffix(".")
        .replace("|", "\\|")
        .replace("__", "\\_\\_")
    )


if __name__ == "__main__":
    FILE.write_text(text(Path()), encoding="utf-8")
