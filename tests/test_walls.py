"""The house keeps its shape: who imports whom, how long a module is, what may not be called."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import cldf_core

PACKAGE = Path(cldf_core.__file__).parent
PROJECT = PACKAGE.parent
MODULES = sorted(PACKAGE.rglob("*.py"))
METHOD = [p for p in MODULES if (p.parent == PACKAGE and p.name != "cli.py") or p.parent == PACKAGE / "agents"]
NAMES = [p.relative_to(PACKAGE).as_posix() for p in MODULES]
SOURCES = [
    p
    for folder in ("cldf_core", "tests", "notebooks")
    for p in sorted((PROJECT / folder).rglob("*.py"))
    if "/." not in p.as_posix()
]


def imported(path: Path) -> set[str]:
    """The modules of this package that a file imports, wherever the import stands."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it leads"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in found if name.split(".")[0] == "cldf_core"}


def called(path: Path) -> list[tuple[str, ast.Call]]:
    return [
        (ast.unparse(node.func), node)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def under(names: set[str], *prefixes: str) -> set[str]:
    return {n for n in names for p in prefixes if n == p or n.startswith(p + ".")}


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", METHOD, ids=name_of)
def test_the_method_imports_neither_data_nor_runs(path):
    assert under(imported(path), "cldf_core.data", "cldf_core.runs", "cldf_core.cli") == set()


@pytest.mark.parametrize("path", METHOD, ids=name_of)
def test_the_method_touches_no_file(path):
    touching = {"open", "os.open", "np.load", "np.save", "torch.save", "Path.open", "save_file", "pd.read_csv", "print"}
    methods = {"write_text", "write_bytes", "read_text", "read_bytes", "mkdir", "unlink"}
    methods |= {"to_csv", "to_parquet", "savefig"}
    calls = {name for name, _ in called(path)}
    if path.name != "resnet.py":  # which reads weights from a file that the caller names
        touching |= {"torch.load", "load_file"}
    assert not calls & touching
    assert not {c for c in calls if c.split(".")[-1] in methods}


@pytest.mark.parametrize("path", [p for p in MODULES if "data" in p.relative_to(PACKAGE).parts], ids=name_of)
def test_data_imports_of_the_method_only_options_and_spectrum(path):
    names = imported(path) - {"cldf_core"}
    allowed = under(names, "cldf_core.options", "cldf_core.spectrum", "cldf_core.data")
    assert names - allowed - {"cldf_core.__version__"} == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_imports_the_command(path):
    assert under(imported(path), "cldf_core.cli") == set()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_can_be_read_in_one_sitting(path):
    lines = len(path.read_text(encoding="utf-8").splitlines())
    limit = 160 if path.parent.name == "agents" else 350
    assert lines <= limit, f"{path.name} has {lines} lines; look for the second idea that has moved in"
    assert path.stem not in ("utils", "helpers", "common")


def test_the_method_can_be_read_in_an_evening():
    """What learns: how it is measured and explained afterwards is another evening's reading."""
    learns = [p for p in METHOD if p.stem not in ("metrics", "spread", "comparison", "calibration", "explain")]
    assert sum(len(p.read_text(encoding="utf-8").splitlines()) for p in learns) <= 2500


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: p.relative_to(PROJECT).as_posix())
def test_nothing_runs_foreign_code(path):
    for name, call in called(path):
        keywords = {k.arg: ast.unparse(k.value) for k in call.keywords}
        if name == "torch.load":
            assert keywords.get("weights_only") == "True", f"line {call.lineno}"
        if name in ("np.load", "numpy.load"):
            assert keywords.get("allow_pickle", "False") == "False", f"line {call.lineno}"
        if name == "yaml.load":
            assert "Safe" in keywords.get("Loader", ""), f"line {call.lineno}"
        assert name not in ("yaml.unsafe_load", "yaml.full_load", "eval", "exec", "os.system", "os.popen")
        assert keywords.get("shell", "False") == "False", f"line {call.lineno}"
    modules = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert not modules & {"pickle", "dill", "cloudpickle", "joblib", "shelve"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_randomness_is_passed_in(path):
    for name, call in called(path):
        if re.fullmatch(r"(np|numpy)\.random\.\w+", name):
            assert name.split(".")[-1] in ("default_rng", "Generator", "PCG64", "SeedSequence", "RandomState"), (
                f"line {call.lineno}"
            )
            assert call.args or call.keywords, f"line {call.lineno}: an unseeded generator"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert "random" not in {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}


def test_public_names_of_the_package_are_documented():
    for path in MODULES:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                nested = any(
                    node in ast.walk(f) and node is not f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef)
                )
                assert nested or ast.get_docstring(node), f"{name_of(path)}: {node.name}"


# --- packaging ---


def pyproject() -> dict:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))


def test_every_package_is_packaged():
    listed = set(pyproject()["tool"]["setuptools"]["packages"])
    assert listed == {".".join(p.parent.relative_to(PROJECT).parts) for p in MODULES}


def test_everything_imported_is_required():
    required = {re.split(r"[<>=!~\[; ]", line)[0].lower() for line in pyproject()["project"]["dependencies"]}
    of_module = {"sklearn": "scikit-learn", "PIL": "pillow", "yaml": "pyyaml"}
    of_module |= {"nbformat": "papermill", "nbclient": "papermill"}  # papermill stands on them
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [a.name for a in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            for name in {n.split(".")[0] for n in names}:
                if name not in sys.stdlib_module_names and name not in ("cldf_core", "mpl_toolkits"):
                    assert of_module.get(name, name).lower() in required, f"{name_of(path)} imports {name}"


def test_conda_users_get_the_same_environment():
    import yaml

    environment = yaml.safe_load((PROJECT / "environment.yml").read_text(encoding="utf-8"))
    project = pyproject()["project"]
    plain = [line for line in environment["dependencies"] if isinstance(line, str)]
    (pip,) = [line["pip"] for line in environment["dependencies"] if isinstance(line, dict)]
    assert f"python{project['requires-python']}" in plain
    assert "pip" in plain
    assert len(pip) == 1  # the project alone, so that the two files cannot disagree
    wanted = re.fullmatch(r"-e \.(?:\[(.*)\])?", pip[0])
    assert wanted
    extras = [e.strip() for e in (wanted[1] or "").split(",") if e]
    assert set(extras) <= set(project["optional-dependencies"])
