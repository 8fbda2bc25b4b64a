"""What the code behind a stage means: a digest that changes where the stage's products may, and not with prose or moves.

Of every module that a stage imports, however far down, the syntax tree counts, and the package's data files that it names.
Docstrings, comments, layout, the names of modules, types that only a checker reads, sentences of errors, log lines, progress
bars and the redaction of what is shown do not: a model is not trained again for them.
"""

from __future__ import annotations

import ast
import copy
import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import rlhf

ROOT = Path(rlhf.__file__).parent.parent
#: parameters count by value where a stage reads them; a job's own shell and progress bars make no product
LEFT_OUT = {"rlhf.params", "rlhf.jobs", "rlhf.training.progress"}
#: calls that stand for their first argument: `redact` where a stage shows text, `progress` around a loop
TRANSPARENT = {"redact", "progress"}
#: names whose calls, standing alone, only tell somebody something
TELLING = {"log", "logging", "warnings", "bar"}


class Module(NamedTuple):
    """One module: what it says, the package's modules that it imports, digests of the data files that it names."""

    meaning: str
    imports: list[str]
    data: list[str]


def code_digest(module: str) -> str:
    """64 hex digits of `module`, a name such as rlhf.training.ppo, and of all that it imports."""
    seen: dict[str, Module] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in seen and name not in LEFT_OUT:
            seen[name] = _read(name)
            waiting += seen[name].imports
    meanings = sorted(found.meaning for found in seen.values())
    return _digest([meanings, sorted({digest for found in seen.values() for digest in found.data})])


def forget_what_was_read() -> None:
    """For tests that change files."""
    for function in (_read, _own, _tree):
        function.cache_clear()


@cache
def _read(name: str) -> Module:
    path, tree = _file(name), _tree(name)
    assert path is not None, name
    imports = [target for node in ast.walk(tree) for target in _targets(node, name, path)]
    return Module(
        ast.dump(_Named(name, path).visit(copy.deepcopy(tree))), imports, list(_data_files(tree, path.parent))
    )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _file(module: str) -> Path | None:
    if module.split(".")[0] != "rlhf":
        return None
    path = ROOT.joinpath(*module.split("."))
    for candidate in (path.with_suffix(".py"), path / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@cache
def _tree(module: str) -> ast.Module:
    """The module's syntax tree without what makes no product."""
    path = _file(module)
    assert path is not None
    return ast.fix_missing_locations(_Bare().visit(ast.parse(path.read_text(encoding="utf-8"))))


class _Bare(ast.NodeTransformer):
    """Takes out prose: docstrings, what is logged, sentences of errors, types."""

    def visit_If(self, node: ast.If) -> Any:
        is_for_checkers = isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        return ast.Pass() if is_for_checkers else self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> Any:
        value = node.value
        is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
        is_telling = isinstance(value, ast.Call) and _root(value.func) in TELLING
        return ast.Pass() if is_text or is_telling else self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> Any:
        if isinstance(node.exc, ast.Call):
            node.exc = node.exc.func
        return self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> Any:
        if isinstance(node.func, ast.Name) and node.func.id in TRANSPARENT and node.args:
            return self.visit(node.args[0])
        return self.generic_visit(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> Any:
        node.names = [alias for alias in node.names if alias.name not in TRANSPARENT]
        return node if node.names else ast.Pass()


def _root(function: ast.expr) -> str:
    """`log` of log.warning, `logging` of logging.getLogger(name).info."""
    while isinstance(function, ast.Attribute | ast.Call):
        function = function.value if isinstance(function, ast.Attribute) else function.func
    return function.id if isinstance(function, ast.Name) else ""


class _Named(ast.NodeTransformer):
    """Puts what an imported module of the package means in place of its name, so that a move changes nothing."""

    def __init__(self, module: str, path: Path) -> None:
        self.module, self.path = module, path

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.ImportFrom:
        meanings = [_own(target) for target in _targets(node, self.module, self.path)]
        if meanings:
            node.module, node.level = _digest(meanings), 0
        return node


@cache
def _own(module: str) -> str:
    """What a module says by itself, whatever it imports."""
    if module in LEFT_OUT:
        return module
    tree = copy.deepcopy(_tree(module))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            node.module, node.level = "", 0
    return _digest(ast.dump(tree))


def _targets(node: ast.AST, module: str, path: Path) -> list[str]:
    """The package's modules that an import means: the one that it names, and modules among the names that it takes."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names if _file(alias.name)]
    if not isinstance(node, ast.ImportFrom):
        return []
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    base = package[: len(package) - node.level + 1] if node.level else []
    origin = ".".join([*base, *([node.module] if node.module else [])])
    named = [origin, *(f"{origin}.{alias.name}" for alias in node.names)]
    return [name for name in named if _file(name)]


def _data_files(tree: ast.Module, folder: Path) -> Iterator[str]:
    """Digests of the files beside a module, or below it, that a string of it names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and "." in node.value[-8:]:
            name = node.value
            file = folder / name if len(name) < 100 and "\0" not in name else folder
            if file.suffix != ".py" and file.is_file():
                yield hashlib.sha256(file.read_bytes()).hexdigest()
