"""docs/map.md is what the modules say of themselves."""

from __future__ import annotations

from infra import map_file


def test_the_map_is_current(root):
    written = (root / map_file.FILE).read_text(encoding="utf-8")
    assert written == map_file.text(root), "`python -m infra.map_file` writes it again"


def test_every_module_says_what_it_is_for(root):
    silent = [
        path.relative_to(root).as_posix()
        for name in map_file.FOLDERS
        for path in (root / name).rglob("*.py")
        if path.name != "__init__.py" and not map_file.first_sentence(path)
    ]
    assert silent == []
