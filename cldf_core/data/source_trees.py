"""Hashes of the package's syntax trees, which comments, docstrings and layout do not change."""

import ast
import functools
import hashlib
from collections.abc import Collection, Iterable
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


def tree_hash(modules: Iterable[str], *, without: Collection[str] = ()) -> str:
    """Hash of the syntax trees of modules and of everything that they import from the package, wherever they do so.

    Names start below the package, as in "data.cache". Modules and rooms of `without` do not count, nor does what is
    imported by them alone.
    """
    names, waiting = set[str](), list(modules)
    while waiting:
        name = waiting.pop()
        if name not in names and not any(f"{name}.".startswith(f"{part}.") for part in without):
            names.add(name)
            waiting += imported_modules(_source(name))
    trees = [(name, meaning(_source(name))) for name in sorted(names)]
    return hashlib.sha256(repr(trees).encode()).hexdigest()


def imported_modules(source: str) -> list[str]:
    """The modules of the package that a source file imports, with the rooms that hold them, sorted."""
    parts = (dotted.split(".")[1:] for dotted in _parsed(source)[1] if dotted.startswith("cldf_core."))
    found = {".".join(names[:end]) for names in parts for end in range(1, len(names) + 1)}
    return sorted(name for name in found if _file(name).is_file())


def meaning(source: str) -> str:
    """Hash of the syntax tree of a source file, without docstrings and positions."""
    return _parsed(source)[0]


@functools.cache
def _parsed(source: str) -> tuple[str, frozenset[str]]:
    """The meaning of a source file, and dotted names of all that it imports: modules, or what is defined in them."""
    tree, names = ast.parse(source), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            node.body = node.body[ast.get_docstring(node, clean=False) is not None :]
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return hashlib.sha256(_text(tree).encode()).hexdigest(), frozenset(names)


def _text(node: object) -> str:
    """A node with all that is in it; alike in all versions of Python, which the text of ast.dump is not."""
    if isinstance(node, list):
        return f"[{', '.join(map(_text, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (f"{name}={_text(value)}" for name, value in ast.iter_fields(node) if value is not None and value != [])
    return f"{type(node).__name__}({', '.join(fields)})"


def _source(module: str) -> str:
    return _file(module).read_text(encoding="utf-8")


def _file(module: str) -> Path:
    path = PACKAGE.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
